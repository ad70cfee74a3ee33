"""--concurrency: one run per level, each with its own users and its own nonce, and one page that compares them."""

from __future__ import annotations

import json

from locust_kvcache.analysis.basics.number_text import number
from tests.conftest import LocustProcesses, Stub
from tests.loadgen.master.test_coordinator import assert_each_once_per_round, headless


def test_each_level_is_a_run_of_its_own(locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(*headless(stub, "--concurrency", "1", "4", "--run-name", "sweep", "--processes", "2"))
    assert code == 0, output
    one, four = locust.runs()
    assert [run.folder.name for run in (one, four)] == ["sweep_c1", "sweep_c4"]
    assert [run.facts["users"] for run in (one, four)] == [1, 4]
    assert one.facts["nonce"] != four.facts["nonce"]
    for run in (one, four):
        assert_each_once_per_round(run, stub)
    page = (locust.output_dir / "sweep_sweep" / "report.md").read_text()
    cold_ms = [
        row["baseline"]
        for row in json.loads((four.folder / "stats.json").read_text())["effects"]
        if (row["split"], row["metric"], row["statistic"]) == ("round", "ttft_ms", "mean")
    ]
    assert f"| 4 users | {number(cold_ms[0])} |" in page or "its times are not valid" in page  # as it is on a busy machine
    assert "1 user ..." in output
    assert "4 users ..." in output


def test_levels_that_make_no_sense_are_refused(locust: LocustProcesses, stub: Stub) -> None:
    for wrong, said in (
        (("0",), "at least 1"),
        (("2", "2"), "twice"),
        (("2", "--arrival", "poisson", "--request-rate", "1"), "closed"),
    ):
        code, output = locust.run(*headless(stub, "--concurrency", *wrong))
        assert code == 3, output
        assert "--concurrency" in output
        assert said in output
    assert not locust.runs()
