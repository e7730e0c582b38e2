#!/usr/bin/env bash
# Stops the server that up.sh started; fine where there is none.
set -euo pipefail
folder="${EPID_VERSITYGW_FOLDER:-${XDG_CACHE_HOME:-$HOME/.cache}/epid-versitygw}"
if [ -f "$folder/pid" ]; then
  kill "$(cat "$folder/pid")" 2>/dev/null || true
  rm -f "$folder/pid"
fi
