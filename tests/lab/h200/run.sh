#!/bin/bash
# Stages on a machine with one H200 and no network; see docs/lab.md.   usage: LAB=FOLDER bash tests/lab/h200/run.sh STAGE...
#   LAB    folder with the software's parts and start_vllm.sh, stop_vllm.sh, join.sh     WHEELS  folder with the load generator's wheels
#   OUT    where results go (default results)        SERVER=emulator: rehearse the same stages without a GPU
# Stages: setup  certificate  serve:MODEL:MODE:KV  pd:MODEL:MODE  sweep:REQUESTS  arms:DEPLOYMENT:ARM,ARM  pack:NAME
set -uo pipefail
cd "$(dirname "$0")/../../.."
LAB=${LAB:-.h200}; OUT=${OUT:-results}; WHEELS=${WHEELS:-.whl}; V=${V:-/tmp/v}; SITE=/tmp/kv-site; T0=$(date +%s); mkdir -p "$OUT" /tmp/kv-results
PY=${PY:-python3}
say() { echo "=== $* at $(( $(date +%s) - T0 )) s"; }
load() { # the load generator in an environment of its own, not vLLM's; SIGINT at the limit keeps what was measured
  local limit=$1; shift
  PYTHONPATH=$SITE timeout -s INT -k 30 "$limit" "$PY" -m locust "$@" --headless -r 100 --processes 4 --expect-workers-max-wait 30 \
    --output-dir /tmp/kv-results --no-report --only-summary 2>&1 | grep -E 'kvcache|ERROR|error|^(OK|NOTE|WARNING) |Preflight:' | cut -c1-300
}
serve() { # MODEL MODE KV
  [ -f "$V/vllm-8000.pid" ] && bash "$LAB/stop_vllm.sh"
  if [ "${SERVER:-vllm}" = emulator ]; then
    setsid "$PY" -m emulator --port 8000 --profile h200_qwen_72b_fp8 --time-scale 0.05 >/tmp/kv-emulator.log 2>&1 </dev/null & sleep 2; return
  fi
  MODEL=$1 MODE=$2 KV=$3 timeout 330 bash "$LAB/start_vllm.sh"; cp "$V/vllm-8000.log" /tmp/kv-results/"vllm-$1-$3-${LMCACHE_CHUNK_SIZE:-}.log"
}
pd() { # MODEL MODE: prefiller on GPU 0, decoder on GPU 1, both on the Mooncake store, and the proxy of Mooncake's own package
  (MODEL=$1 MODE=$2 KV=mooncake PORT=8100 CUDA_VISIBLE_DEVICES=0 timeout 300 bash "$LAB/start_vllm.sh") & sleep 6
  (MODEL=$1 MODE=$2 KV=mooncake PORT=8200 CUDA_VISIBLE_DEVICES=1 timeout 300 bash "$LAB/start_vllm.sh") & wait
  (. "$V/env.sh"; setsid python3 "$V/sitemc/mooncake/vllm_v1_proxy_server.py" --host 127.0.0.1 --port 9000 --prefiller-hosts 127.0.0.1 --prefiller-ports 8100 \
     --decoder-hosts 127.0.0.1 --decoder-ports 8200 >/tmp/kv-results/proxy.log 2>&1 </dev/null &); sleep 4
  cp "$V"/vllm-8[12]00.log /tmp/kv-results/; curl -s -m 3 http://127.0.0.1:9000/healthcheck; echo
}
for stage in "$@"; do
  say "$stage"
  IFS=: read -r name a b c <<<"$stage"
  case $name in
    setup) [ "${SERVER:-vllm}" = emulator ] || { nvidia-smi -L; timeout 200 bash "$LAB/join.sh" "$LAB" | tail -2
             "$PY" -m pip install -q --no-index --no-deps --no-compile --upgrade --target $SITE "$WHEELS"/*.whl 2>&1 | tail -2; } ;;
    certificate) PYTHONPATH=$SITE timeout 200 "$PY" -m benchmarks.client_certificate --streams 200 600 1000 2000 --repeats 1 --output /tmp/kv-results/client_certificate.json ;;
    serve) serve "$a" "$b" "$c" || { tail -20 "$V/vllm-8000.log"; continue; } ;;
    pd) pd "$a" "$b" ;;
    sweep) load "${LIMIT:-330}" -f locustfiles --scenarios ${SCENARIOS:-long_context_high_reuse multi_turn_conversation batch_processing cold_start} \
             --deployment configs/lab_h200.yaml --requests "$a" --concurrency ${LEVELS:-1 5 10} --run-name "${NAME:-single}" ;;
    arms) load "${LIMIT:-200}" -f locustfiles --scenarios ${PROMPTS:-tests/lab/h200/prompt_4096.yaml tests/lab/h200/prompt_16384.yaml tests/lab/h200/prompt_30000.yaml} \
             --deployment "configs/$a.yaml" -u 1 --arms ${b//,/ } --run-name "$c" ;;
    preflight) load 60 -f locustfiles --scenarios cold_start --deployment "configs/$a.yaml" -u 1 --preflight-only ;;
    pack) tail -c 200000 "$V"/mooncake_master.log >/tmp/kv-results/mooncake_master.log 2>/dev/null
          tar -C /tmp -czf "$OUT/${a:-results}.tar.gz" kv-results; ls -la "$OUT" ;;
  esac
done
say end
