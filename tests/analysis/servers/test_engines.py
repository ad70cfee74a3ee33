"""Engines of a fleet: their counters per round, the balance by hand, and four real engines behind a router (4 x H200, recorded)."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.report import policy_tables
from locust_kvcache.analysis.servers import engines, server_counters
from locust_kvcache.analysis.tables.fleet_tables import balance_table, engine_table, fleet_sentence
from locust_kvcache.analysis.tables.sentences import headline
from tests.analysis.synthetic import Truth, synthetic_run

TRUTH = Truth(sessions=4, turns=5)
FIXTURES = Path(__file__).parents[2] / "fixtures" / "h200_fleet"


def counts(prompt: float, cached: float, requests: float, engine: int = 0) -> dict[str, float]:
    labels = f'engine="{engine}",model_name="m"'
    return {
        f"vllm:prompt_tokens_total{{{labels}}}": prompt,
        f"vllm:prefix_cache_hits_total{{{labels}}}": cached,
        f'vllm:request_success_total{{{labels},finished_reason="length"}}': requests,
        f"vllm:num_requests_running{{{labels}}}": 3.0,
        f"vllm:generation_tokens_total{{{labels}}}": 40 * requests,
    }


def scrapes(url: str, *rounds: dict[str, float], role: str = "server") -> list[dict[str, Any]]:
    """One page before and after each round: the given totals, from nothing on."""
    totals = [dict.fromkeys(rounds[0], 0.0), *rounds]
    return [
        {
            "at_s": 100.0 * number,
            "role": role,
            "url": url,
            "scenario": "s",
            "round": number,
            "when": when,
            "ok": True,
            "samples": found,
        }
        for number, pair in enumerate(itertools.pairwise(totals), 1)
        for when, found in zip(("before", "after"), pair, strict=True)
    ]


def tables(rows: list[dict[str, Any]], names: dict[str, str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    series = server_counters.series(rows)
    changed, _ = server_counters.deltas(series)
    found = engines.engine_table(changed, series, names or {})
    return found, engines.balance_table(found)


def test_counts_of_each_engine_and_the_balance_by_hand() -> None:
    rows = [
        *scrapes("http://a:1/metrics", counts(3000, 1000, 3), counts(4000, 1900, 4)),
        *scrapes("http://b:2/metrics", counts(1000, 0, 1), counts(2000, 500, 2)),
        *scrapes("http://r:3/metrics", {"vllm_router_requests_total": 4.0}, {"vllm_router_requests_total": 6.0}, role="router"),
    ]
    found, balance = tables(rows, {"http://a:1/metrics": "first"})
    assert list(found["engine"]) == ["first", "b:2", "first", "b:2"]
    first = found.iloc[0].to_dict()
    assert (first["requests"], first["prompt_tokens"], first["gpu_tokens"], first["computed_tokens"]) == (3, 3000, 1000, 2000)
    assert first["hit_rate"] == pytest.approx(1 / 3)
    assert (first["generation_tokens"], first["running_max"]) == (120, 3)
    one, two = balance.to_dict("records")
    assert (one["max_over_mean_tokens"], one["max_over_mean_requests"], one["idle"], one["busiest"]) == (1.5, 1.5, 0, "first")
    assert one["gini_tokens"] == pytest.approx(0.25)  # |3000 - 1000| x 2 / (2 x 2 x 4000)
    assert two["max_over_mean_tokens"] == 1.0
    assert [problem.code for problem in engines.balance_problems(balance)] == []  # 1.5 is not above 1.5


def test_an_idle_engine_is_named_and_warned_of() -> None:
    rows = [*scrapes("http://a:1/metrics", counts(3000, 0, 3)), *scrapes("http://b:2/metrics", counts(0, 0, 0))]
    found, balance = tables(rows)
    assert found.loc[found["engine"].eq("b:2"), "hit_rate"].isna().all()  # of nothing there is no rate
    (row,) = balance.to_dict("records")
    assert (row["idle"], row["idle_names"], row["max_over_mean_tokens"], row["gini_tokens"]) == (1, "b:2", 2.0, 0.5)
    (problem,) = engines.balance_problems(balance)
    assert problem.code == "engine_idle"
    assert "1 of 2 engines (b:2) stood idle in round 1 of s" in problem.text
    assert "{session}" in problem.what_to_do


def test_replicas_behind_one_page_are_engines_by_vllms_label() -> None:
    page = {**counts(900, 0, 9, engine=0), **counts(100, 0, 1, engine=1)}
    found, balance = tables(scrapes("http://a:1/metrics", page))
    assert list(found["engine"]) == ["a:1/0", "a:1/1"]
    (problem,) = engines.balance_problems(balance)
    assert problem.code == "engines_unbalanced"
    assert "1.8 times" in problem.text


def test_one_engine_and_pages_of_other_things_have_no_balance() -> None:
    _, balance = tables(scrapes("http://a:1/metrics", counts(900, 0, 9)))
    assert balance.empty
    found, balance = tables(scrapes("http://a:1/metrics", {"master_key_count": 4.0}))
    assert found.empty
    assert balance.empty


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=12))
def test_gini_is_between_even_and_one_for_all(values: list[float]) -> None:
    found = engines.gini(values)
    if sum(values) <= 0:
        assert found is None
    else:
        assert found is not None
        assert -1e-9 <= found <= (len(values) - 1) / len(values) + 1e-9
        assert engines.gini([3.0] * len(values)) == pytest.approx(0)


@pytest.mark.slow
def test_the_report_says_first_that_engines_stood_idle(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH)
    rows = [
        *scrapes("http://a:1/metrics", counts(9, 0, 9), counts(18, 9, 18)),
        *scrapes("http://b:2/metrics", counts(0, 0, 0), counts(0, 0, 0)),
    ]
    rows = [{**row, "scenario": TRUTH.scenario} for row in rows]
    (folder / "server_metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stats = analyse_folder(folder).stats
    assert headline(stats).startswith("1 of 2 engines stood idle (b:2): do not compare")
    assert len(engine_table(stats, TRUTH.scenario).rows) == 4
    assert [row[2] for row in balance_table(stats, TRUTH.scenario).rows] == ["b:2", "b:2"]


def recorded(policy: str, tmp_path: Path) -> Analysis:
    """Round 2 of a recorded run, whose counters were read before and after the whole run: they stand for its first round here."""
    folder = tmp_path / policy
    folder.mkdir()
    for name in ("records.jsonl", "server_metrics.jsonl"):
        folder.joinpath(name).write_bytes((FIXTURES / policy / name).read_bytes())
    facts = json.loads((FIXTURES / policy / "run.json").read_text())
    facts["deployment"]["name"] = policy
    (folder / "run.json").write_text(json.dumps(facts))
    return analyse_folder(folder)


@pytest.mark.slow
def test_four_h200s_behind_three_policies(tmp_path: Path) -> None:
    """Consistent hash without a session header sent all to one engine: the best change from cold to hit, the fewest requests/s."""
    found = {policy: recorded(policy, tmp_path) for policy in ("round_robin", "cache_aware", "consistent_hash")}
    assert {policy: row["idle"] for policy, run in found.items() for row in run.stats["balance"]} == {
        "round_robin": 0,
        "cache_aware": 0,
        "consistent_hash": 3,
    }
    assert fleet_sentence(found["consistent_hash"].stats).startswith("3 of 4 engines stood idle (e1, e3, e4)")
    assert not fleet_sentence(found["round_robin"].stats)
    rate = {policy: [row["requests_per_s"] for row in run.stats["rounds"]] for policy, run in found.items()}
    cold = sorted(rate, key=lambda policy: -rate[policy][0])
    assert cold == ["cache_aware", "round_robin", "consistent_hash"]
    table = {
        row[0]: dict(zip(policy_tables.HEADER, row, strict=True))
        for row in policy_tables.policy_table(list(found.values()), "fleet").rows
    }
    assert table["consistent_hash, round 1"]["idle engines"] == "3"
    assert table["consistent_hash, round 1"]["prompt tokens, busiest / mean"] == "4.00"
    assert table["round_robin, round 2"]["hit rate"] == "79.2 %"
    assert table["cache_aware, round 2"]["hit rate"] == "99.8 %"
    per_gpu = {name: float(row["requests/s per GPU"]) for name, row in table.items() if name.endswith("round 1")}
    assert min(per_gpu, key=lambda name: per_gpu[name]) == "consistent_hash, round 1"
    hits = {policy: sum(row["gpu_tokens"] for row in run.stats["engines"]) for policy, run in found.items()}
    assert hits["cache_aware"] > 1.5 * hits["round_robin"]
