"""Where a tier stops holding the working set."""

from locust_kvcache.analysis.stats.knee import Knee, find_knee


def test_knee_lies_between_the_last_size_held_and_the_first_lost() -> None:
    # 10 % of 0.8 is 0.08: 0.74 is still on the plateau, 0.71 is not.
    assert find_knee([(1000, 0.8), (2000, 0.74), (4000, 0.71), (8000, 0.0)]) == Knee(2000, 4000, 0.8)


def test_order_of_measuring_does_not_matter() -> None:
    assert find_knee([(8000, 0.0), (1000, 0.8), (4000, 0.8)]) == Knee(4000, 8000, 0.8)


def test_sweep_that_never_leaves_the_tier_has_no_upper_end() -> None:
    assert find_knee([(1000, 0.8), (2000, 0.8)]) == Knee(2000, None, 0.8)


def test_no_plateau_no_knee() -> None:
    assert find_knee([(1000, 0.0), (2000, 0.0)]) is None
    assert find_knee([]) is None
