"""The trust list: what weakens a result stands first, and every page takes its sentences from the same code."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.cache.tier_verdicts import COLD
from locust_kvcache.analysis.report.trust import EMULATED, Said, common_trust, weakest_first


def facts(
    version: str = "0.26.0", complete: bool = True, late: bool = False, failed: int = 0, name: str = "single"
) -> dict[str, Any]:
    row = {
        "scenario": "s",
        "round": 1,
        "kind": "cold",
        "planned_requests": 10,
        "requests": 10,
        "failed": failed,
        "client_limited": late,
    }
    run = {"run_id": name + version, "deployment": {"name": name}, "server": {"version": version}}
    return {"run": run, "complete": complete, "rounds": [row], "verdicts": []}


def test_what_weakens_the_result_comes_first() -> None:
    said = weakest_first([Said("fine"), Said(""), Said("weak", True), Said("also fine")])
    assert said == ("weak", "fine", "also fine")


def test_incomplete_runs_changed_servers_and_late_rounds_are_said_before_what_is_fine() -> None:
    said = common_trust([facts(), facts("0.27.0", complete=False, late=True)], own=[Said("One run each.", True)], control=False)
    assert said == (
        "Incomplete: 1 of 2 runs.",
        "The server version changed between runs: single 0.26.0 and 0.27.0.",
        "The load generator was late in 1 of 2 rounds: their times are too long.",
        "One run each.",
        "All 20 planned requests were measured; none failed.",
    )


def test_an_incomplete_run_is_told_once() -> None:
    short = facts(complete=False)
    assert common_trust([short], control=False)[0] == "The run is incomplete."
    short["rounds"][0] |= {"planned_requests": 12}
    said = common_trust([short], control=False)
    assert said[0] == "The run is incomplete: 10 of 12 planned requests were measured; none failed."
    assert sum("incomplete" in text for text in said) == 1


def test_other_deployments_may_have_other_versions() -> None:
    said = common_trust([facts(), facts("0.27.0", name="pd")], control=False)
    assert not any("version" in text for text in said)


def test_the_emulator_is_named() -> None:
    emulated = facts("emulator (kept, single, time scale 1)")
    assert common_trust([emulated], control=False)[0] == EMULATED
    assert (
        common_trust([emulated, facts(name="pd")], control=False)[0]
        == "Measured on the emulator, with the times of its profile: 1 of 2 runs."
    )
    assert EMULATED not in common_trust([facts()], control=False)


def test_cold_says_what_its_own_prompts_share() -> None:
    run = facts()
    run["rounds"][0] |= {"planned_hit_rate": 0.78, "hit_rate": 0.779}
    run["rounds"].append({**run["rounds"][0], "round": 2, "kind": "hit", "hit_rate": 0.99})
    run["verdicts"] = [{"scenario": "s", "round": 1, "verdict": COLD, "evidence": "counters"}]
    said = next(text for text in common_trust([run], control=False) if text.startswith("Cold is confirmed by"))
    assert said.endswith("Up to 77.9 % of a cold round's tokens are hits on prefixes that its own prompts share.")
