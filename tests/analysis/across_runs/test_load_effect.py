"""The TTFT under several ways of loading, taken apart: by hand, on published runs, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.across_runs import load_effect
from locust_kvcache.analysis.across_runs.load_effect import ONE_USER, Split
from locust_kvcache.analysis.commands.load_effect import study_page
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.tables.claim_words import claim_of
from locust_kvcache.contract.errors import BadInput

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results" / "h200x8-vllm-0.26"
STATES = ("cold", "gpu_hit")


def run(
    name: str, users: int, ttft_ms: tuple[float, float], queue_ms: tuple[float, float] | None = None, **info: Any
) -> Analysis:
    """A run of 10 requests that has what the study reads: mean TTFT and throughput per state, the queue by counters."""
    rounds = [
        {"scenario": "s", "round": n, "kind": "cold" if n == 1 else "hit", "arm": arm, "planned_requests": 10, "complete": True}
        for n, arm in enumerate(STATES, 1)
    ]
    told = {
        "run_id": name, "complete": True, "users": users, "model": "m", "arrival": {"kind": "closed", "request_rate_per_s": None},
        "deployment": {"name": "d", "endpoint": "http://x"}, "scenarios": [{"name": "s", "requests": 10}], "rounds": rounds, **info,
    }  # fmt: skip
    stats = {
        "run": told, "complete": True, "problems": [], "claims": [],
        "distributions": [{"split": "round", "metric": "ttft_ms", "scenario": "s", "group": str(n), "mean": value}
                          for n, value in enumerate(ttft_ms, 1)],
        "rounds": [{"scenario": "s", "round": n, "requests_per_s": 1000 / value, "planned_requests": 10, "requests": 10, "failed": 0,
                    "client_limited": False}
                   for n, value in enumerate(ttft_ms, 1)],
        "verdicts": [],
        "ttft_parts": [{"scenario": "s", "round": n, "role": "server", "part": "queue", "ms": value}
                       for n, value in enumerate(queue_ms or (), 1)],
    }  # fmt: skip
    requests = pd.DataFrame({"ok": [True], "prompt_tokens": [100.0], "output_tokens": [10.0]})
    return Analysis(Path(name), stats, requests)


def open_loop(name: str, ttft_ms: tuple[float, float]) -> Analysis:
    return run(name, 10, ttft_ms, (0.0, 0.0), arrival={"kind": "poisson", "request_rate_per_s": 2.0})


def split_of(runs: list[Analysis], way: str, state: str) -> Split:
    rows = load_effect.splits(load_effect.ways_of(runs), load_effect.common_states(runs))
    return next(row for row in rows if (row.way, row.state) == (way, state))


def test_own_prefill_queue_and_load_by_hand() -> None:
    """Cold: 1,000 = 100 of one user + (710 - 10 queue of one user) + 200. Hit: 80 = 20 + 0 + 60. Saved 920, of it 80 by one user."""
    one = [run(f"one{n}", 1, (100.0, 20.0), (10.0, 10.0)) for n in (1, 2)]
    runs = [*one, run("all1", 10, (1000.0, 80.0), (710.0, 10.0)), run("all2", 10, (1000.0, 80.0), (710.0, 10.0))]
    cold, hit = (split_of(runs, "all 10 at once", state) for state in STATES)
    assert (cold.own_ms, cold.queue_ms, cold.sharing_ms) == pytest.approx((100.0, 700.0, 200.0))
    assert (hit.own_ms, hit.queue_ms, hit.sharing_ms) == pytest.approx((20.0, 0.0, 60.0))
    rows = load_effect.splits(load_effect.ways_of(runs), load_effect.common_states(runs))
    assert load_effect.saved(rows, "all 10 at once", "gpu_hit") == pytest.approx((920.0, 80.0))
    lead = study_page(runs)[0].lead
    assert lead.startswith("Read with care: there are few runs of all 10 at once (2 runs), one user (2 runs). ")
    assert (
        "had a mean TTFT of 80.0 against 1,000 ms (−92.0 % [no interval]); of the 920 ms saved, one user alone saves 80.0 ms (8.7 %)"
        in lead
    )


@pytest.mark.parametrize(
    ("alone_ms", "all_ms", "said"),
    [
        ((738.0, 774.0), (18200.0, 15900.0), "one user alone saves nothing, a hit takes 36.0 ms more than cold"),
        ((100.0, 120.0), (1000.0, 900.0), "one user alone saves nothing, a hit takes 20.0 ms more than cold"),
        ((500.0, 100.0), (800.0, 500.0), "one user alone saves 400 ms, no less than this load"),
    ],
)
def test_a_hit_that_saves_one_user_nothing_or_more_has_words_of_its_own(
    alone_ms: tuple[float, float], all_ms: tuple[float, float], said: str
) -> None:
    """A store by TCP on four H200s: one user's hit takes longer than cold, and a burst's hits save queue."""
    lead = study_page([run("one", 1, alone_ms, (0.0, 0.0)), run("all", 10, all_ms, (10.0, 0.0))])[0].lead
    assert said in lead
    assert "ms saved, one user" not in lead


@pytest.mark.parametrize(
    ("hits_ms", "said"),
    [
        ((1400.0, 1410.0, 1390.0), "With all 10 at once, a GPU hit raises the mean TTFT from 1,000 to 1,400 ms (+40.0 % ["),
        ((400.0, 410.0, 390.0), "With all 10 at once, a GPU hit cuts the mean TTFT from 1,000 to 400 ms (−60.0 % ["),
        ((900.0, 1500.0, 700.0), ", undecided); one user alone had 889 against 824 ms."),
        ((1600.0, 1300.0, 1330.0), ", undecided once adjusted for all comparisons); one user alone had 889 against 824 ms."),
    ],
)
def test_the_first_sentence_says_no_more_than_the_intervals(hits_ms: tuple[float, float, float], said: str) -> None:
    """Three runs each: 39 to 41 % in all of them, and 700 to 1,500 ms, and 1,300 to 1,600 ms: too few for two metrics."""
    heavy = [run(f"all{n}", 10, (1000.0, value), (150.0, 0.0)) for n, value in enumerate(hits_ms)]
    alone = [run(f"one{n}", 1, (823.0 + n, 888.0 + n), (0.0, 0.0)) for n in range(3)]
    page, _ = study_page([*heavy, *alone])
    assert said in page.lead
    assert "What is saved" not in page.lead or "cuts" in page.lead


def test_the_interval_is_over_runs() -> None:
    """100 and 121: geometric mean 110, half width 12.7062 x ln(1.1) with one degree of freedom."""
    row = split_of([run("one1", 1, (100.0, 50.0)), run("one2", 1, (121.0, 60.5))], ONE_USER, "cold").ttft
    assert (row["mean"], row["low"]) == pytest.approx((110.0, 110 * 1.1**-12.7062), rel=1e-4)


def test_parts_are_never_more_than_the_whole() -> None:
    """An open loop whose hits are a little faster than those of one user, and a queue that is counted longer than the TTFT."""
    runs = [
        run("one", 1, (100.0, 20.0), (0.0, 0.0)),
        open_loop("rate", (150.0, 19.0)),
        run("all", 10, (300.0, 40.0), (900.0, 0.0)),
    ]
    hit, cold = split_of(runs, "2.00 requests/s (poisson)", "gpu_hit"), split_of(runs, "all 10 at once", "cold")
    assert (hit.own_ms, hit.queue_ms, hit.sharing_ms) == pytest.approx((19.0, 0.0, 0.0))
    assert (cold.own_ms, cold.queue_ms, cold.sharing_ms) == pytest.approx((100.0, 200.0, 0.0))


def test_what_one_user_saves_is_not_cut_to_the_times_under_load() -> None:
    """One user's hit takes 36 ms more than cold. Few users, whose hits are faster than his, do not make that 400 ms saved."""
    runs = [run("one", 1, (738.0, 774.0)), run("five", 5, (700.0, 300.0))]
    page, found = study_page(runs)
    assert "one user alone saves nothing, a hit takes 36.0 ms more than cold" in page.lead
    assert page.short[0].rows[1][-1] == "nothing (36.0 more)"
    assert found["states"][1]["saved_own_ms"] == pytest.approx(-36.0)


def test_what_one_user_saves_is_undecided_where_his_runs_leave_it_open() -> None:
    """714, 774 and 834 ms on a hit against 738 ms: the interval holds no change."""
    alone = [run(f"one{n}", 1, (738.0, 714.0 + 60 * n)) for n in range(3)]
    lead = study_page([*alone, *(run(f"all{n}", 10, (18200.0 + n, 15900.0 + n)) for n in range(3))])[0].lead
    assert lead.endswith("; one user alone had 772 against 738 ms (undecided).")


def in_states(states: tuple[str, ...], name: str, ttft_ms: tuple[float, ...]) -> Analysis:
    made = run(name, 10, ttft_ms)  # type: ignore[arg-type]
    first = made.stats["run"]["rounds"][0]
    made.stats["run"]["rounds"] = [{**first, "round": n, "arm": arm} for n, arm in enumerate(states, 1)]
    return made


def test_the_headline_is_never_of_a_control() -> None:
    runs = [in_states(("cold", "gpu_hit", "control", "control"), f"r{n}", (1000.0, 400.0 + n, 990.0, 991.0)) for n in range(3)]
    assert "a GPU hit cuts the mean TTFT from 1,000 to 401 ms" in study_page(runs)[0].lead
    with pytest.raises(BadInput, match="fewer than two cache states"):
        study_page([in_states(("cold", "control"), f"r{n}", (1000.0, 990.0)) for n in range(3)])


def test_a_state_that_some_run_lacks_is_named() -> None:
    runs = [in_states(("cold", "gpu_hit", "store_hit"), "a", (1000.0, 400.0, 500.0)), run("b", 10, (1000.0, 410.0))]
    assert [problem["text"] for problem in study_page(runs)[0].problems] == [
        "Not compared and not judged: store hit, which not every run has."
    ]


def test_means_over_other_runs_than_the_change_are_refused() -> None:
    """Cold 1,000, 1,000 and 5,000 ms, a hit in two runs only: 1,710 to 400 ms is not a change of 60 %."""
    runs = [run(f"r{n}", 10, (1000.0 if n < 2 else 5000.0, 400.0 + n)) for n in range(3)]
    del runs[2].stats["distributions"][1]
    with pytest.raises(BadInput, match="in 1 of 3 runs no request of gpu_hit has a TTFT"):
        study_page(runs)


def test_rounds_that_evidence_calls_no_hit_are_said_first() -> None:
    runs = [run(f"r{n}", 10, (1000.0 + n, 400.0)) for n in range(3)]
    said = [[2, "nothing", "0.0 % of the prompt tokens came from a cache"]]
    runs[1].stats["claims"] = [{**claim_of(runs[1].stats, "s"), "scenario": "s", "rounds": said}]
    lead = study_page(runs)[0].lead
    assert lead.startswith("Read with care: there is no evidence of a GPU hit in r1; no run has one user")


def test_without_counters_queue_and_load_are_one_part() -> None:
    row = split_of([run("one", 1, (100.0, 20.0)), run("all", 10, (300.0, 40.0))], "all 10 at once", "cold")
    assert (row.queue_ms, row.sharing_ms) == (None, pytest.approx(200.0))


def test_without_one_user_nothing_is_taken_apart() -> None:
    page, found = study_page([run("all", 10, (300.0, 40.0)), open_loop("rate", (150.0, 19.0))])
    assert "no run has one user, so own prefill is not known" in page.lead
    assert page.chart is None
    assert {state["own_prefill_ms"] for state in found["states"]} == {None}


def test_ways_are_ordered_from_the_heaviest_to_one_user() -> None:
    runs = [run("one", 1, (1.0, 1.0)), open_loop("rate", (1.0, 1.0)), run("five", 5, (1.0, 1.0)), run("all", 12, (1.0, 1.0))]
    assert [way.name for way in load_effect.ways_of(runs)] == ["all 10 at once", "5 users", "2.00 requests/s (poisson)", ONE_USER]


def test_a_way_that_the_sentence_does_not_use_does_not_weaken_it() -> None:
    """Three runs all at once and three of one user; the one run at a rate stands in the trust list only."""
    heavy = [run(f"all{n}", 10, (300.0, 40.0), (150.0, 0.0)) for n in range(3)]
    alone = [run(f"one{n}", 1, (100.0, 20.0), (0.0, 0.0)) for n in range(3)]
    page, _ = study_page([*heavy, *alone, open_loop("rate", (150.0, 30.0))])
    assert page.lead.startswith("With all 10 at once, ")
    assert any(text.startswith("Few runs of 2.00 requests/s (poisson) (1 run): ") for text in page.trust)


def test_a_given_rate_is_no_result() -> None:
    page, _ = study_page([open_loop("rate", (150.0, 19.0)), run("one", 1, (100.0, 20.0))])
    assert "the rate is given" in str(page.sections[0].blocks[0])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"deployment": {"name": "d", "endpoint": "http://y"}}, "the servers http://x, http://y"),
        ({"model": "other"}, "model differs"),
        ({"scenarios": [{"name": "s", "requests": 10, "prefix_tokens": 5}]}, "prefix_tokens of the scenario is 5"),
    ],
)
def test_other_servers_models_and_plans_are_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        load_effect.scenario_of([run("a", 1, (1.0, 1.0)), run("b", 10, (1.0, 1.0), **changed)])


def test_fewer_requests_of_the_same_scenario_are_another_load_only() -> None:
    few = run("few", 1, (1.0, 1.0), scenarios=[{"name": "s", "requests": 4}])
    assert load_effect.scenario_of([run("all", 10, (1.0, 1.0)), few]) == "s"


def test_incomplete_runs_are_left_out_and_named() -> None:
    cut = run("cut", 1, (100.0, 20.0))
    cut.stats["complete"] = False
    page, found = study_page([run("all", 10, (300.0, 40.0)), cut])
    assert found["runs"] == ["all"]
    assert page.problems[0]["text"] == "Left out, as incomplete: cut."
    with pytest.raises(BadInput, match="none of the 1 runs is complete"):
        study_page([cut])


@pytest.mark.slow
def test_the_published_load_all_at_once_is_mostly_queue() -> None:
    """Eight H200s: 19,655 ms cold = 834 of one user + 16,644 queue + the rest; host hits have no queue."""
    runs = [analyse_folder(RESULTS / name) for name in ("q_u50_1", "q_u1_1")]
    cold, host = (split_of(runs, "all 50 at once", state) for state in ("cold", "cpu_hit"))
    assert (cold.ttft_ms, cold.own_ms, cold.queue_ms) == pytest.approx((19_655, 834, 16_644), rel=1e-3)
    assert (host.ttft_ms, host.own_ms, host.queue_ms) == pytest.approx((2_509, 170, 0.0), rel=3e-3, abs=0.1)


def test_what_one_user_saves_is_taken_apart_where_his_own_interval_leaves_out_no_change() -> None:
    """908, 920 and 900 ms against 188, 260 and 150: his fall is lost by the adjustment for the other comparisons alone, if at all."""
    alone = [run(f"one{n}", 1, pair) for n, pair in enumerate(((908.0, 188.0), (920.0, 260.0), (900.0, 150.0)))]
    heavy = [run(f"all{n}", 10, (18200.0 + n, 5900.0 + n)) for n in range(3)]
    assert "one user alone saves" in study_page([*alone, *heavy])[0].lead
