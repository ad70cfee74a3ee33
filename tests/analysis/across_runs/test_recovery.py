"""Recovery from an event: a known dip and a known way back, counted by hand; windows that neither lose nor repeat a request."""

from __future__ import annotations

import json
import lzma
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_kvcache.analysis.across_runs import recovery
from locust_kvcache.analysis.across_runs.recovery import Event
from locust_kvcache.analysis.across_runs.recovery_windows import cut, mean_interval, states
from locust_kvcache.analysis.basics import mapped
from locust_kvcache.analysis.commands import recovery as command
from locust_kvcache.analysis.reading.runs import RecordedRun, load_run
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import write_run
from tests.conftest import ROOT

T0, EVENT_S = 1_700_000_000.0, 20.0
ENGINES = [{"name": name, "role": "server", "url": f"http://h/{name}"} for name in ("e1", "e2", "e3")]


def request(number: int, at_s: float, cached: int, ttft_ms: float = 50.0, **changes: Any) -> Record:
    """A prompt of 1,000 tokens, 800 of which should hit."""
    values: dict[str, Any] = {
        "run_id": "r", "deployment": "d", "model": "m", "scenario": "s", "round": 2, "round_kind": "hit", "request_index": number,
        "session_id": number % 40, "turn": 1, "worker": "w", "started_at_s": T0 + at_s, "http_status": 200, "finish_reason": "length",
        "prompt_tokens": 1000, "output_tokens": 4, "planned_cached_tokens": 800, "reported_cached_tokens": cached, "ttft_ms": ttft_ms,
        "e2e_ms": 100.0, **changes,
    }  # fmt: skip
    return Record(**values)


def failure(number: int, at_s: float, status: str) -> Record:
    return request(number, at_s, 0, status=status, ttft_ms=None, e2e_ms=None, output_tokens=None, reported_cached_tokens=None)


def records(run_id: str = "r", back_s: float = 24.0) -> list[Record]:
    """20 requests/s for 60 s. From 20 s on 300 of 800 tokens hit, from 22 s on 740 of 800, from `back_s` on all; 3 requests fail."""
    found = []
    for number in range(1200):
        at_s = number / 20
        cached = 800 if not EVENT_S <= at_s < back_s else 300 if at_s < 22 else 740
        found.append(request(number, at_s, cached, 200.0 if EVENT_S <= at_s < 22 else 50.0, run_id=run_id))
    found[398] = failure(398, 19.9, "cut")  # open at the event: an answer takes 100 ms
    found[401] = failure(401, 20.05, "no_output")
    found[402] = failure(402, 20.1, "cut")
    return [Record(**{**vars_of(one), "run_id": run_id}) for one in found]


def vars_of(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Record.__dataclass_fields__}


def page(at_s: float, engine: str, total: float | None) -> dict[str, Any]:
    samples = None if total is None else {"vllm:request_success_total": total}
    return {
        "at_s": T0 + at_s,
        "role": "server",
        "url": f"http://h/{engine}",
        "ok": total is not None,
        "error": None,
        "samples": samples,
    }


def run_of(folder: Path, run_id: str = "r", **changes: Any) -> RecordedRun:
    deployment = {"name": "d", "kind": "non_disagg", "endpoint": "http://h", "engines": ENGINES}
    rows = [{"scenario": "s", "round": 2, "planned_requests": 1200, "records": 1200, "wall_s": 60.0, "complete": True}]
    write_run(folder, records(run_id, **changes), run_id=run_id, deployment=deployment, rounds=rows, rounds_planned=None)
    scrapes = [page(at, "e1", 10 * at) for at in (15, 25, 35, 45)]
    scrapes += [page(15, "e2", 100), page(25, "e2", None), page(35, "e2", 0), page(45, "e2", 0)]
    scrapes += [page(15, "e3", 100), page(25, "e3", None), page(35, "e3", None), page(45, "e3", None)]
    (folder / "server_metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in scrapes))
    return load_run(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return run_of(tmp_path_factory.mktemp("recovery") / "r")


def test_a_known_dip_and_a_known_way_back(run: RecordedRun) -> None:
    events = [Event("kill", T0 + EVENT_S)]
    assert recovery.width_for(run.records, events) == 1.0  # 20 requests in each window before the event
    (one,) = recovery.outcomes(run, events, 1.0)
    assert (len(one.before), len(one.after)) == (20, 40)
    assert one.levels["hit_rate"] == pytest.approx(0.8)
    assert one.worst["hit_rate"] == pytest.approx(0.3)
    found = {(crossing.figure, crossing.share): (crossing.fell_s, crossing.reached_s) for crossing in one.crossings}
    assert found["hit_rate", 0.9] == (1.0, 3.0)  # 740 / 800 is 92.5 %: from the window of 22 to 23 s on
    assert found["hit_rate", 0.99] == (1.0, 5.0)
    assert found["ttft_ms", 0.9] == found["ttft_ms", 0.99] == (1.0, 3.0)
    assert one.first_answer_s == pytest.approx(0.2)  # sent at the event, 200 ms
    assert one.failed == {"cut": 2, "no_output": 1}
    assert one.empty_200 == 1
    assert one.recomputed_tokens == 38 * 500 + 40 * 60  # of 2 s each; two of the first 40 failed
    assert one.planned_tokens == (800 - 2) * 800
    assert one.recomputed_before == 0
    assert (one.sessions, one.sessions_lost) == (40, 38)  # the first answers of sessions 1 and 2 after it came when 740 hit
    assert one.until == recovery.RUN_END


def test_columns_in_files_and_requests_that_were_never_sent_change_nothing(
    run: RecordedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [Event("kill", T0 + EVENT_S)]
    expected = recovery.outcomes(run, events, 1.0)
    monkeypatch.setattr(mapped, "MAPPED_FROM_BYTES", 1)
    unsent = request(1200, 0.0, 0, started_at_s=None, status="dropped", ttft_ms=None, e2e_ms=None)
    write_run(tmp_path / "r", [*records(), unsent], run_id="r", deployment=run.info.raw["deployment"])
    read = recovery.sent_requests(load_run(tmp_path / "r"))
    assert (len(read.records), list(read.records)) == (1200, recovery.COLUMNS)
    assert [replace(one, engines=()) for one in expected] == recovery.outcomes(read, events, 1.0)


def test_a_state_is_a_scenario_and_a_kind_of_round() -> None:
    """A round that does not say its kind is cold if it is the first, else a hit round."""
    table = pd.DataFrame({"scenario": list("aaaab"), "round": [1, 1, 2, 2, 1], "round_kind": ["cold", None, "hit", None, None]})
    for kinds in (table["round_kind"], table["round_kind"].astype("category"), pd.Series([None] * 5, dtype="category")):
        found = states(table.assign(round_kind=kinds))
        assert pd.factorize(found)[0].tolist() == [0, 0, 1, 1, 2]


def test_engines_that_answer_and_take_nothing(run: RecordedRun) -> None:
    (one,) = recovery.outcomes(run, [Event("kill", T0 + EVENT_S)], 1.0)
    assert [(engine.engine, engine.what, engine.since_s) for engine in one.engines] == [
        ("e2", "took no request", 15.0),
        ("e3", "did not answer", 5.0),
    ]


def test_a_level_that_is_not_reached_is_not_guessed(tmp_path: Path) -> None:
    (one,) = recovery.outcomes(run_of(tmp_path / "r", back_s=61.0), [Event("kill", T0 + EVENT_S)], 1.0)
    crossing = one.crossing("hit_rate", 0.99)
    assert crossing is not None
    assert (crossing.fell_s, crossing.reached_s) == (1.0, None)


def test_recovery_is_looked_for_beyond_the_next_event_and_losses_are_counted_until_it(run: RecordedRun) -> None:
    kill, back = recovery.outcomes(run, [Event("kill", T0 + 20), Event("back", T0 + 23)], 1.0)
    crossings = [kill.crossing("hit_rate", 0.99), back.crossing("hit_rate", 0.99)]
    assert [crossing and crossing.reached_s for crossing in crossings] == [5.0, 2.0]
    assert back.levels == kill.levels  # that before the first event
    assert (kill.recomputed_tokens, back.recomputed_tokens) == (38 * 500 + 20 * 60, 20 * 60)
    assert kill.until == "back"


def test_a_cold_round_is_no_level_for_a_hit_round(tmp_path: Path) -> None:
    cold = [request(number, number / 20 - 10, 0, round=1, round_kind="cold", planned_cached_tokens=0) for number in range(100)]
    rows = [{"scenario": "s", "round": n, "planned_requests": count, "records": count} for n, count in ((1, 100), (2, 1200))]
    found = load_run(write_run(tmp_path / "r", [*cold, *records()], run_id="r", rounds=rows))
    (one,) = recovery.outcomes(found, [Event("kill", T0 + EVENT_S)], 1.0)
    assert one.levels["hit_rate"] == pytest.approx(0.8)
    assert len(one.before) == 20


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-500, 500), min_size=1, max_size=60), st.integers(1, 90), st.integers(-600, 0), st.integers(1, 600))
def test_windows_hold_each_request_once(eighths: list[int], width: int, begin: int, stop: int) -> None:
    """In eighths of a second, which a float holds exactly; the event is at 0."""
    frame = FRAME.loc[[0] * len(eighths)].reset_index(drop=True).assign(started_at_s=[T0 + eighth / 8 for eighth in eighths])
    windows = cut(frame, T0, T0 + begin / 8, T0 + stop / 8, width / 8)
    low, high = -(-begin // width) * width, stop // width * width  # whole windows only
    assert sum(window.sent for window in windows) == sum(low <= eighth < high for eighth in eighths)
    assert len(windows) == max(0, (high - low) // width)
    assert all(window.end_s - window.start_s == pytest.approx(width / 8) for window in windows)
    assert all(not window.start_s < -1e-9 < 1e-9 < window.end_s for window in windows)  # none holds both sides of the event


@pytest.fixture(scope="module", autouse=True)
def _frame(run: RecordedRun) -> None:
    global FRAME
    FRAME = run.records.iloc[:1].reset_index(drop=True)


def test_the_interval_over_runs() -> None:
    assert mean_interval([3.0]) is None
    assert mean_interval([3.0, 5.0]) == pytest.approx((4.0, 4 - 12.706, 4 + 12.706), abs=1e-3)  # t(1) = 12.706, se = 1


def ask(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["recovery", *arguments])
    return command.main()


def test_several_runs_on_one_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [
        str(run_of(tmp_path / name, name, back_s=back_s).folder) for name, back_s in (("a", 24.0), ("b", 25.0), ("c", 61.0))
    ]
    assert ask(monkeypatch, *folders, "--event", "kill=+20", "--output-dir", str(tmp_path / "out")) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("kill: the hit rate was 80.0 %")  # three runs, 20 windows each: nothing weakens it
    told = (tmp_path / "out" / "report.md").read_text().replace("\\", "")
    assert "5.00 s and 6.00 s (2 of 3 runs); not reached within 40.0 s (1 of 3 runs)" in told
    assert len(json.loads((tmp_path / "out" / "recovery.json").read_text())["events"][0]["runs"]) == 3


def test_hits_that_cannot_be_true_are_no_level(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prompts that were never seen, reported as almost wholly cached, as a PD pair's decoder does: there is no hit rate."""
    new = {"round": 1, "round_kind": "cold", "planned_cached_tokens": 0}
    found = [request(number, number / 20, 992, session_id=number, **new) for number in range(1200)]
    rows = [{"scenario": "s", "round": 1, "planned_requests": 1200, "records": 1200, "wall_s": 60.0, "complete": True}]
    deployment = {"name": "d", "kind": "pd_disagg", "endpoint": "http://h"}
    write_run(tmp_path / "r", found, run_id="r", deployment=deployment, rounds=rows, rounds_planned=None)
    assert ask(monkeypatch, str(tmp_path / "r"), "--event", "kill=+20", "--output-dir", str(tmp_path / "out")) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "the mean TTFT was 50.0 ms before and 50.0 ms in the worst window after" in printed
    assert "hit rate was" not in printed
    assert "r: 1200 of 1200 requests with a never-seen prefix were reported as almost wholly cached" in (
        (tmp_path / "out" / "report.md").read_text().replace("\n  ", " ")
    )


def test_events_that_the_master_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = run_of(tmp_path / "r")
    info = json.loads((found.folder / "run.json").read_text())
    info["events"] = [{"name": "kill", "began_at_s": T0 + 20, "undo_began_at_s": T0 + 22, "ready_at_s": T0 + 23}]
    (found.folder / "run.json").write_text(json.dumps(info))
    assert ask(monkeypatch, str(found.folder), "--output-dir", str(tmp_path / "out")) == 0
    events = json.loads((tmp_path / "out" / "recovery.json").read_text())["events"]
    assert [event["name"] for event in events] == ["kill", "kill undone", "kill ready"]
    page = (tmp_path / "out" / "report.md").read_text()
    assert page.startswith("# Recovery: what kill cost\n")
    lead = page[page.index("**Read with care") :].partition("**\n")[0]
    assert "undone" not in lead  # one sentence for one fault, with what was lost until the next
    assert "Requests lost: 3" in lead.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--event", "kill"], "--event is 'kill'; expected NAME=TIME"),
        (["--event", "kill=noon"], "--event is 'kill=noon'"),
        (["--event", "kill=+300"], "is +300.0 s from the first request of r; expected 0 to 60.0 s"),
        (["--event", "kill=+20", "--window-s", "0"], "--window-s is 0; expected more than 0"),
        ([], "run.json holds no events; give --event NAME=TIME"),
    ],
)
def test_bad_input(run: RecordedRun, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput) as caught:
        ask(monkeypatch, str(run.folder), *arguments)
    assert says in str(caught.value)


def test_the_published_run(tmp_path: Path) -> None:
    """One of four engines on H200s is killed under load, and is back 66.6 s later."""
    packed = ROOT / "docs" / "results" / "h200x8-vllm-0.26" / "fleet.tar.xz"
    with lzma.open(packed) as stream, tarfile.open(fileobj=stream) as archive:
        archive.extractall(tmp_path, [one for one in archive.getmembers() if "/recovery/" in one.name], filter="data")
    found = load_run(tmp_path / "recovery")
    events = [Event("kill_e4", 1795730967.5965), Event("back_e4", 1795731034.2436)]
    assert recovery.width_for(found.records, events) == 2.0
    kill, back = recovery.outcomes(found, events, 2.0)
    assert kill.failed == {"cut": 4}
    assert [kill.crossing("hit_rate", share).reached_s for share in recovery.SHARES] == [6.0, 6.0]  # type: ignore[union-attr]
    assert kill.worst["hit_rate"] == pytest.approx(0.645, abs=0.001)
    assert (kill.recomputed_tokens, kill.sessions_lost) == (54_880, 12)
    assert [(one.engine, one.what) for one in kill.engines] == [("e4", "did not answer")]
    assert [(one.engine, one.what) for one in back.engines] == [("e4", "took no request")]
    assert back.failed == {}
