"""Keeps vLLM's histograms of a server; durations are real (scaled) seconds."""

from __future__ import annotations

from locust_kvcache.emulator.histogram import Histogram
from locust_kvcache.emulator.observer import Observer
from locust_kvcache.emulator.work import Work

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
STEP_SIZES = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560)
GAP_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
PHASE_S = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
# name without its vllm: prefix, help, bounds: in the order of a real page
TABLE: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("request_prompt_tokens", "Number of prefill tokens processed.", SIZES),
    ("request_generation_tokens", "Number of generation tokens processed.", SIZES),
    ("iteration_tokens_total", "Histogram of number of tokens per engine_step.", STEP_SIZES),
    ("request_max_num_generation_tokens", "Histogram of maximum number of requested generation tokens.", SIZES),
    ("request_params_n", "Histogram of the n request parameter.", (1, 2, 5, 10, 20)),
    ("request_params_max_tokens", "Histogram of the max_tokens request parameter.", SIZES),
    ("time_to_first_token_seconds", "Histogram of time to first token in seconds.", TTFT_S),
    ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", GAP_S),
    ("request_time_per_output_token_seconds", "Histogram of time_per_output_token_seconds per request.", GAP_S),
    ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", PHASE_S),
    ("request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", PHASE_S),
    ("request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", PHASE_S),
    ("request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", PHASE_S),
    ("request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", PHASE_S),
    ("request_num_preemptions", "Histogram of the number of times a request was preempted.", (1, 2, 3, 4, 5, 10, 20)),
    ("request_prefill_kv_computed_tokens", "Histogram of new KV tokens computed during prefill (excluding cached tokens).", SIZES),
)  # fmt: skip
# In one process, prefill and decode apart: what a client's view takes from the prefiller, the rest comes from the decoder.
OF_THE_PREFILLER = {
    "request_prompt_tokens",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_prefill_kv_computed_tokens",
}
OF_THE_JOB = {"time_to_first_token_seconds", "e2e_request_latency_seconds"}


class Recorder(Observer):
    def __init__(self) -> None:
        self.histograms = {name: Histogram(f"vllm:{name}", help_text, bounds) for name, help_text, bounds in TABLE}
        self._step = self.histograms["iteration_tokens_total"]
        self._gap = self.histograms["inter_token_latency_seconds"]

    def step(self, tokens: int) -> None:
        self._step.observe(tokens)

    def token(self, work: Work, due_s: float) -> None:
        if work.handed_out == 1:
            self.histograms["time_to_first_token_seconds"].observe(due_s - work.arrived_s)
        else:
            self._gap.observe(due_s - work.last_token_s)

    def finished(self, work: Work) -> None:
        scheduled_s, first_s, last_s = work.scheduled_s or 0.0, work.prefilled_s or 0.0, work.last_token_s
        values = {
            "request_prompt_tokens": work.prompt_tokens,
            "request_generation_tokens": work.emitted,
            "request_max_num_generation_tokens": work.output_tokens,
            "request_params_n": 1,
            "request_params_max_tokens": work.output_tokens,
            "request_time_per_output_token_seconds": (last_s - first_s) / (work.emitted - 1) if work.emitted > 1 else 0.0,
            "e2e_request_latency_seconds": last_s - work.arrived_s,
            "request_queue_time_seconds": scheduled_s - work.queued_s,
            "request_inference_time_seconds": last_s - scheduled_s,
            "request_prefill_time_seconds": first_s - scheduled_s,
            "request_decode_time_seconds": last_s - first_s,
            "request_num_preemptions": work.preemptions,
            "request_prefill_kv_computed_tokens": work.prompt_tokens - work.cached_tokens,
        }
        for name, value in values.items():
            self.histograms[name].observe(value)
