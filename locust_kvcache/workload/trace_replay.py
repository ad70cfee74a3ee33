"""A TraceSource comes in, the Scenario that replays it goes out: one request per row, as token ids, one round."""

from __future__ import annotations

import dataclasses

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.trace import TraceSource, load_rows, read_trace

TRACE_REPLAY = "trace_replay"


def replay_scenario(source: TraceSource | None) -> Scenario:
    """One round: what a trace shares, it shares within itself. The file's sha256 is noted, so that other hosts replay the same."""
    if source is None:
        raise BadInput("trace_replay needs --trace FILE (a trace of the Mooncake format; docs/traces.md)")
    noted = dataclasses.replace(source, sha256=read_trace(source.path)[1])
    rows = load_rows(noted)
    return Scenario(
        name=TRACE_REPLAY, summary=f"{len(rows)} requests of {source.path}", api="completions", requests=len(rows), rounds=1,
        prefix_text="document", prefix_tokens=0, prefix_shared_by=1, turns=1, turn_text="document", turn_tokens=(1, 1), reply="planned",
        think_time_s=0.0, output_tokens=max(row.output_tokens for row in rows), ignore_eos=True, temperature=0.0, order="grouped",
        trace=noted,
    )  # fmt: skip
