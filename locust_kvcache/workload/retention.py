"""Makes the Scenario of one run of a retention study: requests with due times, as token ids, in one round."""

from __future__ import annotations

from locust_kvcache.workload.returns import BLOCK_TOKENS, Returns, return_rows
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.traces.source import TraceSource
from locust_kvcache.workload.waits import NO_WAITS

RETENTION = "retention"


def retention_scenario(returns: Returns) -> Scenario:
    rows = return_rows(returns, "")
    return Scenario(
        name=RETENTION, summary=returns.note, api="completions", requests=len(rows), rounds=1,
        prefix_text="document", prefix_tokens=0, prefix_shared_by=1, turns=1, turn_text="document", turn_tokens=(1, 1), reply="planned",
        think_time=NO_WAITS, output_tokens=1, ignore_eos=True, temperature=0.0, order="grouped",
        trace=TraceSource("", block_tokens=BLOCK_TOKENS, block_size=BLOCK_TOKENS, returns=returns),
    )  # fmt: skip
