"""Makes the Scenario that replays a trace: one request per row, as token ids, in one round."""

from __future__ import annotations

import dataclasses

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.regular_files import sha256_of
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.steps import Pause, no_pause
from locust_kvcache.workload.traces.loading import keep, load_rows
from locust_kvcache.workload.traces.source import TraceSource
from locust_kvcache.workload.waits import NO_WAITS

TRACE_REPLAY = "trace_replay"


def replay_scenario(source: TraceSource | None, pause: Pause = no_pause) -> Scenario:
    """One round: what a trace shares, it shares within itself. The file's sha256 is noted, so that other hosts replay the same."""
    if source is None:
        raise BadInput("trace_replay needs --trace FILE (docs/workloads.md#trace-formats)")
    asked = dataclasses.replace(source, sha256=sha256_of(source.path))
    rows = load_rows(asked, pause)
    noted = dataclasses.replace(asked, block_size=rows.block_size, block_tokens=rows.block_tokens, notes=rows.notes,
                                prefixes=rows.prefixes)  # fmt: skip
    keep(noted, rows)
    return Scenario(
        name=TRACE_REPLAY, summary=f"{len(rows)} requests of {source.path}", api="completions", requests=len(rows), rounds=1,
        prefix_text="document", prefix_tokens=0, prefix_shared_by=1, turns=1, turn_text="document", turn_tokens=(1, 1), reply="planned",
        think_time=NO_WAITS, output_tokens=max(rows.output_tokens), ignore_eos=True, temperature=0.0, order="grouped",
        trace=noted,
    )  # fmt: skip
