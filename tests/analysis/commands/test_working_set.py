"""What each tier holds, by the evidence of hits; without evidence it is not known, which is not nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from locust_kvcache.analysis.commands.working_set import sweep_page
from tests.analysis.synthetic import Truth, make_records, write_run

SIZES = (20_000, 40_000)


def sizes(base: Path, reported: int | None, lies: bool = False) -> list[Path]:
    """Runs of two sizes in which every prompt of round 2 has this many cached tokens; `lies`: those of round 1 too."""
    folders = []
    for size in SIZES:
        truth = Truth(sessions=5, turns=1, run_id=f"w{size}")
        records = [
            replace(record, reported_cached_tokens=reported if record.round == 2 or lies else None if reported is None else 0)
            for record in make_records(truth)
        ]
        study = {"kind": "working_set", "working_set_tokens": size, "capacities_tokens": {}}
        folders.append(write_run(base / f"w{size}", records, truth, study=study))
    return folders


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reported", "lies", "said"),
    [
        (4_080, False, "cache, as reported: holds 40,000 tokens, the largest size tried"),
        (0, False, "cache, as reported: nothing was hit at the smallest size; start lower"),
        (None, False, "cache, as reported: not known, as neither counters nor answers tell what was hit"),
        (4_095, True, "cache, as reported: not known, as neither counters nor answers tell what was hit"),
    ],
    ids=["hit", "nothing hit", "not reported", "cold requests reported as cached"],
)
def test_the_lead_tells_what_is_known(tmp_path: Path, reported: int | None, lies: bool, said: str) -> None:
    page = sweep_page(sizes(tmp_path, reported, lies))
    assert page.lead == f"long_context_high_reuse: {said}."
    assert ("Neither the servers' counters nor the answers tell what was hit." in page.trust) == said.endswith("what was hit")
