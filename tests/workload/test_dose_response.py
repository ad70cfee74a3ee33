"""The grid: every cell in every repeat, in random order, and prompts whose length and shared part are as asked."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.dose_response import Cell, Doses, cells, turn_sizes
from locust_kvcache.workload.plan import planned_cached_tokens
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.spec import Scenario

DOSE = load_scenario("dose_response")
DOSES = DOSE.doses
assert DOSES is not None


def test_every_repeat_is_a_whole_grid_in_an_order_of_its_own() -> None:
    found = cells(DOSES, "1")
    first, second = found[:20], found[20:40]
    assert collections.Counter(first) == collections.Counter(second)
    assert len(set(first)) == 20
    assert first != second
    assert first != sorted(first, key=lambda cell: (cell.hit_fraction, cell.prompt_tokens))
    assert cells(DOSES, "1") == found
    assert cells(DOSES, "2") != found


def test_sizes_add_up_by_hand() -> None:
    """0.75 of 1,024 is 768: 64 of prefix and 704; then 8 of the answer and 248."""
    assert turn_sizes(Cell(0.75, 1024), 64, 8) == (704, 248)
    assert turn_sizes(Cell(0.0, 1024), 64, 8) == (960,)


def test_the_last_turn_of_each_session_is_its_cell() -> None:
    plan = dry_plan(DOSE, 1)
    assert [turn.request_index for turn in plan.turns] == list(range(DOSE.requests))
    assert DOSE.requests == (4 * 2 + 1) * 4 * 3
    for session, cell in zip(plan.sessions, cells(DOSES, "1/dose_response/doses"), strict=True):
        last = session.turns[-1]
        assert last.prompt_tokens == cell.prompt_tokens
        assert planned_cached_tokens(last, False, None, 16) == round(cell.hit_fraction * cell.prompt_tokens) // 16 * 16
        assert len({s.prefix_id for s in plan.sessions}) == len(plan.sessions)


def test_more_requests_are_more_repeats_and_fewer_cut_the_grid() -> None:
    assert len(dry_plan(DOSE.with_requests(10), 1).turns) == 10
    more = DOSE.with_requests(200)
    assert more.doses == dataclasses.replace(DOSES, repeats=6)
    assert len(dry_plan(more, 1).turns) == 200


def test_a_scenario_with_doses_survives_a_message() -> None:
    values = DOSE.to_dict()
    values["doses"] = {
        **values["doses"],
        "hit_fractions": list(values["doses"]["hit_fractions"]),
        "prompt_tokens": list(values["doses"]["prompt_tokens"]),
    }
    assert Scenario.from_dict(values) == DOSE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[0, 0.25, 0.5, 0.75, 0.9]", "[0, 1]", "below 1"),
        ("[0, 0.25, 0.5, 0.75, 0.9]", "[0.01]", "leaves a turn under"),
        ("[1024, 2048, 4096, 8192]", "[]", "prompt_tokens"),
        ("shared_by: 1", "shared_by: all", "shared_by"),
        ("  repeats: 3", "  repeat: 3", "repeat"),
    ],
)
def test_a_grid_that_cannot_be_made_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "dose_response.yaml"
    text = Path("scenarios/dose_response.yaml").read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(BadInput, match=said):
        load_scenario(str(file))


def test_requests_of_a_grid() -> None:
    assert Doses((0.0, 0.5), (100, 200), 3).requests == (1 + 2) * 2 * 3
