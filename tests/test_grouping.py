"""The tests of one file, and the timed ones, run in one worker of pytest-xdist, which reads their group at the end of their id."""

from __future__ import annotations

import os

import pytest

from tests.conftest import TIMED


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="tests are not spread over workers")
def test_a_file_is_a_group(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@tests/test_grouping.py")


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="tests are not spread over workers")
@pytest.mark.xdist_group(TIMED)
def test_a_named_group_goes_before_the_file(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith(f"@{TIMED}")
