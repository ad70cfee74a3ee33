"""Other tools' TTFT, TPOT and ITL of the same record, so that their figures can be reconciled with ours; ms, None where undefined.

Read from the tools' sources and documentation in 2026; docs/metrics.md says how each differs.
"""

from __future__ import annotations

from scenarios.record import Record


def vllm_bench_ttft_ms(record: Record) -> float | None:
    """`vllm bench serve`: the first chunk with a non-empty `choices`, a role-only one included."""
    return record.first_choice_ms


def vllm_bench_tpot_ms(record: Record) -> float | None:
    """`vllm bench serve`: (latency - its ttft) / (output_tokens - 1), the latency ending at the last chunk with `choices`."""
    if record.e2e_ms is None or record.first_choice_ms is None or not record.output_tokens or record.output_tokens < 2:
        return None
    return (record.e2e_ms - record.first_choice_ms) / (record.output_tokens - 1)


def aiperf_itl_ms(record: Record) -> float | None:
    """AIPerf's inter-token latency, which it also calls TPOT: (latency - ttft) / (output_tokens - 1)."""
    if record.e2e_ms is None or record.ttft_ms is None or not record.output_tokens or record.output_tokens < 2:
        return None
    return (record.e2e_ms - record.ttft_ms) / (record.output_tokens - 1)


def guidellm_tpot_ms(record: Record) -> float | None:
    """GuideLLM's time per output token: latency / output_tokens; the TTFT is in it."""
    return record.e2e_ms / record.output_tokens if record.e2e_ms is not None and record.output_tokens else None


def guidellm_itl_ms(record: Record) -> float | None:
    """GuideLLM's inter-token latency: (last - first token) / (output_tokens - 1), as AIPerf's."""
    return aiperf_itl_ms(record)


def llm_bench_tpot_ms(record: Record) -> float | None:
    """fw-ai's llm_bench: generation time / output_tokens, the first token counted in the divisor."""
    if record.e2e_ms is None or record.ttft_ms is None or not record.output_tokens:
        return None
    return (record.e2e_ms - record.ttft_ms) / record.output_tokens
