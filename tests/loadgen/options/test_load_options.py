"""What is said of the users' start."""

from __future__ import annotations

from locust_kvcache.loadgen.options.load_options import slow_start_text


def test_a_slow_start_is_told() -> None:
    assert slow_start_text(200, None) == "starting 200 users at 1 a second takes 200 s; -r 100 starts them sooner"
    assert slow_start_text(200, 200.0) is None
    assert slow_start_text(10, 1.0) is None
    assert slow_start_text(None, None) is None
