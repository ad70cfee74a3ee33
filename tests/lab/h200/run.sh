#!/bin/bash
# Stages on a machine with one H200 and no network; see docs/lab.md.   usage: LAB=FOLDER bash tests/lab/h200/run.sh STAGE...
#   LAB    folder with the software's parts and start_vllm.sh, stop_vllm.sh, join.sh     WHEELS  folder with the load generator's wheels
#   OUT    where results go (default results)        SERVER=emulator: rehearse the same stages without a GPU
#   D_GPU  the decoder's GPU in the stage pd (default 1; with 0 both engines share GPU 0: give UTIL=0.44)
#   NAME=VALUE between stages sets a variable for those after it
# Stages: setup  probe (can NIXL reach GPU memory?)  certificate  serve:MODEL:MODE:KV  store:GB  pd:MODEL:MODE  proxy:wait|nixl|mooncake  stop:PORT  record  preflight:DEPLOYMENT  sweep:REQUESTS  arms:DEPLOYMENT:ARM,ARM:RUN  pack:NAME
# What was measured so far is packed into OUT after each stage: a run that is cut brings back what it had.
set -uo pipefail
cd "$(dirname "$0")/../../.."
LAB=${LAB:-.h200}; OUT=${OUT:-results}; WHEELS=${WHEELS:-.whl}; V=${V:-/tmp/v}; SITE=/tmp/kv-site; T0=$(date +%s); mkdir -p "$OUT" /tmp/kv-results
PY=${PY:-python3}
EMULATOR=; trap '[ -n "$EMULATOR" ] && kill "$EMULATOR"' EXIT   # a rehearsal leaves no emulator behind
say() { echo "=== $* at $(( $(date +%s) - T0 )) s"; }
load() { # the load generator in an environment of its own, not vLLM's; SIGINT at the limit keeps what was measured
  local limit=$1; shift
  PYTHONPATH=$SITE timeout -s INT -k 30 "$limit" "$PY" -m locust "$@" --headless -r 100 --processes 4 --expect-workers-max-wait 30 \
    --output-dir /tmp/kv-results --no-report --only-summary 2>&1 | grep -E 'kvcache|ERROR|error|^(OK|NOTE|WARNING) |Preflight:' | cut -c1-300
}
serve() { # MODEL MODE KV
  [ -f "$V/vllm-8000.pid" ] && bash "$LAB/stop_vllm.sh"
  if [ "${SERVER:-vllm}" = emulator ]; then
    setsid "$PY" -m locust_kvcache.emulator --port 8000 --profile h200_qwen_72b_fp8 --time-scale 0.05 --model "${1#model-}" >/tmp/kv-emulator.log 2>&1 </dev/null & EMULATOR=$!; sleep 2; return
  fi
  MODEL=$1 MODE=$2 KV=$3 timeout 330 bash "$LAB/start_vllm.sh"; cp "$V/vllm-8000.log" /tmp/kv-results/"vllm-$1-$3-${LMCACHE_CHUNK_SIZE:-}.log"
}
pack() { # NAME
  tail -c 200000 "$V"/mooncake_master.log >/tmp/kv-results/mooncake_master.log 2>/dev/null
  tar -C /tmp -czf "$OUT/$1.tar.gz.part" kv-results && mv "$OUT/$1.tar.gz.part" "$OUT/$1.tar.gz"
}
store() { # GB: Mooncake's master, and a process of its own for the segment (segments inside two engines: each other's puts fail)
  (. "$V/env.sh"
   setsid "$V/sitemc/mooncake/mooncake_master" --rpc_port=50051 --enable_http_metadata_server=true --http_metadata_server_host=127.0.0.1 \
     --http_metadata_server_port=8090 --metrics_port=9013 >"$V/mooncake_master.log" 2>&1 </dev/null & echo $! >"$V/mooncake_master.pid"; sleep 2
   setsid python3 -c "
import sys, time
sys.path.insert(0, '$V/sitemc')
from mooncake.store import MooncakeDistributedStore
store = MooncakeDistributedStore()
assert store.setup('127.0.0.1', 'http://127.0.0.1:8090/metadata', $1 << 30, 64 << 20, 'tcp', '', '127.0.0.1:50051') == 0
time.sleep(10**6)" >/tmp/kv-results/store.log 2>&1 </dev/null &)
  export MOONCAKE_CONFIG_PATH=/tmp/kv-mooncake.json
  echo '{"mode":"standalone-store","metadata_server":"http://127.0.0.1:8090/metadata","master_server_address":"127.0.0.1:50051","global_segment_size":"0","local_buffer_size":"1GB","protocol":"tcp","device_name":""}' >$MOONCAKE_CONFIG_PATH
  sleep 4
}
probe() { # sets PD_BUFFER: cuda if NIXL moves GPU memory from one process to another here
  PD_BUFFER=cuda; (. "$V/env.sh"; timeout 60 python3 tests/lab/h200/nixl_probe.py cuda 2>&1 | grep -v INFO | tail -8; exit "${PIPESTATUS[0]}") || PD_BUFFER=cpu
  export PD_BUFFER; echo "NIXL's buffers: $PD_BUFFER"
}
pd() { # MODEL MODE: prefiller on GPU 0, decoder on D_GPU; PD_KV=mooncake (default): both on the store; nixl: from PD_BUFFER (cpu, or what probe found), and with
     # PD_STORE=lmcache (or offload, vLLM's own) STORE_GB of the prefiller's host memory below its GPU
  local kv=${PD_KV:-mooncake} nixl p_kv="${EXTRA:-}" d_kv="${EXTRA:-}"
  if [ "$kv" = nixl ]; then
    [ "${PD_BUFFER:-cpu}" = cpu ] && export UCX_TLS=tcp,self,sm
    export VLLM_NIXL_SIDE_CHANNEL_HOST=127.0.0.1
    nixl='{"kv_connector":"NixlConnector","kv_role":"kv_both","kv_buffer_device":"'${PD_BUFFER:-cpu}'"}'
    p_kv="--kv-transfer-config $nixl" d_kv=$p_kv kv=none
    case ${PD_STORE:-} in
      lmcache) p_kv='{"kv_connector":"LMCacheConnectorV1","kv_role":"kv_both"}' ;;
      offload) p_kv='{"kv_connector":"OffloadingConnector","kv_role":"kv_both","kv_connector_extra_config":{"cpu_bytes_to_use":'${STORE_GB:-56}'000000000}}' ;;
    esac
    # LMCache turns the hybrid KV cache manager off, and NIXL refuses a peer that has it on ("compatibility hash mismatch"): off in both roles
    [ -n "${PD_STORE:-}" ] && d_kv="$d_kv --disable-hybrid-kv-cache-manager" p_kv='--disable-hybrid-kv-cache-manager --kv-transfer-config {"kv_connector":"MultiConnector","kv_role":"kv_both","kv_connector_extra_config":{"connectors":['$nixl,$p_kv']}}'
  fi
  mkdir -p /tmp/kv-multiproc   # LMCache's counters reach the page only through it
  (export PROMETHEUS_MULTIPROC_DIR=/tmp/kv-multiproc LMCACHE_LOCAL_CPU=True LMCACHE_MAX_LOCAL_CPU_SIZE=${STORE_GB:-56} LMCACHE_CHUNK_SIZE=256
   [ "${PD_STORE:-}" = lmcache ] || unset PROMETHEUS_MULTIPROC_DIR
   EXTRA=$p_kv MODEL=$1 MODE=$2 KV=$kv PORT=8100 VLLM_NIXL_SIDE_CHANNEL_PORT=5600 CUDA_VISIBLE_DEVICES=0 timeout 300 bash "$LAB/start_vllm.sh") & sleep 6
  [ "${D_GPU:-1}" = 0 ] && wait
  (EXTRA=$d_kv MODEL=$1 MODE=$2 KV=$kv PORT=8200 VLLM_NIXL_SIDE_CHANNEL_PORT=5700 CUDA_VISIBLE_DEVICES=${D_GPU:-1} timeout 300 bash "$LAB/start_vllm.sh") & wait
  cp "$V"/vllm-8[12]00.log /tmp/kv-results/
  curl -sf 127.0.0.1:8100/health && curl -sf 127.0.0.1:8200/health
}
proxy() { # wait: ours, which waits for the store; nixl: ours, which passes NIXL's parameters on; mooncake: that of Mooncake's own package
  [ -f "$V/proxy.pid" ] && kill -- "-$(cat "$V/proxy.pid")" && sleep 1
  (. "$V/env.sh"
   if [ "$1" = mooncake ]; then
     setsid python3 "$V/sitemc/mooncake/vllm_v1_proxy_server.py" --host 127.0.0.1 --port 9000 --prefiller-hosts 127.0.0.1 --prefiller-ports 8100 \
       --decoder-hosts 127.0.0.1 --decoder-ports 8200 >/tmp/kv-results/proxy-mooncake.log 2>&1 </dev/null & echo $! >"$V/proxy.pid"
   else
     setsid python3 tests/lab/waiting_proxy.py --hand-off "$([ "$1" = nixl ] && echo nixl || echo store)" >/tmp/kv-results/proxy-$1.log 2>&1 </dev/null & echo $! >"$V/proxy.pid"
   fi); sleep 4
}
record() { # the pages as they are, every 5 s, until the shell ends: the dashboard's queries can be asked of them later (benchmarks/panels.py)
  mkdir -p /tmp/kv-results/pages
  while kill -0 $$; do
    for port in 8000 8100 8200; do
      curl -s -m 3 "127.0.0.1:$port/metrics" | gzip >"/tmp/kv-results/pages/$port-$(date +%s).gz"
    done
    sleep 5
  done
}
for stage in "$@"; do
  say "$stage"
  IFS=: read -r name a b c <<<"$stage"
  case $name in
    setup) [ "${SERVER:-vllm}" = emulator ] || { nvidia-smi -L; timeout 200 bash "$LAB/join.sh" "$LAB" | tail -2
             [ -d "$WHEELS" ] && "$PY" -m pip install -q --no-index --no-deps --no-compile --upgrade --target $SITE "$WHEELS"/*.whl 2>&1 | tail -2; } ;;
    *=*) export "${stage?}"; continue ;;
    probe) probe ;;
    certificate) PYTHONPATH=$SITE timeout 200 "$PY" -m benchmarks.client_certificate --streams 200 600 1000 2000 --repeats 1 --output /tmp/kv-results/client_certificate.json ;;
    serve) serve "$a" "$b" "$c" || { tail -20 "$V/vllm-8000.log"; continue; } ;;
    store) store "$a" ;;
    pd) pd "$a" "$b" || { [ "${PD_STORE:-}" = lmcache ] && { for p in 8100 8200; do PORT=$p bash "$LAB/stop_vllm.sh"; done; PD_STORE=offload pd "$a" "$b"; }; } ;;
    record) (record >/dev/null 2>&1 &) ;;
    proxy) proxy "$a" ;;
    sweep) load "${LIMIT:-330}" -f locustfiles --scenarios ${SCENARIOS:-long_context_high_reuse multi_turn_conversation batch_processing cold_start} \
             --deployment "configs/${DEPLOYMENT:-lab_h200}.yaml" --requests "$a" --concurrency ${LEVELS:-1 5 10} --run-name "${NAME:-single}" ;;
    arms) load "${LIMIT:-200}" -f locustfiles --scenarios ${PROMPTS:-tests/lab/h200/prompt_4096.yaml tests/lab/h200/prompt_16384.yaml tests/lab/h200/prompt_30000.yaml} \
             --deployment "configs/$a.yaml" -u 1 --arms ${b//,/ } --run-name "$c" ;;
    preflight) load 60 -f locustfiles --scenarios cold_start --deployment "configs/$a.yaml" -u 1 --preflight-only ;;
    stop) PORT=$a bash "$LAB/stop_vllm.sh" ;;
    pack) ls -la "$OUT" ;;
  esac
  [ "$name" = setup ] || pack "${PACK:-results}"
done
say end
