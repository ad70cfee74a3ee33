"""The options of a trace's replay: declared on Locust's parser, read into one TraceSource."""

from __future__ import annotations

from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.trace import BLOCK_TOKENS, TraceSource


def declare_trace(group: Any, arg: Any) -> None:
    add = group.add_argument
    add("--trace", metavar="FILE", default="", env_var="KV_TRACE",
        help="Replay a trace of the Mooncake format (JSON lines: timestamp, input_length, output_length, hash_ids), open loop by its own "
             "times; the file must lie at the same path on every host. -u must cover what is in flight")  # fmt: skip
    add("--trace-speed", metavar="X", type=arg("trace-speed", float, 1e-6), default=1.0, env_var="KV_TRACE_SPEED",
        help="Times as fast as it was recorded. Default: 1")  # fmt: skip
    add("--trace-window", metavar="START:STOP", default="", env_var="KV_TRACE_WINDOW",
        help="Seconds of the trace's own clock to replay, 600:1200 for ten minutes of it. Default: all")  # fmt: skip
    add("--trace-sample", metavar="SHARE", type=arg("trace-sample", float, 1e-6), default=1.0, env_var="KV_TRACE_SAMPLE",
        help="Share of the prompt families (same first two blocks) to keep; what is kept shares as before. Default: 1")  # fmt: skip
    add("--trace-bursts", action="store_true", default=False, env_var="KV_TRACE_BURSTS",
        help="Keep bursts: the published traces count in steps of 3 s, and what falls into one is spread over it otherwise")  # fmt: skip
    add("--trace-block-tokens", metavar="N", type=arg("trace-block-tokens", int, 1), default=BLOCK_TOKENS, env_var="KV_TRACE_BLOCK_TOKENS",
        help="Tokens of a block; less than 512 scales every length down, for a server with a shorter context. Default: 512")  # fmt: skip


def read_trace_options(parsed: Any, number: Any) -> TraceSource | None:
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
        block_tokens=number("trace-block-tokens", parsed.trace_block_tokens, int, 1) or BLOCK_TOKENS,
    )


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
