"""What weakens a verdict on a recovery, in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from locust_kvcache.analysis.report.recovery_words import weak_points


@pytest.mark.parametrize(("windows", "said"), [(0, False), (3, True)])
def test_no_window_before_an_event_is_no_sign_that_hits_were_not_reported(windows: int, said: bool) -> None:
    before = [SimpleNamespace(sent=100)] * windows
    runs: Any = [[SimpleNamespace(before=before, levels={"hit_rate": None})]]
    assert ("no hits were reported before it" in weak_points(runs, [])) is said
