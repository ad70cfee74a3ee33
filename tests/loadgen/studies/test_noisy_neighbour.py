"""--noisy-neighbour on an emulator whose cache the loud tenant turns over: alone all planned tokens are hit, beside it none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TIMED, LocustProcesses, RunFiles, Stub
from tests.emulated import emulator

BLOCK = 16
SCENARIO: dict[str, Any] = {
    "name": "crowded", "summary": "One asks about four documents, the other sends prompts that are all new.", "requests": 100,
    "tenants": {
        "quiet": {
            "share": 0.2, "prefix": {"text": "document", "tokens": 400, "shared_by": 5},
            "turns": {"text": "question", "tokens": 20}, "output": {"tokens": 2}, "identity": {"cache_salt": "{tenant}"},
        },
        "loud": {
            "share": 0.8, "prefix": {"text": "document", "tokens": 800}, "turns": {"text": "question", "tokens": 20},
            "output": {"tokens": 2},
        },
    },
}  # fmt: skip
# Between two questions on a document lie 3 of the others' and 16 prompts of the loud tenant: 14,000 tokens. All of quiet's are 2,100.
CACHE_TOKENS = 6_000


def hit(run: RunFiles, number: int) -> tuple[int, int]:
    """(reported, planned) cached tokens of the quiet tenant."""
    mine = [record for record in run.records if record["tenant"] == "quiet" and record["round"] == number]
    assert len(mine) == 20
    return sum(record["reported_cached_tokens"] for record in mine), sum(record["planned_cached_tokens"] for record in mine)


@pytest.mark.xdist_group(TIMED)  # how much of the cache is turned over depends on the rate
def test_what_the_loud_tenant_costs_comes_out(locust: LocustProcesses, tmp_path: Path) -> None:
    scenario = tmp_path / "crowded.yaml"
    scenario.write_text(yaml.safe_dump(SCENARIO))
    server = {"gpu_capacity_tokens": CACHE_TOKENS, "timing": {"prefill_s_per_token": 1e-5}}
    with emulator(tmp_path, server, "--time-scale", "0.2") as url:
        code, output = locust.run(
            "-f", "locustfiles", "--scenarios", str(scenario), "--headless", "-u", "40", "-r", "40", "--host", url, "--warm-up", "off",
            "--run-name", "n", "--noisy-neighbour", "quiet", "--repeat", "2", "--arrival", "constant", "--request-rate", "60",
            timeout_s=400,
        )  # fmt: skip
    assert code == 0, output
    by_name = {
        run.folder.name.removeprefix("n_crowded_"): run for run in locust.runs() if (run.folder / "records.jsonl").is_file()
    }
    assert set(by_name) == {"alone1", "beside1", "alone2", "beside2"}
    assert len({run.facts["nonce"] for run in by_name.values()}) == 4
    started = {name: run.facts["started_at"] for name, run in by_name.items()}
    assert started["alone1"] <= started["beside1"] <= started["beside2"] <= started["alone2"]
    for name, run in by_name.items():
        for number, share in ((1, 16 / 20), (2, 1)):
            reported, planned = hit(run, number)
            assert planned == pytest.approx(share * 20 * 400, abs=20 * 2 * BLOCK)
            true = planned if name.startswith("alone") else 0
            assert reported == pytest.approx(true, abs=20 * BLOCK if true else 0), (name, number)
    alone, beside = (
        sorted(r["planned_prompt_tokens"] for r in by_name[f"{side}1"].records if r["tenant"] == "quiet") for side in SIDES
    )
    assert alone == beside
    page = " ".join((locust.output_dir / "n_crowded_noisy_neighbour" / "report.md").read_text().split())  # its lines are wrapped
    assert "round 2: hit rate of quiet 9" in page
    assert "0 % beside" in page
    assert "crowded: tenants" in page


SIDES = ("alone", "beside")


def test_a_study_that_makes_no_sense_is_refused(locust: LocustProcesses, stub: Stub) -> None:
    base = ("-f", "locustfiles", "--scenarios", "two_tenants", "--headless", "-u", "1", "--host", stub.url, "--noisy-neighbour")
    for wrong, said in (
        (("quiet",), "needs --request-rate"),
        (("shy", "--request-rate", "5"), "has no tenant 'shy'; it has quiet, loud"),
        (("quiet", "--request-rate", "5", "--working-set", "auto"), "leave --working-set out"),
    ):
        code, output = locust.run(*base, *wrong)
        assert code == 3, output
        assert said in output
    assert not stub.bodies()
