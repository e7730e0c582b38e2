#!/usr/bin/env bash
# Starts a moto server, an emulator of AWS, on a free loopback port and prints its URL. It has one empty bucket, `epid-states`.
# usage: export EPID_MOTO_ENDPOINT=$(tests/moto/up.sh); tests/moto/down.sh afterwards
# Uses `moto_server` where there is one, else installs a fixed version into a folder of its own (Python 3 needed).
set -euo pipefail
version=5.2.1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder="${EPID_MOTO_FOLDER:-${XDG_CACHE_HOME:-$HOME/.cache}/epid-moto}"
mkdir -p "$folder"
server=$(command -v moto_server || true)
if [ -z "$server" ]; then
  server="$folder/venv/bin/moto_server"
  if [ ! -x "$server" ]; then
    python3 -m venv "$folder/venv" >&2
    "$folder/venv/bin/pip" install --quiet "moto[server]==$version" >&2
  fi
fi
"$here/down.sh"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# Roles attach policies that AWS manages.
MOTO_IAM_LOAD_MANAGED_POLICIES=true setsid "$server" -H 127.0.0.1 -p "$port" >"$folder/log" 2>&1 </dev/null &
echo $! >"$folder/pid"
for _ in $(seq 1 240); do
  kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
  if curl --silent --fail --max-time 2 "http://127.0.0.1:$port/moto-api/data.json" >/dev/null; then
    # For states.
    curl --silent --fail -X PUT "http://127.0.0.1:$port/epid-states" >/dev/null
    echo "http://127.0.0.1:$port"
    exit 0
  fi
  sleep 0.5
done
echo "moto did not start on port $port; its log:" >&2
tail -20 "$folder/log" >&2
exit 1
