#!/bin/bash
# The dashboard's queries on real servers, without a GPU: panels.sh VENV MODEL OUT.png   (docs/monitoring.md, docs/lab.md)
# One Prometheus scrapes, at the ports of configs/prometheus.yml, what follows one after the other: a PD pair with a Mooncake store,
# a server with an `lmcache server`, a server with LMCache in its process (which finds no CPU path, but serves its page).
# VENV also has lmcache; prometheus is installed; run it from the project's root with the load generator's python in PATH.
set -euo pipefail
VENV=$1 MODEL=$2 OUT=$3 PARTS=${PARTS:-pd lmcache_server lmcache_in_process} HERE=$(dirname "$0")
export LOGS=${LOGS:-$(mktemp -d)}
sed -E 's/\["[a-z-]+:/["127.0.0.1:/; s/^  # (- job_name: (lmcache|mooncake_client))/  \1/; s/^  # (  (static_configs|  - targets))/  \1/' \
  configs/prometheus.yml > "$LOGS/prometheus.yml"
started=()
launch() { local name=$1; shift; setsid "$@" > "$LOGS/$name.log" 2>&1 < /dev/null & started+=($!); }
stop() {  # all but Prometheus; an engine that is still starting hears nothing but KILL
  local pid
  for pid in "${started[@]:1}"; do kill -- "-$pid" 2>/dev/null || true; done
  bash "$HERE/pd.sh" stop "$VENV" 2> /dev/null
  sleep 5
  for pid in "${started[@]:1}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
  started=("${started[0]}")
}
trap 'stop; kill -- "-${started[0]}" 2>/dev/null || true' EXIT
load() {  # load NAME OPTIONS...: cold, then hit
  local name=$1; shift
  locust -f locustfiles/cold_start.py --headless -u 2 -r 2 --requests 12 --metrics-port 8089 --output-dir "$LOGS/results" \
    --run-name "$name" --no-report "$@" > "$LOGS/load-$name.log" 2>&1 || echo "the load $name ended with $?: $LOGS/load-$name.log"
}
server() {  # server TRANSFER: one engine on :8000
  export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_SERVER_DEV_MODE=1 PYTHONHASHSEED=0 VLLM_CPU_KVCACHE_SPACE=1
  launch server "$VENV/bin/python" -m vllm.entrypoints.openai.api_server --model "$MODEL" --served-model-name tiny --host 127.0.0.1 --port 8000 \
    --dtype bfloat16 --max-model-len 8192 --max-num-seqs 16 --enforce-eager --enable-prefix-caching --enable-prompt-tokens-details \
    --kv-transfer-config "$1"
  for _ in $(seq 60); do sleep 2; curl -sf 127.0.0.1:8000/health > /dev/null && return; done
  echo "not up after 120 s: $LOGS/server.log" >&2; exit 1
}
began=$(date +%s)
launch prometheus prometheus --config.file="$LOGS/prometheus.yml" --storage.tsdb.path="$LOGS/tsdb" --web.listen-address=127.0.0.1:9090

part_pd() {
  bash "$HERE/pd.sh" start "$VENV" "$MODEL"
  launch client "$VENV/bin/mooncake_client" --master_server_address=127.0.0.1:50052 --metadata_server=P2PHANDSHAKE --host=127.0.0.1 --port=50062 \
    --global_segment_size=64MB --local_buffer_size=64MB --enable_http_server --http_port=9300
  sleep 2
  launch transfers "$VENV/bin/python" -c "
import time
from mooncake.store import MooncakeDistributedStore
store = MooncakeDistributedStore()  # a client without a page, which puts and gets through the one that has it
assert store.setup_dummy(16 << 20, 16 << 20, '127.0.0.1:50062') == 0
for number in range(10**6):
    assert store.put(f'panels-{number}', b'x' * (1 << 19)) == 0
    assert len(store.get(f'panels-{number}')) == 1 << 19
    time.sleep(0.5)"
  sed "s|\.venv-lab|$VENV|" configs/lab_cpu_pd.yaml > "$LOGS/pd.yaml"
  load pd --deployment "$LOGS/pd.yaml" --arms cold gpu_hit store_hit
  curl -s 127.0.0.1:9300/metrics > "$LOGS/mooncake_client.prom" || true
}

part_lmcache_server() {
  launch lmcache "$VENV/bin/lmcache" server --port 6555 --http-port 8090 --l1-size-gb 1 --eviction-policy LRU \
    --supported-transfer-mode auto --shm-name "lmcache_l1_pool_$$"
  server '{"kv_connector": "LMCacheMPConnector", "kv_role": "kv_both", "kv_connector_module_path": "lmcache.integration.vllm.lmcache_mp_connector",
    "kv_connector_extra_config": {"lmcache.mp.host": "tcp://localhost", "lmcache.mp.port": 6555}}'
  load lmcache_server --host http://127.0.0.1:8000 --rounds 2
  curl -s 127.0.0.1:8090/metrics > "$LOGS/lmcache_server.prom"
}

part_lmcache_in_process() {
  export PROMETHEUS_MULTIPROC_DIR=$LOGS/multiproc LMCACHE_LOCAL_CPU=True LMCACHE_MAX_LOCAL_CPU_SIZE=1   # the first: else LMCache's counters never reach the page
  mkdir -p "$PROMETHEUS_MULTIPROC_DIR"
  server '{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}'
  load lmcache_in_process --host http://127.0.0.1:8000 --rounds 2
  curl -s 127.0.0.1:8000/metrics > "$LOGS/lmcache_in_process.prom"
}

for part in $PARTS; do "part_$part"; stop; done
python -m benchmarks.panels --prometheus http://127.0.0.1:9090 --minutes $((($(date +%s) - began) / 60 + 1)) --out "$OUT"
echo "pages and logs: $LOGS"
