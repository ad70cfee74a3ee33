"""Who gets a request: each policy on its own, with loads given by hand."""

from __future__ import annotations

from collections import Counter

from locust_kvcache.emulator.routing import Guard, Policy, make_policy, text_of

IDLE = [0, 0, 0, 0]


def text(name: str, pieces: int = 10) -> str:
    """So many whole pieces of 64 characters, none of them equal to those of another name."""
    return "".join(f"{name}{number}".ljust(64, ".") for number in range(pieces))


def choices(policy: Policy, texts: list[str], open_requests: list[int] = IDLE, session: str = "") -> list[int]:
    return [policy.choose(one, session, open_requests) for one in texts]


def test_round_robin_is_equal() -> None:
    assert choices(make_policy("round_robin", Guard()), ["x"] * 8) == [0, 1, 2, 3, 0, 1, 2, 3]


def test_random_is_seeded_and_leaves_nobody_out() -> None:
    first, second = (choices(make_policy("random", Guard()), ["x"] * 100) for _ in range(2))
    assert first == second
    assert set(first) == {0, 1, 2, 3}


def test_least_loaded_takes_the_idlest_and_equal_ones_in_turn() -> None:
    policy = make_policy("least_loaded", Guard())
    assert choices(policy, ["x"] * 4) == [0, 1, 2, 3]
    assert choices(policy, ["x"] * 3, [2, 1, 0, 1]) == [2, 2, 2]


def test_without_a_session_header_one_engine_gets_everything() -> None:
    policy = make_policy("session", Guard())
    assert len(set(choices(policy, [f"text {number}" for number in range(50)]))) == 1


def test_a_session_stays_and_sessions_spread() -> None:
    policy = make_policy("session", Guard())
    by_session = {f"user-{number}": choices(policy, ["a", "b"], session=f"user-{number}") for number in range(200)}
    assert all(first == second for first, second in by_session.values())
    spread = Counter(first for first, _ in by_session.values())
    assert set(spread) == {0, 1, 2, 3}
    assert max(spread.values()) < 2 * 50


def test_a_session_moves_only_to_the_engine_that_was_added() -> None:
    policy = make_policy("session", Guard())
    before = {key: policy.choose("", key, [0] * 4) for key in map(str, range(200))}
    after = {key: policy.choose("", key, [0] * 5) for key in before}
    moved = [key for key in before if before[key] != after[key]]
    assert 0 < len(moved) < 100
    assert {after[key] for key in moved} == {4}


def test_a_document_stays_on_one_engine_and_documents_spread() -> None:
    policy = make_policy("prefix", Guard())
    documents = [text(name) for name in "abcd"]
    assert choices(policy, documents) == [0, 1, 2, 3]
    assert choices(policy, [one + text("question", 2) for one in reversed(documents)]) == [3, 2, 1, 0]


def test_a_short_common_prefix_does_not_bind() -> None:
    """Two of ten pieces are 0.2 of the prompt, below the threshold of 0.3; four are above it."""
    for common, expected in ((2, [0, 1, 2, 3]), (4, [0, 0, 0, 0])):
        policy = make_policy("prefix", Guard())
        assert choices(policy, [text("system", common) + text(name, 10 - common) for name in "abcd"]) == expected


def test_the_guard_gives_an_uneven_load_to_the_idlest() -> None:
    policy = make_policy("prefix", Guard(balance_abs_threshold=4, balance_rel_threshold=1.5))
    document = text("a")
    assert choices(policy, [document]) == [0]
    assert choices(policy, [document], [4, 0, 0, 0]) == [0]  # differs by 4, not by more
    assert choices(policy, [document], [20, 15, 16, 17]) == [0]  # 20 is less than 1.5 times 15
    assert choices(policy, [document], [5, 1, 0, 1]) == [2]
    assert choices(policy, [document], [1, 1, 0, 1]) == [2]  # both have it now: the one with fewer open requests


def test_what_a_router_sees_of_a_body() -> None:
    assert text_of({"messages": [{"role": "user", "content": "hello"}]}) == "user\nhello"
    assert text_of({"prompt": [1, 2]}) == "1 2"
    assert (text_of({"prompt": "as it is"}), text_of(None), text_of({})) == ("as it is", "", "")
