#!/bin/bash
# Phases on a machine with eight H200s and no network; see docs/lab.md.   usage: LAB=FOLDER bash tests/lab/h200/eight.sh PHASE...
#   LAB    folder with the parts, join.sh and start_vllm.sh, and with site.tar.xz (the load generator's packages) and vr.tar.xz (vllm-router's)
#   OUT    where results go (default results)        SERVER=emulator: rehearse the load of each phase without a GPU
# Phases: setup  r1  r1_compile  r1_store  quoted (GPUs 0-3)  fleet (GPUs 4-7)  pd, then points (GPUs 0-3)  tp (GPUs 4-7)  pair72  pair72_store  all_stop
#         quoted_store, then trace (GPUs 0-3, on a machine with four; fleet_up starts its engines)  client (no GPU)
#   on a machine with two GPUs, quoted and quoted_store: QUOTED_MODEL=model-qwen2.5-72b QUOTED_TP=2 QUOTED_GPUS=0,1 LMCACHE_GB=88 STORE_GB=100 CONTROL=off
#   quoted+fleet and pd+tp run the two phases beside each other, on halves of the machine.
set -uo pipefail
cd "$(dirname "$0")/../../.."
LAB=${LAB:-.h200}; OUT=${OUT:-results}; V=${V:-/tmp/v}; SITE=/tmp/kv-all/site; RES=/tmp/kv-results; T0=$(date +%s); PY=${PY:-python3}
EIGHT=tests/lab/h200/eight; RUNS=${RUNS:-3}; mkdir -p "$OUT" $RES
say() { echo "=== $* at $(( $(date +%s) - T0 )) s"; }
load() { # LIMIT OPTIONS...: one run of the load generator; SIGINT at the limit keeps what was measured
  local limit=$1 port=${LOCUST_PORT:-5557}; shift
  PYTHONPATH=$SITE timeout -s INT -k 20 "$limit" "$PY" -m locust -f locustfiles "$@" --headless -r 100 --processes "${PROCESSES:-4}" --expect-workers-max-wait 30 \
    --master-bind-port "$port" --master-port "$port" --output-dir $RES --no-report --only-summary 2>&1 | grep -iE 'error|round . done|^(WARNING|NOTE)|not valid|incomplete' | cut -c1-170 | tail -14
}
pack() { tar -C /tmp --exclude='*.tmp' -czf "$OUT/$1.part" kv-results && mv "$OUT/$1.part" "$OUT/$1.tar.gz"; }
stop() { # PORT: ends the server of that port; another may run beside it
  local p; p=$(cat "$V/vllm-$1.pid" 2>/dev/null) || return 0
  kill -TERM -- "-$p" 2>/dev/null; for _ in $(seq 30); do kill -0 -- "-$p" 2>/dev/null || break; sleep 0.5; done; kill -KILL -- "-$p" 2>/dev/null; rm -f "$V/vllm-$1.pid"; sleep 2
}
stop_ports() { (for port; do stop "$port" & done; wait); }   # in a shell of its own: `wait` would wait for routers and proxies too
serve() { # PORT, and MODEL MODE KV TP GPUS ... in the environment
  if [ "${SERVER:-vllm}" = emulator ]; then
    setsid "$PY" -m locust_kvcache.emulator --port "$1" --profile h200_qwen_72b_fp8 --time-scale 0.02 --model "${MODEL#model-}" >/tmp/kv-emulator-$1.log 2>&1 </dev/null & echo $! >"$V/vllm-$1.pid"; sleep 3; return
  fi
  [ -n "${GPUS:-}" ] && export CUDA_VISIBLE_DEVICES=$GPUS
  PORT=$1 timeout 300 bash "$LAB/start_vllm.sh" >$RES/start-$1.log 2>&1; local rc=$?; tail -8 $RES/start-$1.log | cut -c1-200; cp "$V/vllm-$1.log" $RES/vllm-$1-${MODEL#model-}-${MODE:-}-${KV:-}.log; return $rc
}
router() { # PORT PROMETHEUS_PORT POLICY URL...
  local port=$1 metrics=$2 policy=$3; shift 3
  [ -f "$V/router-$port.pid" ] && kill "$(cat "$V/router-$port.pid")" && sleep 1
  if [ "${SERVER:-vllm}" = emulator ]; then setsid "$PY" -m locust_kvcache.emulator --port "$port" --profile h200_qwen_72b_fp8 --time-scale 0.02 --model "${MODEL#model-}" >/dev/null 2>&1 </dev/null &
  else (. "$V/env.sh"; export PYTHONPATH=/tmp/kv-all/vr:$PYTHONPATH
       exec setsid python3 -m vllm_router.launch_router --worker-urls "$@" --policy "$policy" --host 127.0.0.1 --port "$port" --prometheus-port "$metrics" >"$RES/router-$policy.log" 2>&1 </dev/null) & fi
  echo $! >"$V/router-$port.pid"; for _ in $(seq 60); do curl -sf "127.0.0.1:$port/v1/models" >/dev/null && return; sleep 0.5; done; tail -5 "$RES/router-$policy.log"
}
setup() {
  mkdir -p /tmp/kv-all "$V"; [ "${SERVER:-vllm}" = emulator ] && return
  nvidia-smi -L | cut -c1-40; nproc
  (bash "$LAB/join.sh" "$LAB" | tail -1) & for p in site vr; do [ -f "$LAB/$p.txz" ] && tar -C /tmp/kv-all -xJf "$LAB/$p.txz" & done; wait
  cp -r /tmp/kv-all/site/orjson* /tmp/kv-all/vr/ 2>/dev/null
  [ -d "$V/model-dsr1-61l" ] || { cp -rL "$V/model-dsr1-8l" "$V/model-dsr1-61l" && sed -i 's/"num_hidden_layers": 8/"num_hidden_layers": 61/' "$V/model-dsr1-61l/config.json"; }
}
more() { # on a warm machine: unpack what came with a later call
  for p in "$LAB"/[bc]*.tar.xz; do [ -f "$p" ] && tar -C "$V" -xJf "$p" & done; for p in site vr; do [ -f "$LAB/$p.txz" ] && tar -C /tmp/kv-all -xJf "$LAB/$p.txz" & done; wait
  cp -r /tmp/kv-all/site/orjson* /tmp/kv-all/vr/ 2>/dev/null; true
}
r1() { # one user to twenty, by tier; then the length of the prompt
  export MODEL=model-dsr1-61l MODE=graph KV=offload OFFLOAD_GIB=${OFFLOAD_GIB:-64} TP=8 LEN=131072 EXTRA='--profiler-config {"profiler":"torch","torch_profiler_dir":"/tmp/v/prof"}'
  serve 8000 || { KV=none EXTRA= serve 8000 || return; }; say "r1 up"
  load 60 --scenarios cold_start --deployment $EIGHT/r1.yaml --requests 16 --output-tokens 20 -u 4 --rounds 2 --warm-up off --control off --run-name r1_first; say first
  for k in $(seq "$RUNS"); do
    load 110 --scenarios cold_start --deployment $EIGHT/r1.yaml --requests 20 --output-tokens 20 --concurrency 1 5 10 20 --arms cold gpu_hit cpu_hit --control $([ "$k" = 1 ] && echo on || echo off) --run-name "r1_$k"; say "r1_$k"; pack r1
  done
  load 120 --scenarios $EIGHT/prompt_4096.yaml $EIGHT/prompt_16384.yaml $EIGHT/prompt_30000.yaml $EIGHT/prompt_100000.yaml --deployment $EIGHT/r1.yaml -u 1 --arms cold gpu_hit cpu_hit --control off --run-name r1_lengths; say "r1 lengths"; pack r1
  timeout 60 "$PY" tests/lab/h200/floor.py http://127.0.0.1:8000 dsr1-61l /tmp/v/prof >$RES/floor_eager.txt 2>&1; tail -12 $RES/floor_eager.txt; pack r1
}
r1_compile() { # the same with compiled prefill graphs and expert parallelism off; where does the floor of a hit lie?
  stop 8000; export MODEL=model-dsr1-61l MODE=compile KV=none TP=8 LEN=32768 EXTRA='--profiler-config {"profiler":"torch","torch_profiler_dir":"/tmp/v/prof2"}'
  serve 8000 || return; say "r1 compiled up"
  load 60 --scenarios $EIGHT/prompt_4096.yaml $EIGHT/prompt_16384.yaml $EIGHT/prompt_30000.yaml --deployment $EIGHT/r1.yaml -u 1 --arms cold gpu_hit --control off --run-name r1_compiled_lengths
  load 60 --scenarios cold_start --deployment $EIGHT/r1.yaml --requests 20 --output-tokens 20 --concurrency 1 10 --arms cold gpu_hit --control off --run-name r1_compiled; say "r1 compiled runs"
  timeout 40 "$PY" tests/lab/h200/floor.py http://127.0.0.1:8000 dsr1-61l /tmp/v/prof2 >$RES/floor_compiled.txt 2>&1; tail -12 $RES/floor_compiled.txt; pack r1_compile; stop 8000
}
quoted() { # the quoted table's load in three ways, hits from the GPU and from host memory; QUOTED: which, in this order
  export MODEL=${QUOTED_MODEL:-model-qwen2.5-72b-bf16} MODE=graph KV=lmcache LMCACHE_MAX_LOCAL_CPU_SIZE=${LMCACHE_GB:-45} TP=${QUOTED_TP:-4} GPUS=${QUOTED_GPUS:-0,1,2,3} LEN=32768; local item way
  [ -f "$V/vllm-8000.pid" ] || serve 8000 || return; say "$MODEL TP$TP up"
  for item in ${QUOTED-u50_1 r1_1 u1_1 u50_2 r1_2 u1_2 u50_3 r1_3 u1_3}; do
    [ $(($(date +%s) - T0)) -gt "${UNTIL:-500}" ] && { say "no time for $item"; continue; }
    case $item in
      u50*) way="-u 50 --warm-up off" ;;
      r1*) way="-u 50 --arrival poisson --request-rate 1 --requests ${RATE_REQUESTS:-16}" ;;
      u1*) way="-u 1 --requests ${ONE_REQUESTS:-8}" ;;
    esac
    load 110 --scenarios mooncake_lmcache_72b --deployment $EIGHT/tp$TP.yaml $way --arms cold gpu_hit cpu_hit --control off --run-name "q_$item"; say "q_$item"; pack quoted
  done
}
quoted_store() { # the quoted load on a Mooncake store below the GPUs, by TCP; QUOTED as above
  local -x MODEL=${QUOTED_MODEL:-model-qwen2.5-72b-bf16} MODE=graph KV=mooncake TP=${QUOTED_TP:-4} GPUS=${QUOTED_GPUS:-0,1,2,3} LEN=32768 MOONCAKE_CONFIG_PATH=$V/mooncake-quoted.json
  # blocks of 128 tokens and longer queues: with vLLM's 16 tokens most puts are refused (docs/servers.md, a slow store)
  local -x EXTRA="--block-size ${STORE_BLOCK:-128}" MC_TCP_MAX_QUEUED_TRANSFERS_PER_PEER=65535 MC_TCP_MAX_PENDING_ADMISSIONS_PER_PEER=65535 MC_TCP_ADMISSION_TIMEOUT_MS=600000
  local -x MC_TCP_LANES_PER_PEER=${LANES:-8} MC_TCP_SLICE_SIZE=131072; local item way control
  echo '{"metadata_server":"http://127.0.0.1:8090/metadata","master_server_address":"127.0.0.1:50051","global_segment_size":"'"${STORE_GB:-85}"'GB","local_buffer_size":"4GB","protocol":"tcp","device_name":""}' >"$MOONCAKE_CONFIG_PATH"
  [ -f "$V/vllm-8000.pid" ] || serve 8000 || { tail -30 "$V/mooncake_master.log" | cut -c1-200; return; }; say "$MODEL TP$TP with a Mooncake store up"
  for item in ${QUOTED-u1_1 u50_1 r1_1 u50_2 u1_2 u50_3 r1_2 u1_3 r1_3}; do
    [ $(($(date +%s) - T0)) -gt "${UNTIL:-500}" ] && { say "no time for $item"; continue; }
    control=off
    case $item in
      u50_1) way="-u 50 --warm-up off"; control=${CONTROL:-on} ;;
      u50*) way="-u 50 --warm-up off" ;;
      r1*) way="-u 50 --arrival poisson --request-rate 1 --requests ${RATE_REQUESTS:-16} --warm-up 2" ;;
      u1*) way="-u 1 --requests ${ONE_REQUESTS:-8} --warm-up 2" ;;
    esac
    load "${LIMIT:-220}" --scenarios mooncake_lmcache_72b --deployment $EIGHT/tp${TP}_store.yaml $way --arms cold gpu_hit store_hit --settle-timeout "${SETTLE:-60}" --control $control --run-name "s_$item"; say "s_$item"
    grep -ao 'batch_put failed: [0-9/]*' "$V/vllm-8000.log" | wc -l; curl -s 127.0.0.1:9013/metrics | grep -E '^master_(allocated_bytes|key_count) '
    tail -c 60000 "$V/mooncake_master.log" >$RES/mooncake_master.log 2>/dev/null; tail -c 100000 "$V/vllm-8000.log" >$RES/vllm-8000-end.log 2>/dev/null; pack quoted_store
  done
}
fleet_up() { # the four replicas of `trace`, where they do not run yet
  local -x MODE=graph KV=none MODEL=model-qwen2.5-32b-fp8 TP=1 LEN=32768 UTIL=0.88; local i
  [ -f "$V/vllm-8101.pid" ] || (for i in 1 2 3 4; do (GPUS=$((i - 1)) serve 810$i) & sleep 3; done; wait); say "fleet up"
}
trace() { # Mooncake's conversation trace through four replicas behind vllm-router: a rate that they do not sustain, and one that they do
  local -x MODEL=model-qwen2.5-32b-fp8; local urls=(http://127.0.0.1:810{1,2,3,4}) k rate p speed window; fleet_up
  for k in ${TRACE_RUNS:-1 2 3}; do for rate in ${TRACE_RATES:-8@600:1000 2@600:700}; do for p in round_robin cache_aware; do
    [ $(($(date +%s) - T0)) -gt "${UNTIL:-460}" ] && { say "no time for $p at $rate $k"; continue; }
    speed=${rate%@*} window=${rate#*@}; router 9100 29100 "$p" "${urls[@]}"
    load 135 --scenarios trace_replay --trace "$TRACE" --trace-speed "$speed" --trace-window "$window" --trace-block-tokens 120 --deployment $EIGHT/fleet.yaml \
      -u 1000 --empty-caches --warm-up 4 --run-name "trace_${p}_x${speed}_$k"; say "trace $p x$speed $k"; pack trace
  done; done; done
}
client() { # the load generator alone: punctual at many streams, and its memory over a million requests
  PYTHONPATH=$SITE timeout 240 "$PY" -m benchmarks.client_certificate --streams ${STREAMS:-1000 2000 4000 10000} --processes "${PROCESSES:-20}" --repeats "${REPEATS:-1}" --output $RES/certificate.json >$RES/certificate.txt 2>&1; tail -25 $RES/certificate.txt; say certificate
  PYTHONPATH=$SITE timeout -s INT -k 20 "${SOAK_S:-280}" "$PY" -m benchmarks.soak --minutes "${SOAK_MINUTES:-4}" --users 128 --processes 16 --every 20 >$RES/soak.txt 2>&1; tail -25 $RES/soak.txt; say soak; pack client
}
fleet() { # four replicas behind vllm-router: three policies, working sets of one and of four engines
  export LOCUST_PORT=5577 MODE=graph KV=none MODEL=model-qwen2.5-32b-fp8 TP=1 LEN=32768 UTIL=0.88; local urls=() i
  for i in 1 2 3 4; do (GPUS=$((i + 3)) serve 810$i) & urls+=("http://127.0.0.1:810$i"); sleep 4; done; wait; say "fleet up"
  local jobs=() job k p s
  for k in $(seq "$RUNS"); do for p in round_robin cache_aware consistent_hash+session; do jobs+=("$p one $k"); done; done
  for job in "${jobs[@]}" "round_robin four 1" "cache_aware four 1" "consistent_hash+session four 1"; do
    read -r p s k <<<"$job"; [ $(($(date +%s) - T0)) -gt "${FLEET_UNTIL:-480}" ] && break
    local d=fleet; [[ $p == *+session ]] && d=fleet_session
    router 9100 29100 "${p%+*}" "${urls[@]}"
    load 110 --scenarios $EIGHT/fleet_$s.yaml --deployment $EIGHT/$d.yaml -u 24 --empty-caches --control off --run-name "${p/+/_}-$s-$k"; say "$job"; pack fleet
  done
}
mixes() { # DEPLOYMENT NAME PACK RUN...: both mixes, closed loop
  local d=$1 name=$2 to=$3 k m; shift 3
  for k in "$@"; do for m in mix_prompt mix_answer; do
    [ $(($(date +%s) - T0)) -gt "${UNTIL:-560}" ] && { say "no time for $name-$m-$k"; continue; }
    load 60 --scenarios $EIGHT/$m.yaml --deployment $EIGHT/$d.yaml -u "${USERS:-24}" --rounds 1 --control off --warm-up 4 --run-name "$name-$m-$k"; done; say "$name $k"; done; pack "$to"
}
proxy() { # PORT PREFILLERS DECODERS: by NIXL; without prefillers the decoders are replicas; addresses separated by commas
  local by=nixl; [ -n "$2" ] || by=none
  [ -f "$V/proxy-$1.pid" ] && kill "$(cat "$V/proxy-$1.pid")" 2>/dev/null && sleep 1
  if [ "${SERVER:-vllm}" = emulator ]; then setsid "$PY" -m locust_kvcache.emulator --port "$1" --profile h200_qwen_72b_fp8 --time-scale 0.02 --model "${MODEL#model-}" >/dev/null 2>&1 </dev/null &
  else (. "$V/env.sh"; exec setsid python3 tests/lab/waiting_proxy.py --port "$1" --hand-off $by --prefiller "$2" --decoder "$3" >>"$RES/proxy-$1.log" 2>&1 </dev/null) & fi
  echo $! >"$V/proxy-$1.pid"; for _ in $(seq 40); do curl -sf "127.0.0.1:$1/v1/models" >/dev/null && return; sleep 0.25; done; tail -5 "$RES/proxy-$1.log"
}
split() { # PREFILLERS: the first so many of four engines prefill, the others decode
  local p= d= i; for i in 1 2 3 4; do if [ "$i" -le "$1" ]; then p+=",http://127.0.0.1:820$i"; else d+=",http://127.0.0.1:820$i"; fi; done
  proxy 9000 "${p#,}" "${d#,}"
}
pd() { # four engines that can be either role; the proxy decides which is which; the splits in turns
  export MODE=graph KV=nixl MODEL=model-qwen2.5-32b-fp8 TP=1 LEN=32768 UTIL=0.88 VLLM_NIXL_SIDE_CHANNEL_HOST=127.0.0.1; local i k x
  (for i in 1 2 3 4; do (export VLLM_NIXL_SIDE_CHANNEL_PORT=56${i}0; GPUS=$((i - 1)) serve 820$i) & sleep 2; done; wait); say "pd engines up"
  for k in $(seq "$RUNS"); do for x in 2 1 3; do split $x; mixes "${x}p$((4 - x))d" "${x}p$((4 - x))d" pd "$k"; done; done
}
points() { # the engines of `pd`: one prefiller and one decoder at several loads, for the prediction of the splits
  export MODEL=model-qwen2.5-32b-fp8; local m u
  proxy 9000 http://127.0.0.1:8201 http://127.0.0.1:8202
  for m in mix_prompt mix_answer; do for u in "1 6" "8 32" "24 72"; do
    load 60 --scenarios $EIGHT/$m.yaml --deployment $EIGHT/1p1d.yaml -u "${u% *}" --requests "${u#* }" --rounds 1 --control off --warm-up 2 --run-name "1p1d-$m-c${u% *}"; done; done; say points; pack points
}
tp() { # the same four GPUs as four replicas, as one server and as two
  export LOCUST_PORT=5577 MODE=graph KV=none MODEL=model-qwen2.5-32b-fp8 LEN=32768 UTIL=0.88; local i all; all=$(seq "$RUNS")
  [ -f "$V/vllm-8101.pid" ] || ( for i in 1 2 3 4; do (export TP=1 GPUS=$((i + 3)); serve 810$i) & sleep 2; done; wait )
  proxy 9100 "" http://127.0.0.1:8101,http://127.0.0.1:8102,http://127.0.0.1:8103,http://127.0.0.1:8104; say "replicas up"; mixes 32b_replicas4 replicas4 tp $all; stop_ports 810{1,2,3,4}
  (export TP=4 GPUS=4,5,6,7; serve 8300); say "tp4 up"; mixes 32b_tp4 tp4 tp $all; stop 8300
  ( (export TP=2 GPUS=4,5; serve 8301) & sleep 2; (export TP=2 GPUS=6,7; serve 8302) & wait ); proxy 9110 "" http://127.0.0.1:8301,http://127.0.0.1:8302; say "tp2x2 up"; mixes 32b_tp2x2 tp2x2 tp $all
}
all_stop() { local p; (for p in "$V"/vllm-*.pid; do [ -f "$p" ] && stop "$(basename "$p" .pid | cut -d- -f2)" & done; wait); for p in "$V"/router-*.pid "$V"/proxy-*.pid; do [ -f "$p" ] && kill "$(cat "$p")" 2>/dev/null && rm "$p"; done; rm -rf $RES/*; }
r1_store() { # R1 whole with LMCache below the GPUs: one to twenty users by tier, then the length of the prompt
  export MODEL=model-dsr1-61l MODE=${R1_MODE:-graph} KV=lmcache LMCACHE_MAX_LOCAL_CPU_SIZE=20 TP=${R1_TP:-8} LEN=131072; local k name=${R1_NAME:-r1_store}
  serve 8000 || return; say "r1 with LMCache up"
  for k in $(seq "$RUNS"); do
    load 150 --scenarios cold_start --deployment $EIGHT/r1.yaml --requests 20 --output-tokens 20 --concurrency 1 5 10 20 --arms cold gpu_hit cpu_hit $([ "$k" = 1 ] && echo --control on || echo --control off --warm-up 4) --run-name "${name}_$k"; say "${name}_$k"; pack "$name"
  done
  load 100 --scenarios $EIGHT/prompt_4096.yaml $EIGHT/prompt_16384.yaml $EIGHT/prompt_30000.yaml $EIGHT/prompt_100000.yaml --deployment $EIGHT/r1.yaml -u 1 --arms cold gpu_hit cpu_hit --control off --warm-up 4 --run-name "${name}_lengths"; say "r1 lengths"; pack "$name"; stop 8000
}
pair72() { stop_ports 8000 # 72B: two TP4 engines as prefiller and decoder, and as replicas; then one TP8
  export MODE=graph MODEL=model-qwen2.5-72b-bf16 LEN=32768 UTIL=0.90 VLLM_NIXL_SIDE_CHANNEL_HOST=127.0.0.1; local i k
  (for i in 1 2; do (export KV=nixl TP=4 VLLM_NIXL_SIDE_CHANNEL_PORT=57${i}0 GPUS=$([ $i = 1 ] && echo 0,1,2,3 || echo 4,5,6,7); serve 840$i) & sleep 2; done; wait); say "two TP4 up"
  proxy 9000 http://127.0.0.1:8401 http://127.0.0.1:8402; proxy 9120 '' http://127.0.0.1:8401,http://127.0.0.1:8402
  for k in $(seq "$RUNS"); do pair_load 72b_pd "$k"; pair_load 72b_tp4x2 "$k"; pack pair72; done
  stop_ports 840{1,2}; (export KV=none TP=8 GPUS=0,1,2,3,4,5,6,7; serve 8000) && say "TP8 up" && for k in $(seq "$RUNS"); do pair_load 72b_tp8 "$k"; pack pair72; done
}
pair72_store() { stop_ports 8000 # the pair of TP4 roles, with LMCache in host memory behind the prefiller; cold, GPU hit, host-memory hit
  local nixl='{"kv_connector":"NixlConnector","kv_role":"kv_both"}' lmcache='{"kv_connector":"LMCacheConnectorV1","kv_role":"kv_both"}' off=--disable-hybrid-kv-cache-manager k
  local -x MODE=graph KV=none MODEL=model-qwen2.5-72b-bf16 LEN=32768 UTIL=0.90 TP=4 VLLM_NIXL_SIDE_CHANNEL_HOST=127.0.0.1 LMCACHE_LOCAL_CPU=True LMCACHE_CHUNK_SIZE=256 LMCACHE_MAX_LOCAL_CPU_SIZE=45
  (export VLLM_NIXL_SIDE_CHANNEL_PORT=5710 GPUS=0,1,2,3 EXTRA="$off --kv-transfer-config {\"kv_connector\":\"MultiConnector\",\"kv_role\":\"kv_both\",\"kv_connector_extra_config\":{\"connectors\":[$nixl,$lmcache]}}"; serve 8401) & sleep 2
  (export VLLM_NIXL_SIDE_CHANNEL_PORT=5720 GPUS=4,5,6,7 EXTRA="$off --kv-transfer-config $nixl"; serve 8402) & wait
  say "two TP4 up, LMCache behind the prefiller"; proxy 9000 http://127.0.0.1:8401 http://127.0.0.1:8402
  for k in $(seq "$RUNS"); do
    load 150 --scenarios cold_start --deployment $EIGHT/72b_pd_store.yaml --requests 24 --output-tokens 40 -u 8 --arms cold gpu_hit cpu_hit --control off --warm-up 4 --run-name "pd_store_$k"; say "pd_store_$k"; pack pair72_store
  done
}
pair_load() { # DEPLOYMENT RUN: long prompts cold and again, then long answers
  [ $(($(date +%s) - T0)) -gt "${UNTIL:-560}" ] && { say "no time for $1-$2"; return; }
  load 60 --scenarios $EIGHT/mix_prompt.yaml --deployment $EIGHT/$1.yaml -u 24 --requests 48 --rounds 2 --control off --warm-up 4 --run-name "$1-mix_prompt-$2"
  load 60 --scenarios $EIGHT/mix_answer.yaml --deployment $EIGHT/$1.yaml -u 24 --requests 48 --rounds 1 --control off --warm-up 4 --run-name "$1-mix_answer-$2"; say "$1 $2"
}
for phase in "$@"; do say "$phase"; IFS=+ read -r first second <<<"$phase"; if [ -n "${second:-}" ]; then ($first) & ($second) & wait; else $phase; fi; done
say end
