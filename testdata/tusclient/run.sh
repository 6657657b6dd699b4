#!/usr/bin/env bash
# Uploads to the real daemon over tus with tus-js-client, from npm and of a fixed
# version, while the daemon is killed and started again. The packages go to a
# temporary folder.
set -euo pipefail
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
(cd ../.. && go build -o "$dir/waybill" ./cmd/waybill)
cp package.json package-lock.json client.mjs "$dir"
cd "$dir"
npm ci --silent --no-audit --no-fund --ignore-scripts
node client.mjs ./waybill
