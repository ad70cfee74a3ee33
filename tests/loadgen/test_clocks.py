"""A load host whose wall clock is 10 minutes ahead: its records are put in order with the others', and its durations are what they are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import TIMED, LocustProcesses, Stub
from tests.loadgen.master.test_coordinator import assert_barrier, headless
from tests.ports import free_port

pytestmark = pytest.mark.xdist_group(TIMED)

SKEW_S = 600.0  # far more than a busy machine can be late by


def test_a_skewed_clock_changes_no_order(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import time\nreal = time.time\ntime.time = lambda: real() + {SKEW_S}\n")
    port = str(free_port())
    worker = ("-f", "locustfiles/long_context_high_reuse.py", "--worker", "--master-port", port)
    locust.start(*worker)
    locust.start(*worker, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    master = ("--master", "--master-bind-port", port, "--expect-workers", "2", "--expect-workers-max-wait", "60")
    code, output = locust.run(*headless(stub, *master))
    assert code == 0, output
    (run,) = locust.runs()
    facts = run.facts
    assert_barrier(run)
    assert sorted(facts["clock_offsets_s"].values()) == [pytest.approx(0, abs=1), pytest.approx(SKEW_S, abs=1)]
    assert any(re.search(r"(59|60)\d\.\d\d s from the master's", text) for text in facts["warnings"])
    for entry in facts["rounds"]:
        began = [r["started_at_s"] - entry["started_at_s"] for r in run.records if r["round"] == entry["round"]]
        assert -5 < min(began) <= max(began) < entry["wall_s"] + 5  # both hosts' requests lie inside the round
    assert len({r["worker"] for r in run.records}) == 2
    assert all(r["e2e_ms"] < 1000 * SKEW_S for r in run.records)
