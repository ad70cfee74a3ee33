#!/bin/bash
# What a fault costs a real PD pair on this machine's CPU: faults.sh VENV MODEL OUT [FAULT...]   (docs/lab.md)
# FAULT: none master store prefiller decoder (default: all five). RUNS of each (default 3), in turns. The pair starts afresh for each run;
# with REUSE=1 only where it does not answer.
# 15 s after the load began the process is killed by SIGKILL, 5 s later it is started again. The products' logs go beside each run.
set -uo pipefail
VENV=$1 MODEL=$2 OUT=$3; shift 3
HERE=$(cd "$(dirname "$0")" && pwd); PY=${PY:-python}; mkdir -p "$OUT"; OUT=$(cd "$OUT" && pwd)
[ $# = 0 ] && set -- none master store prefiller decoder
declare -A READY=([prefiller]=http://127.0.0.1:8100/health [decoder]=http://127.0.0.1:8200/health [master]=http://127.0.0.1:9004/metrics)
declare -A SECONDS_OF=([none]=50 [master]=50 [store]=50 [prefiller]=85 [decoder]=85)
deployment() { # FAULT: the pair's deployment file, with the event
  cat "$HERE/../../../configs/lab_cpu_pd.yaml" | sed '/^caches:/,$d'
  [ "$1" = none ] && return
  echo "events:"
  echo "  - name: $1"
  echo "    at_s: 15"
  echo "    run: bash $HERE/pd.sh kill $1 $VENV $MODEL"
  echo "    undo: bash $HERE/pd.sh again $1 $VENV $MODEL"
  echo "    undo_after_s: 5"
  [ -n "${READY[$1]:-}" ] && echo "    ready: ${READY[$1]}"
  echo "    timeout_s: 60"
}
ask() { # SECONDS: whether the pair answers a short request in time
  curl -sf -m "$1" 127.0.0.1:9000/v1/completions -H 'Content-Type: application/json' -d '{"model": "tiny", "prompt": "one two three", "max_tokens": 2}' > /dev/null
}
for run in $(seq "${RUNS:-3}"); do for fault; do
  name=${fault}_$run; [ -f "$OUT/$name/run.json" ] && continue
  if [ -z "${REUSE:-}" ] || ! ask 5; then
    bash "$HERE/pd.sh" stop "$VENV" "$MODEL"; sleep 2; bash "$HERE/pd.sh" start "$VENV" "$MODEL" || continue
  fi
  ask 60; ask 60; ask 60 # an engine's first requests are slow
  rm -rf "${OUT:?}/$name"; deployment "$fault" > "$OUT/$fault.yaml"
  (cd "$HERE/../../.." && "$PY" -m locust_kvcache run cold_start --headless -u 60 -r 60 --arrival poisson --request-rate "${RATE:-1}" --deployment "$OUT/$fault.yaml" --rounds 1 \
    --round-time "${SECONDS_OF[$fault]}" --warm-up 4 --prompt-tokens "${PROMPT_TOKENS:-280}" --output-tokens "${OUTPUT_TOKENS:-2}" --max-failures 100% --request-timeout "${TIMEOUT:-20}" \
    --run-name "$name" --output-dir "$OUT" --no-report) 2>&1 | tail -25
  mkdir -p "$OUT/$name/logs"; for log in "${LOGS:-/tmp/lab_pd}"/*.log; do tail -c 100000 "$log" > "$OUT/$name/logs/$(basename "$log")"; done
done; done
bash "$HERE/pd.sh" stop "$VENV" "$MODEL"
