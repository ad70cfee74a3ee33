#!/bin/bash
# One batch between two clients of a Mooncake store by TCP (docs/servers.md, a slow store).   usage: store_batch.sh VENV KEYS TRANSFERS BYTES
# VENV has mooncake-transfer-engine-non-cuda. The environment's MC_TCP_... variables hold.
set -uo pipefail
[ $# = 4 ] || { sed -n 2,3p "$0"; exit 2; }
here=$(dirname "$0"); venv=$1; shift; log=$(mktemp -d); pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$log"' EXIT
"$("$venv/bin/python" -c 'import mooncake, os; print(os.path.dirname(mooncake.__file__))')/mooncake_master" --rpc_port=50051 --enable_http_metadata_server=true \
  --http_metadata_server_host=127.0.0.1 --http_metadata_server_port=8090 --metrics_port=9013 >"$log/master" 2>&1 & pids+=($!)
sleep 2; "$venv/bin/python" "$here/store_batch.py" 17811 >"$log/peer" 2>&1 & pids+=($!)
sleep 3; timeout 300 "$venv/bin/python" "$here/store_batch.py" 17812 "$@" 2>"$log/err" || { tail -3 "$log/err"; exit 1; }
grep -ahoE 'TCP lane queue-full.*' "$log/err" | head -1
