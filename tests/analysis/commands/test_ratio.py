"""`locust-kvcache ratio` on run folders: from points to page and JSON, what it refuses, and runs on real emulators."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_kvcache.analysis.commands import ratio
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import write_run
from tests.conftest import ROOT
from tests.emulator.virtual import Round, deployment, drive, prompt
from tests.ports import free_port

PROFILE = "h200_pair_qwen_72b_fp8"
MIX = ["--gpus", "3", "--prompt-tokens", "4000", "--output-tokens", "32", "--users", "6", "--requests", "30"]


def folder_of(path: Path, rounds: Sequence[Round], scale: float = 1.0, **info: Any) -> Path:
    """A run's folder with what clients saw on the virtual clock, in the time of an emulator of that scale."""
    records, rows = [], []
    for number, found in enumerate(rounds, 1):
        for index, one in enumerate(found.requests):
            output, e2e_ms, ttft_ms = len(one.tokens_s), 1000 * scale * one.e2e_s, 1000 * scale * one.ttft_s
            records.append(
                Record(
                    run_id=path.name, deployment="d", model="m", scenario="s", round=number, request_index=index, session_id=index,
                    turn=1, worker="w", started_at_s=1.7e9 + scale * one.sent_s, http_status=200, finish_reason="length",
                    prompt_tokens=len(one.prompt), output_tokens=output, planned_output_tokens=output, ttft_ms=ttft_ms, e2e_ms=e2e_ms,
                    reported_cached_tokens=one.job.cached_tokens if one.job else None, planned_cached_tokens=0,
                    tpot_ms=(e2e_ms - ttft_ms) / (output - 1) if output > 1 else None,
                )
            )  # fmt: skip
        rows.append({"scenario": "s", "round": number, "planned_requests": len(found.requests), "records": len(found.requests),
                     "wall_s": scale * found.wall_s, "complete": True})  # fmt: skip
    return write_run(path, records, run_id=path.name, rounds=rows, **info)


def plays(role: str, users: int, output_tokens: int, requests: int, rounds: int = 1, **engines: int) -> list[Round]:
    target, prompts = deployment(PROFILE, role, **engines), [prompt(number, 4000) for number in range(requests)]
    return [drive(target, prompts, users, output_tokens) for _ in range(rounds)]


def pair(name: str, prefillers: int, decoders: int) -> dict[str, Any]:
    roles = ["prefiller"] * prefillers + ["decoder"] * decoders
    engines = [{"name": f"e{n}", "role": role, "url": f"http://h:{n}/metrics", "gpus": 1} for n, role in enumerate(roles)]
    return {"name": name, "kind": "pd_disagg", "endpoint": "http://h:1", "gpus": len(roles), "engines": engines}


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Words of the command that name the points; 20 times faster than the profile."""
    folder, scale = tmp_path_factory.mktemp("points"), 0.05
    runs = {
        "--prefill": [folder_of(folder / f"p{users}", plays("single", users, 1, 16), scale) for users in (1, 4)],
        "--decode": [folder_of(folder / f"d{users}", plays("single", users, 32, 16, 2), scale) for users in (1, 3, 6)],
        "--pd": [folder_of(folder / "pair", plays("pd", 1, 8, 6), scale, deployment=pair("pair", 1, 1))],
        "--single": [folder_of(folder / f"s{users}", plays("single", users, 32, 16), scale) for users in (1, 3)],
        "--measured": [
            folder_of(folder / "m12", plays("pd", 6, 32, 30, prefillers=1, decoders=2), scale, deployment=pair("m", 1, 2), users=6),
            folder_of(folder / "m22", plays("pd", 6, 32, 30, prefillers=2, decoders=2), scale, deployment=pair("n", 2, 2), users=6),
        ],
    }  # fmt: skip
    return {option: [str(path) for path in paths] for option, paths in runs.items()}


def words(points: dict[str, list[str]], *options: str) -> list[str]:
    return [word for option in options for word in (option, *points[option])]


def ask(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ratio", *arguments])
    return ratio.main()


def test_from_points_to_page_and_json(
    points: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(points, "--prefill", "--decode", "--pd", "--single", "--measured")
    assert ask(monkeypatch, *given, *MIX, "--server-gpus", "1", "--output-dir", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "2P1D is predicted to be best for 3 GPUs, 4,000 prompt and 32 output tokens, nothing cached, 6 users" in printed
    assert "m22 ran on 2P2D, which is not predicted" in " ".join((tmp_path / "report.md").read_text().split())
    found = json.loads((tmp_path / "ratio.json").read_text())
    assert [one["name"] for one in found["predictions"]] == ["1P2D", "2P1D", "3 x single"]
    assert found["predictions"][2]["figures"]["requests_per_s"]["value"] > 0  # 2 users each, between the measured 1 and 3
    assert [point["used_for"] for point in found["points"]].count("hand-off") == 1
    checked = {one["figure"]: one["off"] for one in found["checks"] if one["name"] == "1P2D"}
    assert abs(checked["requests_per_s"]) < 0.03  # both on the same virtual clock
    assert abs(checked["ttft_ms"]) < 0.06
    assert (tmp_path / "charts" / "ratio-requests-per-s.svg").exists()
    assert "measured: " in (tmp_path / "report.md").read_text()


def test_the_answer_names_the_splits_that_could_not_be_predicted(
    points: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One decoder of 2P1D would hold more requests than the decode runs had: it is not beaten, it is unknown."""
    few = ["--decode", points["--decode"][0], points["--decode"][1]]
    mix = [*MIX[: MIX.index("--users") + 1], "9", *MIX[MIX.index("--users") + 2 :]]
    assert ask(monkeypatch, *words(points, "--prefill", "--pd"), *few, *mix, "--output-dir", str(tmp_path)) == 0
    page = " ".join((tmp_path / "report.md").read_text().split())
    assert "1P2D is predicted to be best" in page
    assert "2P1D could not be predicted and may be better" in page


def test_what_the_load_generator_timed_late_is_named(
    points: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    late = tmp_path / "late"
    shutil.copytree(points["--prefill"][1], late)
    lines = (late / "records.jsonl").read_text().replace('"client_limited":null', '"client_limited":true')
    (late / "records.jsonl").write_text(lines)
    given = [*words(points, "--prefill", "--decode"), "--prefill", points["--prefill"][0], str(late)]
    assert ask(monkeypatch, *given, *MIX, "--output-dir", str(tmp_path / "out")) == 0
    limits = " ".join(json.loads((tmp_path / "out" / "ratio.json").read_text())["limits"])
    assert "timed late, so their times are too long: late (100 %)" in limits
    assert "The KV transfer was not measured and counts as 0" in limits


def test_pairs_alone_and_an_open_loop(points: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pairs = [str(folder_of(tmp_path / f"pd{users}", plays("pd", users, 32, 18), deployment=pair("p", 1, 1))) for users in (1, 6)]
    open_loop = ["--gpus", "2", "--prompt-tokens", "4000", "--output-tokens", "32", "--request-rate", "0.5"]
    assert ask(monkeypatch, "--pd", *pairs, *open_loop, "--output-dir", str(tmp_path / "out")) == 0
    (only,) = json.loads((tmp_path / "out" / "ratio.json").read_text())["predictions"]
    assert only["name"] == "1P1D"
    assert only["figures"]["requests_per_s"]["value"] == pytest.approx(0.5, rel=0.1)
    open_loop[-1] = "50"
    assert ask(monkeypatch, "--pd", *pairs, *open_loop, "--output-dir", str(tmp_path / "much")) == 0
    page = " ".join((tmp_path / "much" / "report.md").read_text().split())
    assert "of 50.0 requests/s: its queue grows" in page


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--request-rate", "1"], "both are given; expected one of them"),
        (["--hit-rate", "2"], "--hit-rate is 2; expected a share from 0 to 1"),
        (["--gpus", "1"], "--gpus is 1; expected at least 2: one prefiller and one decoder"),
        (["--prompt-tokens", "9000"], "the prefill runs measured 4,000 to 4,000"),
        (["--requests", "0"], "--requests is 0; expected more than 0"),
        (["--slo", "ttft=3"], "expected NAME=MS"),
        (["--single", "PREFILL"], "does not say how many GPUs it has; add --server-gpus N"),
        (["--pd", "PREFILL"], "expected one prefiller and one decoder"),
        (["--verify", "FILE"], "has no deployment of 1P2D, 2P1D; add it, with its engines and their roles"),
    ],
    ids=lambda value: "",
)
def test_what_it_refuses(
    points: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: list[str], says: str
) -> None:
    campaign = tmp_path / "campaign.yaml"
    campaign.write_text("run: cold_start\ndeployments: [{name: a, deployment: emulator_2p2d}]")
    named = {"PREFILL": points["--prefill"][0], "FILE": str(campaign)}
    given = [named.get(word, word) for word in change]
    with pytest.raises(BadInput) as caught:
        ask(monkeypatch, *words(points, "--prefill", "--decode"), *MIX, "--output-dir", str(tmp_path / "out"), *given)
    assert says in str(caught.value)


def test_the_best_and_its_neighbours_are_played(python: str, points: dict[str, list[str]], tmp_path: Path) -> None:
    """Two emulated splits, started and stopped by the campaign."""
    port, entries = free_port(), []
    for prefillers, decoders in ((1, 2), (2, 1)):
        name = f"{prefillers}p{decoders}d"
        pages = {"prefiller": prefillers, "decoder": decoders}
        engines = [
            {"name": page, "role": role, "metrics": f"http://127.0.0.1:{port}/metrics/{page}", "gpus": 1}
            for role, count in pages.items()
            for page in ([role] if count == 1 else [f"{role}-{number}" for number in range(1, count + 1)])
        ]
        described = {"name": name, "kind": "pd_disagg", "endpoint": f"http://127.0.0.1:{port}", "engines": engines}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(described))
        emulator = f"{sys.executable} -m locust_kvcache.emulator --port {port} --role pd --profile {PROFILE} --time-scale 0.05"
        up = f"{emulator} --prefillers {prefillers} --decoders {decoders} & echo $! > {tmp_path}/pid"
        entries.append(
            {"name": name, "deployment": str(tmp_path / f"{name}.yaml"), "up": up, "down": f"kill $(cat {tmp_path}/pid)"}
        )
    run = "cold_start -u 6 -r 100 --requests 30 --rounds 1 --prompt-tokens 4000 --output-tokens 32 --warm-up off --no-report"
    campaign = {"name": "c", "repeats": 1, "output_dir": str(tmp_path / "results"), "run": run, "deployments": entries}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(campaign))
    given = [*words(points, "--prefill", "--decode", "--pd"), *MIX[:-2], "--verify", str(tmp_path / "c.yaml")]
    command = [python, "-m", "locust_kvcache", "ratio", *given, "--output-dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "ratio.json").read_text())
    assert found["load"]["requests"] == 30  # as the campaign's runs have
    assert {one["name"] for one in found["checks"]} == {"1P2D", "2P1D"}
    assert not [text for text in found["limits"] if "prediction is for" in text], "the runs are what was predicted"
    assert found["best"] == "2P1D"
    # which of them was faster is a matter of this machine's load: test_ratio_emulated.py compares on a virtual clock
    assert all(one["measured"][0] > 0 for one in found["checks"])
