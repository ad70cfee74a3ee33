"""A user's own files against the emulator, whose cache is known: what it finds is what the plan says, request by request."""

from __future__ import annotations

from tests.conftest import LocustProcesses
from tests.loadgen.server.test_arms import Start, emulator

__all__ = ["emulator"]

EXAMPLES = [f"docs/examples/workloads/{name}.yaml" for name in ("sharegpt", "messages", "handbook")]


def test_cached_tokens_are_those_of_the_plan(locust: LocustProcesses, emulator: Start) -> None:
    """One user, so that a document is stored before it is asked about again; each request once per round."""
    code, output = locust.run(
        "-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--host", emulator(), "--scenarios", *EXAMPLES
    )
    assert code == 0, output
    (run,) = locust.runs()
    records = [record for record in run.records if record["status"] == "ok"]
    assert len(records) == 2 * (6 + 5 + 24)
    found = [(r["scenario"], r["round"], r["request_index"], r["reported_cached_tokens"]) for r in records]
    planned = [(r["scenario"], r["round"], r["request_index"], r["planned_cached_tokens"]) for r in records]
    # no document of the example ends within 8 tokens before a block of 32 is full: questions that begin alike share some words more
    assert found == planned
    for scenario in ("sharegpt", "messages", "handbook"):
        assert sum(cached for name, number, _, cached in planned if (name, number) == (scenario, 1)) > 0
        sent = [
            {r["request_index"]: r["prompt_tokens"] for r in records if (r["scenario"], r["round"]) == (scenario, n)}
            for n in (1, 2)
        ]
        assert sent[0] == sent[1]  # round 2 is round 1 again, generated answers too
