"""The TTFT by parts, by hand: every bar adds up to the client's figure, and what is not measured says so."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.servers.kv_transfers import COLUMNS as MOVED
from locust_kvcache.analysis.servers.kv_transfers import efficiency, transfers, without_late
from locust_kvcache.analysis.servers.ttft_parts import ESTIMATE, MEASURED, REST, ttft_parts


def stages(*rows: tuple[int, str, float, float, float, float]) -> pd.DataFrame:
    """round, role, requests, queue, prefill, server's TTFT."""
    columns = ["round", "role", "requests", "queue_ms", "prefill_ms", "server_ttft_ms"]
    return pd.DataFrame(rows, columns=columns).assign(scenario="s")


def moved(*rows: tuple[int, str, str, str, float, bool]) -> pd.DataFrame:
    """round, role, via, kind, seconds, in_prefill."""
    return pd.DataFrame(
        [
            ("s", number, role, via, "x", kind, 0.0, seconds, None, 0.0, inside)
            for number, role, via, kind, seconds, inside in rows
        ],
        columns=MOVED,
    )


def tiers(*rows: tuple[int, str, float, float]) -> pd.DataFrame:
    """round, role, external, computed."""
    return pd.DataFrame(rows, columns=["round", "role", "external", "computed"]).assign(scenario="s", gpu=0.0)


def parts(ttft_ms: dict[int, float], stage_rows: pd.DataFrame, moves: pd.DataFrame, tier_rows: pd.DataFrame) -> pd.DataFrame:
    times = [("s", "round", str(number), "ttft_ms", mean) for number, mean in ttft_ms.items()]
    distributions = pd.DataFrame(times, columns=["scenario", "split", "group", "metric", "mean"])
    rounds = pd.DataFrame([("s", number, 10) for number in ttft_ms], columns=["scenario", "round", "succeeded"])
    table = ttft_parts(stage_rows, moves, tier_rows, distributions, rounds)
    sums = table.groupby("round")["ms"].sum()
    assert sums.to_dict() == pytest.approx(ttft_ms)
    return table


def listed(table: pd.DataFrame, number: int = 1) -> list[tuple[str, str, float, str]]:
    mine = table[table["round"].eq(number)]
    return [(row["role"], row["part"], round(row["ms"], 6), row["known"]) for row in mine.to_dict("records")]


def test_a_single_server_with_a_store() -> None:
    """1.5 s of loads over 10 requests are 150 ms of the 200 ms that are booked as queue time."""
    table = parts({1: 300.0}, stages((1, "server", 10, 200.0, 80.0, 290.0)), moved((1, "server", "Mooncake store", "load", 1.5, False)),
                  tiers((1, "server", 5000, 500)))  # fmt: skip
    assert listed(table) == [
        ("server", "queue", 50.0, MEASURED),
        ("server", "KV load", 150.0, MEASURED),
        ("server", "prefill", 80.0, MEASURED),
        ("server", "engine's front end", 10.0, MEASURED),
        ("between", "outside the server", 10.0, REST),
    ]


def test_lmcache_loads_inside_the_prefill_time() -> None:
    table = parts({1: 100.0}, stages((1, "server", 10, 5.0, 90.0, 97.0)), moved((1, "server", "LMCache", "load", 0.6, True)),
                  tiers((1, "server", 5000, 500)))  # fmt: skip
    assert listed(table)[1:3] == [("server", "KV load", 60.0, MEASURED), ("server", "prefill", 30.0, MEASURED)]


def test_a_load_that_is_nowhere_but_in_the_prefill_is_named_there() -> None:
    """Round 2 loads, and its queue is as short as round 1's: no estimate of 0 ms stands for a load of 50,000 tokens."""
    rows = stages((1, "server", 10, 0.02, 500.0, 510.0), (2, "server", 10, 0.03, 90.0, 100.0))
    table = parts({1: 520.0, 2: 110.0}, rows, moved(), tiers((1, "server", 0, 50_000), (2, "server", 50_000, 10)))
    assert [entry[1] for entry in listed(table, 2)] == [
        "queue",
        "prefill and KV load",
        "engine's front end",
        "outside the server",
    ]
    assert listed(table, 2)[1][2:] == (90.0, MEASURED)


def lmcache_round(hits: float, external: float) -> tuple[Any, list[Any]]:
    """The seconds of LMCache's load, and the problems, if it counted `hits` tokens in a round and the engine `external`."""
    table = counters(**{"lmcache:time_to_retrieve_sum": 0.25, "lmcache:num_hit_tokens_total": hits})
    left, problems = without_late(transfers(table), table, tiers((1, "decoder", external, 16)))
    (load,) = left[left["kind"].eq("load")].to_dict("records")
    return load["seconds"], problems


@pytest.mark.parametrize(("hits", "external"), [(12_800, 12_800), (12_800, 12_900), (4 * 12_800, 12_800), (0, 0)])
def test_lmcaches_counters_belong_to_a_round_whose_tokens_they_count(hits: float, external: float) -> None:
    """Off by less than a chunk, or once per rank (4), is the same; that one of the engine's chunks was cut short too."""
    assert lmcache_round(hits, external) == (0.25, [])


@pytest.mark.parametrize(("hits", "external"), [(12_800, 0), (0, 12_288), (16_896, 49_152)])
def test_lmcaches_counters_of_another_round_are_left_out(hits: float, external: float) -> None:
    """As seen on an H200: counters that are published every 10 s, rounds of 3 s."""
    seconds, (problem,) = lmcache_round(hits, external)
    assert pd.isna(seconds)
    assert f"{hits:,.0f} tokens found, the decoder's engine got {external:,.0f}" in problem.text


def test_loads_at_once_take_no_more_than_what_is_booked() -> None:
    table = parts({1: 300.0}, stages((1, "server", 10, 200.0, 80.0, 290.0)), moved((1, "server", "Mooncake store", "load", 8.0, False)),
                  tiers((1, "server", 5000, 500)))  # fmt: skip
    assert listed(table)[:2] == [("server", "queue", 0.0, MEASURED), ("server", "KV load", 200.0, ESTIMATE)]


def test_a_load_that_nobody_timed_is_an_estimate_by_a_round_without_loads() -> None:
    rows = stages((1, "server", 10, 20.0, 400.0, 425.0), (2, "server", 10, 90.0, 30.0, 125.0))
    table = parts({1: 430.0, 2: 130.0}, rows, moved(), tiers((1, "server", 0, 9000), (2, "server", 8800, 200)))
    assert ("server", "KV load", 70.0, ESTIMATE) in listed(table, 2)
    assert "KV load" not in [part for _, part, _, _ in listed(table, 1)]


def test_a_pd_pair_on_its_path() -> None:
    """The prefiller served all 10 requests, the decoder 8 of them: its parts weigh 0.8."""
    rows = stages((1, "decoder", 8, 100.0, 25.0, 130.0), (1, "prefiller", 10, 40.0, 500.0, 545.0))
    table = parts({1: 700.0}, rows, moved((1, "decoder", "NIXL", "hand-off", 0.64, False)),
                  tiers((1, "prefiller", 0, 9000), (1, "decoder", 8900, 100)))  # fmt: skip
    assert listed(table) == [
        ("prefiller", "queue", 40.0, MEASURED),
        ("prefiller", "prefill", 500.0, MEASURED),
        ("prefiller", "engine's front end", 5.0, MEASURED),
        ("decoder", "queue", 16.0, MEASURED),
        ("decoder", "hand-off (KV load)", 64.0, MEASURED),
        ("decoder", "first decode", 20.0, MEASURED),
        ("decoder", "engine's front end", 4.0, MEASURED),
        ("between", "proxy, waiting for the hand-off, network", 51.0, REST),
    ]


def test_roles_that_work_at_the_same_time_overlap() -> None:
    rows = stages((1, "prefiller", 10, 0.0, 500.0, 500.0), (1, "decoder", 10, 300.0, 20.0, 320.0))
    table = parts({1: 600.0}, rows, moved(), tiers((1, "decoder", 0, 10)))
    assert listed(table)[-1] == ("between", "overlap (roles at work at the same time)", -220.0, REST)


def counters(**values: float) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"scenario": "s", "round": 1, "role": "decoder", "metric": name.split("{")[0], "labels": "", "delta": value}
        for name, value in values.items()
    ]
    return pd.DataFrame(rows)


def test_transfers_of_every_connector_and_their_failures() -> None:
    table = counters(**{
        "vllm:nixl_bytes_transferred_sum": 4e9, "vllm:nixl_xfer_time_seconds_sum": 0.5, "vllm:nixl_num_failed_transfers_total": 2,
        "vllm:nixl_num_kv_expired_reqs_total": 1, "vllm:mooncake_num_failed_recvs_total": 3,
        "lmcache:time_to_retrieve_sum": 0.25, "lmcache:put_failed_count": 7,
    })  # fmt: skip
    found = {(row["via"], row["operation"]): row for row in transfers(table).to_dict("records")}
    assert found["NIXL", "read"]["gb_per_s"] == pytest.approx(8.0)
    assert found["NIXL", "read"]["failed"] == 3
    assert found["MooncakeConnector", "push"]["failed"] == 3
    assert pd.isna(found["LMCache", "retrieve"]["bytes"])  # no counter tells: not 0
    assert (found["LMCache", "retrieve"]["seconds"], found["LMCache", "store"]["failed"]) == (0.25, 7)


def test_bytes_per_token_against_the_models() -> None:
    table = counters(**{"vllm:nixl_bytes_transferred_sum": 4e9, "vllm:nixl_xfer_time_seconds_sum": 0.5})
    (row,) = efficiency(transfers(table), tiers((1, "decoder", 10_000, 16)), 320_000.0).to_dict("records")
    assert row["bytes_per_token"] == pytest.approx(400_000)
    assert row["of_kv_bytes"] == pytest.approx(1.25)


def test_a_role_without_counters_does_not_rename_the_rest() -> None:
    """The prefiller was started again in round 2: its 3.7 s are not the proxy's, and not the network's."""
    rows = stages(
        (1, "prefiller", 10, 10.0, 80.0, 95.0), (1, "decoder", 10, 5.0, 10.0, 20.0), (2, "decoder", 10, 5.0, 10.0, 20.0)
    )
    table = parts({1: 141.0, 2: 3758.0}, rows, moved(), tiers())
    assert listed(table, 1)[-1] == ("between", "proxy, waiting for the hand-off, network", 26.0, REST)
    assert listed(table, 2)[-1] == ("between", "not counted (prefiller)", 3738.0, REST)
