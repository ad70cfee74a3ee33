"""Open loop: the schedule against theory, and what a server really gets from one and from two workers."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from locust_kvcache.loadgen.protocol.arrivals import Arrival, due_times_s
from locust_kvcache.loadgen.protocol.messages import Late
from locust_kvcache.loadgen.run.late_sessions import Lateness
from locust_kvcache.loadgen.worker.share import LATE_MS
from tests.conftest import TIMED, LocustProcesses, RunFiles, Stub
from tests.ports import free_port

pytestmark = pytest.mark.xdist_group(TIMED)

KINDS = ("constant", "poisson", "gamma")


def gaps_s(arrival: Arrival, sessions: int, seed_key: str = "1/x/arrivals") -> list[float]:
    due_s = due_times_s(arrival, sessions, seed_key)
    assert due_s is not None
    return [after - before for before, after in itertools.pairwise(due_s)]


@given(st.sampled_from(KINDS), st.floats(0.01, 1000), st.floats(0.05, 20), st.integers(1, 200), st.integers(0, 99))
def test_a_schedule_starts_at_zero_never_goes_back_and_is_the_same_everywhere(
    kind: str, rate: float, burstiness: float, sessions: int, seed: int
) -> None:
    arrival = Arrival(kind, rate, burstiness)
    due_s = due_times_s(arrival, sessions, f"{seed}/x")
    assert due_s is not None
    assert len(due_s) == sessions
    assert due_s[0] == 0
    assert all(after >= before for before, after in itertools.pairwise(due_s))
    assert due_s == due_times_s(arrival, sessions, f"{seed}/x")


def test_the_closed_loop_has_no_schedule() -> None:
    assert due_times_s(Arrival("closed", None, 1.0), 10, "1/x") is None


def test_constant_gaps() -> None:
    assert gaps_s(Arrival("constant", 4.0, 1.0), 100) == pytest.approx([0.25] * 99)


def test_poisson_gaps_are_exponential() -> None:
    gaps = gaps_s(Arrival("poisson", 5.0, 7.0), 5001)  # burstiness has no say here
    assert stats.kstest(gaps, "expon", args=(0, 0.2)).pvalue > 0.01
    assert abs(stats.pearsonr(gaps[:-1], gaps[1:]).statistic) < 3 / math.sqrt(len(gaps))  # no memory


@settings(deadline=None, max_examples=20)
@given(st.floats(0.2, 10))
def test_gamma_gaps_have_the_mean_of_the_rate_and_the_variance_of_the_burstiness(burstiness: float) -> None:
    gaps = gaps_s(Arrival("gamma", 10.0, burstiness), 20_001)
    assert stats.kstest(gaps, "gamma", args=(burstiness, 0, 0.1 / burstiness)).pvalue > 1e-4
    standard_error = 0.1 / math.sqrt(burstiness) / math.sqrt(len(gaps))
    assert sum(gaps) / len(gaps) == pytest.approx(0.1, abs=5 * standard_error)


def test_lateness_is_told_with_a_way_out() -> None:
    lateness = Lateness()
    assert lateness.text("s", 1, 10) is None
    lateness.note("a", Late("r", "s", 1, 2, 100.0))
    lateness.note("a", Late("r", "s", 1, 4, 1500.0))
    lateness.note("b", Late("r", "s", 1, 1, 30.0))
    text = lateness.text("s", 1, 10)
    assert text is not None
    assert "5 of 10 sessions were sent late, up to 1.5 s" in text
    assert "-u" in text


def arrivals_s(run: RunFiles, stub: Stub) -> list[float]:
    """When the server got the run's own requests."""
    entries = [json.loads(line) for line in stub.log.read_text().splitlines()]
    nonce = run.facts["nonce"]
    return [e["at"] for e in entries if e["body"]["messages"][0]["content"].startswith(nonce)]


def open_loop(stub: Stub, users: int, *more: str) -> tuple[str, ...]:
    base = (
        "-f",
        "locustfiles/cold_start.py",
        "--headless",
        "-u",
        str(users),
        "-r",
        "100",
        "--host",
        stub.url,
        "--output-tokens",
        "11",
    )
    return (*base, "--rounds", "1", "--requests", "60", "--arrival", "constant", "--request-rate", "20", *more)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_rate_is_global(locust: LocustProcesses, stub: Stub, workers: int) -> None:
    port = str(free_port())
    for _ in range(workers):
        locust.start("-f", "locustfiles/cold_start.py", "--worker", "--master-port", port)
    master = ("--master", "--master-bind-port", port, "--expect-workers", str(workers), "--expect-workers-max-wait", "60")
    code, output = locust.run(*open_loop(stub, 20, *master))
    assert code == 0, output
    (run,) = locust.runs()
    scheduled_s = sorted(record["scheduled_at_s"] for record in run.records)
    assert scheduled_s[-1] - scheduled_s[0] == pytest.approx(59 / 20, abs=0.1)
    assert {r["worker"].split("#")[1] for r in run.records} == {str(i) for i in range(workers)}
    for record in run.records:
        assert record["started_at_s"] - record["scheduled_at_s"] == pytest.approx(record["schedule_lag_ms"] / 1000, abs=1e-3)
        assert record["schedule_lag_ms"] >= -1
    # the server's own clock: two workers with a schedule each would take half the time, or twice as long
    at_s = sorted(arrivals_s(run, stub))
    assert (len(at_s) - 1) / (at_s[-1] - at_s[0]) == pytest.approx(20, rel=0.25)
    if max(record["schedule_lag_ms"] for record in run.records) < LATE_MS:  # a busy machine's workers are late, and say so
        assert not any("late" in warning for warning in run.facts["warnings"])


def test_too_few_users_are_lag_and_a_warning(locust: LocustProcesses, slow_stub: Stub) -> None:
    """20 sessions per second at 1.5 s each want 30 users; with 4 the schedule stays, and what it costs is said."""
    code, output = locust.run(*open_loop(slow_stub, 4, "--requests", "16"))
    assert code == 0, output
    (run,) = locust.runs()
    lags_ms = sorted(record["schedule_lag_ms"] for record in run.records)
    assert lags_ms[3] < 1000  # the first four found a user, all others waited for at least one answer of 1.5 s
    assert lags_ms[-1] > 3000
    scheduled_s = sorted(record["scheduled_at_s"] for record in run.records)
    assert scheduled_s[-1] - scheduled_s[0] == pytest.approx(15 / 20, abs=0.1)  # intended times did not move
    (warning,) = [text for text in run.facts["warnings"] if "late" in text]
    assert "12 of 16 sessions were sent late" in warning
    assert "falls behind its schedule" in output
    assert warning in output.replace("\n", " ")
