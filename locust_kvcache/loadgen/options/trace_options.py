"""Reads the options of a trace replay into a TraceSource."""

from __future__ import annotations

from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.option import number
from locust_kvcache.workload.traces.source import TIME_UNITS, TraceSource

AUTO = "auto"


def read_trace_options(parsed: Any) -> TraceSource | None:
    """None without --trace; BadInput names the option, the value found and what is allowed."""
    if not parsed.trace:
        return None
    sample = number("trace-sample", parsed.trace_sample, float, 1e-6) or 1.0
    if sample > 1:
        raise BadInput(f"--trace-sample is {sample:g}; expected a share from 0 to 1")
    start_s, stop_s = _window(str(parsed.trace_window or ""))
    return TraceSource(
        path=str(parsed.trace),
        speed=number("trace-speed", parsed.trace_speed, float, 1e-6) or 1.0,
        start_s=start_s,
        stop_s=stop_s,
        sample=sample,
        keep_bursts=bool(parsed.trace_bursts),
        time_unit=_time_unit(str(parsed.trace_time_unit or AUTO)),
        block_size=number("trace-block-size", parsed.trace_block_size, int, 1),
        block_tokens=number("trace-block-tokens", parsed.trace_block_tokens, int, 1),
    )


def _time_unit(text: str) -> str | None:
    if text not in (AUTO, *TIME_UNITS):
        raise BadInput(f"--trace-time-unit is {text!r}; expected one of {', '.join((AUTO, *TIME_UNITS))}")
    return None if text == AUTO else text


def _window(text: str) -> tuple[float, float | None]:
    if not text:
        return 0.0, None
    start, colon, stop = text.partition(":")
    try:
        low, high = float(start or 0), float(stop) if stop else None
    except ValueError:
        low, high = -1.0, None
    if not colon or low < 0 or (high is not None and high <= low):
        raise BadInput(f"--trace-window is {text!r}; expected START:STOP in seconds, such as 600:1200, either may be left out")
    return low, high
