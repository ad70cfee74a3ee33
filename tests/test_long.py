"""The two commands of the suite hold all tests, each in one of them, and what is long has something short beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import COLLECTED
from tests.long import INSTEAD, LONG, is_long

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def collected(request: pytest.FixtureRequest) -> list[str]:
    """The ids of all tests, before any was left out by its marker."""
    found = request.config.stash[COLLECTED]
    if request.config.option.keyword or len({test.split("::")[0] for test in found}) < len(list(files())):
        pytest.skip("only some files are collected")
    return found


def files() -> list[Path]:
    return [path for path in (ROOT / "tests").rglob("*.py") if re.search(r"^(async )?def test_", path.read_text(), re.MULTILINE)]


def test_the_commands_leave_nothing_out_between_them() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipes = dict(re.findall(r"^(test[\w-]*):.*\n\t(.*)$", makefile, re.MULTILINE))
    assert recipes["test"].endswith('-m "not long"')
    assert recipes["test-long"].endswith('-m "long or sampled"')
    assert recipes["test-long"].startswith("KV_ALL_SAMPLES=1 ")
    assert {"make test", "make test-long"} <= set((ROOT / ".ci/run").read_text().splitlines())


def test_every_file_with_tests_is_one_that_pytest_reads() -> None:
    assert [path for path in files() if not path.name.startswith("test_")] == []


def test_what_is_listed_is_there(collected: list[str]) -> None:
    listed = {f"{file}::{name}" for file, names in LONG.items() for name in names}
    assert listed - set(collected) == set()
    assert LONG.keys() - {test.split("::")[0] for test in collected} == set()


def test_something_short_stays_beside_what_is_long(collected: list[str]) -> None:
    short = [test for test in collected if not is_long(test)]
    for file in LONG:
        beside = INSTEAD.get(file, file)
        assert any(test == beside or test.startswith((f"{beside}::", f"{beside}[")) for test in short), beside
