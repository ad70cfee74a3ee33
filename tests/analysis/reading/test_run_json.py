"""run.json as a typed value: every published run opens without a note, keys that lack are None, a value of another type is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locust_kvcache.analysis.reading.run_json import parse_run_info
from locust_kvcache.analysis.reading.runs import load_run
from tests.analysis.synthetic import Truth, synthetic_run

PUBLISHED = sorted((Path(__file__).resolve().parents[3] / "docs/results").rglob("run.json"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_every_published_run_opens(path: Path) -> None:
    info = parse_run_info(json.loads(path.read_text(encoding="utf-8")))
    assert info.problems == ()
    assert info.deployment.name
    assert [entry.number for entry in info.rounds]
    ended = info.rounds if info.complete else info.rounds[:-1]  # a run that was cut off ends in mid-round
    assert all(entry.wall_s for entry in ended)


def test_what_is_missing_is_none_or_empty() -> None:
    info = parse_run_info({})
    assert info.problems == ()
    assert (info.run_id, info.users, info.deployment.gpus, info.model_facts.kv_bytes_per_token) == (None, None, None, None)
    assert (info.rounds, info.arms, info.command, dict(info.targets)) == ((), (), (), {})
    assert info.arrival.closed
    assert not info.complete


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"users": "ten"}, ["'users'", "'ten'", "an integer"]),
        ({"users": True}, ["'users'", "'True'", "an integer"]),
        ({"deployment": {"slo": 3}}, ["'deployment.slo'", "'3'", "an object"]),
        ({"rounds": [{"round": 1, "wall_s": "long"}]}, ["'rounds[0].wall_s'", "'long'", "a number"]),
        ({"arrival": "closed"}, ["'arrival'", "'closed'", "an object"]),
    ],
)
def test_a_value_of_another_type_is_missing_and_named(raw: dict[str, object], words: list[str]) -> None:
    (problem,) = parse_run_info(raw).problems
    assert problem.severity == "note"
    assert all(word in problem.text for word in words)


def test_the_note_stands_in_the_runs_problems(tmp_path: Path) -> None:
    run = load_run(synthetic_run(tmp_path, Truth(sessions=1, turns=1), spawn_rate=1.0, workers="two"))
    assert [problem.code for problem in run.problems] == ["run_json_type"]


def test_a_nonce_is_given_where_run_json_or_the_command_line_says_so() -> None:
    assert parse_run_info({"command": ["locust", "--nonce", "x"]}).nonce_given
    assert not parse_run_info({"command": ["locust", "--nonce", "x"], "nonce_given": False}).nonce_given
    assert parse_run_info({"command": ["locust"], "nonce_given": True}).nonce_given


def test_rounds_planned_is_one_number_or_one_per_scenario() -> None:
    assert parse_run_info({"rounds_planned": 3}).planned_rounds("a") == 3
    assert parse_run_info({"rounds_planned": {"a": 2}}).planned_rounds("a") == 2
    assert parse_run_info({}).planned_rounds("a") is None
