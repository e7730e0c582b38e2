#!/usr/bin/env bash
# Starts versitygw, an S3 service that keeps objects as files, on a free loopback port and prints its URL. It has one empty
# bucket, `epid-states`; its credentials are `someone` and `secret`.
# usage: export EPID_S3_ENDPOINT=$(tests/versitygw/up.sh); tests/versitygw/down.sh afterwards
#        up.sh --build   only builds it: once, some two minutes (Go needed)
# EPID_VERSITYGW_FOLDER: data, log and process id; the default is where the program is built, in the cache. Its file system must
# have extended attributes.
set -euo pipefail
version=v1.8.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/epid-versitygw"
folder="${EPID_VERSITYGW_FOLDER:-$cache}"
program="$cache/$version/versitygw"
if [ ! -x "$program" ]; then
  # Under its name only once it is whole.
  GOBIN="$cache/$version.new" go install -ldflags "-s -w" "github.com/versity/versitygw/cmd/versitygw@$version" >&2
  mkdir -p "$cache/$version"
  mv "$cache/$version.new/versitygw" "$program"
  rmdir "$cache/$version.new"
fi
[ "${1:-}" = --build ] && exit 0
"$here/down.sh"
rm -rf "$folder/data"
mkdir -p "$folder/data/epid-states"
port=
for _ in $(seq 200); do
  port=$((20000 + RANDOM % 20000))
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done
ROOT_ACCESS_KEY_ID=someone ROOT_SECRET_ACCESS_KEY=secret setsid "$program" --port "127.0.0.1:$port" --health /health --quiet \
  posix "$folder/data" >"$folder/log" 2>&1 </dev/null &
echo $! >"$folder/pid"
for _ in $(seq 100); do
  kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
  if curl --silent --fail --max-time 2 "http://127.0.0.1:$port/health" >/dev/null; then
    echo "http://127.0.0.1:$port"
    exit 0
  fi
  sleep 0.1
done
echo "versitygw did not start on port $port; its log:" >&2
tail -20 "$folder/log" >&2
exit 1
