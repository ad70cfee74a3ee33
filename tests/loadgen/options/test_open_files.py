"""The limit of open files against the users of a process."""

from __future__ import annotations

import resource

import pytest

from locust_kvcache.loadgen.options import open_files
from locust_kvcache.loadgen.options.open_files import too_few_files


@pytest.fixture(autouse=True)
def _limit_of_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: (64, 64))


def test_a_hundred_users_are_refused_with_the_way_out() -> None:
    assert too_few_files(100) == (
        "100 users in one process need 140 open files each, and the limit is 64 (ulimit -n); raise it (ulimit -n 280, LimitNOFILE= in "
        "systemd, ulimits in Docker), or spread the users over more processes or hosts"
    )
    assert "10 processes of 30 users need 70" in (too_few_files(300, processes=10) or "")


def test_what_fits_is_no_matter() -> None:
    assert too_few_files(24) is None
    assert too_few_files(100, processes=5) is None


def test_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert too_few_files(10**9) is None
