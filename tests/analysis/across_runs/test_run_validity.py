"""A run whose own evidence rejects its figures forbids the comparison; one failed request among many does not."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.analysis.across_runs.run_validity import validity_problems


def stats(complete: bool = True, valid: bool = True, lead: str = "") -> dict[str, Any]:
    claims = [{"scenario": "s", "valid": valid, "lead": lead}]
    return {"complete": complete, "records_complete": complete, "claims": claims, "problems": []}


@pytest.mark.parametrize(
    ("made", "texts"),
    [
        (stats(), []),
        (stats(lead="1 of 60 planned requests failed (--max-failures: 0)"), []),
        (stats(complete=False), ["b is incomplete. "]),
        (stats(valid=False, lead="not valid: the load generator was late"), ["b, s: not valid: the load generator was late."]),
    ],
)
def test_what_forbids_a_comparison(made: dict[str, Any], texts: list[str]) -> None:
    found = validity_problems({"a": stats(), "b": made})
    assert [problem.text for problem in found] == texts
    assert all(problem.severity == "error" for problem in found)
