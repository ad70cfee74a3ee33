"""Arms on the emulator, whose tiers are known: each is answered by the tier that it names, and a reset that lies is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import ROOT, LocustProcesses, Stub, wait_for
from tests.ports import free_port
from tests.warm.servers import start_server

Start = Callable[..., str]
GPU, CPU = ("gpu", "vllm_reset"), ("cpu", "lmcache_clear")
LOAD = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "10", "--requests", "4", "--output-tokens", "4")
PLAIN = (*LOAD, "--control", "off")


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Start]:
    """Starts an emulator whose three tiers hold all; its URL."""
    processes = []
    roomy = (ROOT / "locust_kvcache" / "emulator" / "profiles" / "cpu_tiny_two_tiers.yaml").read_text()
    roomy = roomy.replace("gpu_capacity_tokens: 10240", "gpu_capacity_tokens: 102400").replace("2.097152e7", "1.0e9")
    profile = tmp_path / "roomy.yaml"
    profile.write_text(roomy)

    def start(*more: str) -> str:
        port = free_port()
        profiled = ("--profile", str(profile), "--time-scale", "0.01")
        processes.append(start_server("locust_kvcache.emulator", "--port", str(port), *profiled, *more))
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: requests.get(f"{url}/health", timeout=1).ok, what="the emulator")
        return url

    yield start
    for process in processes:
        process.kill()
        process.wait()


def deployment(folder: Path, url: str, *caches: tuple[str, str]) -> str:
    lines = [f"endpoint: {url}", "kind: non_disagg", f'metrics: [{{role: server, url: "{url}/metrics"}}]', "caches:"]
    path = folder / "under_test.yaml"
    path.write_text(
        "\n".join([*lines, *(f'  - {{tier: {tier}, kind: {kind}, target: "{url}"}}' for tier, kind in caches)]) + "\n"
    )
    return str(path)


def tokens_by_round(run: Any) -> dict[int, dict[str, float]]:
    """Prompt tokens by source in each round: after - before of the server's counters."""
    found: dict[int, dict[str, float]] = {}
    for row in run.metrics:
        if row["when"] in ("before", "after"):
            sign = 1 if row["when"] == "after" else -1
            for name, value in row["samples"].items():
                if name.startswith("vllm:prompt_tokens_by_source_total"):
                    source = next(s for s in ("local_cache_hit", "external_kv_transfer", "local_compute") if f'"{s}"' in name)
                    tokens = found.setdefault(row["round"], {})
                    tokens[source] = tokens.get(source, 0.0) + sign * value
    return found


def bytes_from_store(run: Any, number: int) -> float:
    found = 0.0
    for row in run.metrics:
        if row["round"] == number and row["when"] in ("before", "after"):
            sign = 1 if row["when"] == "after" else -1
            found += sign * sum(
                value
                for name, value in row["samples"].items()
                if name.startswith("vllm:mooncake_store_operation_bytes_total") and 'operation="load_get"' in name
            )
    return found


@pytest.mark.analysed
def test_each_arm_is_answered_by_its_tier(locust: LocustProcesses, emulator: Start, tmp_path: Path) -> None:
    file = deployment(tmp_path, emulator(), GPU, CPU)
    code, output = locust.run(*PLAIN, "--deployment", file, "--arms", "cold", "gpu_hit", "cpu_hit", "store_hit")
    assert code == 0, output
    (run,) = locust.runs()
    cold, gpu, cpu, store = run.facts["rounds"]
    assert [entry["arm"] for entry in run.facts["rounds"]] == ["cold", "gpu_hit", "cpu_hit", "store_hit"]
    assert cold["cache_actions"] == gpu["cache_actions"] == []
    assert [action["ok"] for action in store["cache_actions"]] == [True, True]
    assert [action["tier"] for action in cpu["cache_actions"]] == ["gpu"]
    assert gpu["canary"]["gpu_tokens"] > 0.8 * gpu["canary"]["prompt_tokens"]
    assert store["canary"]["gpu_tokens"] == 0
    assert store["canary"]["external_tokens"] > 0.5 * store["canary"]["prompt_tokens"]
    by_round = tokens_by_round(run)
    assert by_round[1]["local_cache_hit"] == by_round[1].get("external_kv_transfer", 0) == 0
    assert by_round[2]["local_cache_hit"] > 0.9 * sum(by_round[2].values())
    for number in (3, 4):
        assert by_round[number]["local_cache_hit"] == 0
        assert by_round[number]["external_kv_transfer"] > 0.9 * sum(by_round[number].values())
    loaded = [bytes_from_store(run, number) for number in (1, 2, 3, 4)]
    assert loaded[:3] == [0, 0, 0]  # the cpu arm was answered above the store
    assert loaded[3] > 0
    assert not [text for text in run.facts["warnings"] if "cache" in text and "reset" in text]


def test_arms_have_a_control_and_warm_up_every_path(locust: LocustProcesses, emulator: Start, tmp_path: Path) -> None:
    file = deployment(tmp_path, emulator(), GPU, CPU)
    code, output = locust.run(*LOAD, "--deployment", file, "--arms", "cold", "gpu_hit", "store_hit", "--warm-up", "auto")
    assert code == 0, output
    (run,) = locust.runs()
    rounds = run.facts["rounds"]
    assert [(entry["arm"], entry["kind"]) for entry in rounds] == [
        ("cold", "cold"), ("control", "control"), ("gpu_hit", "hit"), ("store_hit", "hit"),
    ]  # fmt: skip
    by_round = tokens_by_round(run)
    for number in (1, 2):
        assert by_round[number]["local_compute"] == sum(by_round[number].values()), "cold and control were computed"
    assert by_round[3]["local_cache_hit"] > 0.9 * sum(by_round[3].values())
    assert by_round[4]["external_kv_transfer"] > 0.9 * sum(by_round[4].values())
    (warm_up,) = run.facts["warm_up"]
    assert warm_up["windows"][-1]["kind"] == "store_hit"
    assert [action["tier"] for action in warm_up["cache_actions"]] == ["gpu", "cpu"]
    assert {record["round_kind"] for record in run.records} == {"cold", "control", "hit"}


def test_a_reset_that_resets_nothing_is_found_out(locust: LocustProcesses, emulator: Start, tmp_path: Path) -> None:
    file = deployment(tmp_path, emulator("--fault", "reset_clears_nothing"), GPU, CPU)
    code, output = locust.run(*PLAIN, "--deployment", file, "--arms", "cold", "store_hit")
    assert code == 0, output
    (run,) = locust.runs()
    assert run.facts["rounds"][1]["cache_actions"][0]["ok"]  # it said so
    assert any("the reset does not reset" in text for text in run.facts["warnings"])
    assert tokens_by_round(run)[2]["local_cache_hit"] > 0


def test_the_caches_are_emptied_first_if_asked(locust: LocustProcesses, emulator: Start, tmp_path: Path) -> None:
    file = deployment(tmp_path, emulator(), ("store", "vllm_reset_external"))
    code, output = locust.run(*PLAIN, "--deployment", file, "--empty-caches")
    assert code == 0, output
    (run,) = locust.runs()
    first, second = run.facts["rounds"]
    assert (
        first["canary"]["computed_tokens"] == first["canary"]["prompt_tokens"]
    )  # stored, emptied, asked again: nothing was left
    assert first["cache_actions"][0]["ok"]
    assert "canary" not in second


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--arms", "gpu_hit", "cold"), "the first arm must be cold"),
        (("--arms", "cold", "ssd_hit"), "allowed: cold, control, gpu_hit, cpu_hit, disk_hit, store_hit, after_restart"),
        (("--arms", "cold", "store_hit"), "add `caches` entries to its file"),
        (("--arms", "cold", "gpu_hit", "--rounds", "3"), "each arm is a round"),
        (("--empty-caches",), "does not say how"),
    ],
)
def test_what_cannot_be_is_refused(locust: LocustProcesses, options: tuple[str, ...], said: str) -> None:
    code, output = locust.run(*PLAIN, "--host", "http://127.0.0.1:9", *options)
    assert code == 3, output
    assert said in output
    assert not locust.runs()


def preflight(locust: LocustProcesses, file: str, *more: str) -> tuple[int, str]:
    code, output = locust.run(*PLAIN, "--output-tokens", "40", "--deployment", file, "--preflight-only", *more)
    assert not locust.runs()  # nothing is measured
    return code, output


def test_the_preflight_tries_what_it_can(locust: LocustProcesses, emulator: Start, tmp_path: Path) -> None:
    """At a fifth of the profile's speed: tokens that are nearer to one another come in one piece on a busy machine, which is a warning."""
    url = emulator("--time-scale", "0.2")
    code, output = preflight(locust, deployment(tmp_path, url, GPU, CPU, ("store", "vllm_reset_external")), "--gate")
    assert code == 0, output
    assert "ERROR" not in output.split("OK", 1)[1]
    for said in (
        "the gpu cache can be emptied; a tier below it answers",
        "the cpu cache can be emptied; a tier below it answers",
        "the store cache can be emptied: a stored canary was computed again",
        "working set of a round",
    ):
        assert said in output


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("reset_clears_nothing", "The reset reports success but clears nothing"),
        ("put_fails", "no tier below cpu had the canary: that cache does not work"),
    ],
)
def test_the_preflight_names_what_is_broken(
    locust: LocustProcesses, emulator: Start, tmp_path: Path, fault: str, said: str
) -> None:
    file = deployment(
        tmp_path, emulator("--fault", fault), GPU, *([CPU] if fault == "put_fails" else []), ("store", "vllm_reset_external")
    )
    code, output = preflight(locust, file, "--gate")
    assert code == 1, output
    assert said in output


def test_the_preflight_without_any_means_says_so(locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(*PLAIN, "--host", stub.url, "--preflight-only")
    assert code == 0, output
    assert "no way to empty a cache is known" in output
    assert "metrics of server" in output
