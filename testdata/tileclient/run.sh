#!/usr/bin/env bash
# Starts the real daemon, lets it record a few thousand requests, and has the
# client read and verify all of them.
set -euo pipefail
cd "$(dirname "$0")"
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || { kill "$pid"; wait "$pid" || true; }; rm -rf "$dir"' EXIT
(cd ../.. && go build -o "$dir/waybill" ./cmd/waybill)
"$dir/waybill" serve --root "$dir/root" --state "$dir/state" --listen 127.0.0.1:0 --reserve 0 2>"$dir/log" &
pid=$!
addr=
for _ in $(seq 300); do
  addr=$(sed -n 's/.*"addr":"\([^"]*\)".*"message":"serving".*/\1/p' "$dir/log")
  [ -z "$addr" ] || break
  sleep 0.1
done
[ -n "$addr" ] || { cat "$dir/log"; exit 1; }
head -c 1500000 /dev/urandom >"$dir/file"
"$dir/waybill" put "$dir/file" f --chunk 512 --in-flight 1 --url "ws://$addr" --token-file "$dir/state/main-token" >/dev/null
WAYBILL_URL="http://$addr" WAYBILL_TOKEN=$(cat "$dir/state/main-token") \
  WAYBILL_KEY=$("$dir/waybill" journal key --state "$dir/state") go test -count=1 -v ./...
