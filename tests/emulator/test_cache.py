"""The block prefix cache against a cache that remembers whole prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emulator.cache import PrefixCache, block_hashes

prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=40), min_size=1, max_size=12)


def common_prefix(a: list[int], b: list[int]) -> int:
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length


@given(prompts, st.integers(1, 8))
def test_hits_are_the_longest_common_prefix_in_whole_blocks(sent: list[list[int]], block: int) -> None:
    cache = PrefixCache(10_000, block)
    for number, prompt in enumerate(sent):
        longest = max((common_prefix(prompt, earlier) // block * block for earlier in sent[:number]), default=0)
        assert cache.match(block_hashes(prompt, block), len(prompt)) == min(longest, (len(prompt) - 1) // block * block)
        cache.store(block_hashes(prompt, block))
    assert cache.queries_tokens == sum(map(len, sent))


def test_a_whole_hit_does_not_exist() -> None:
    cache, prompt = PrefixCache(1000, 16), list(range(32))
    cache.store(block_hashes(prompt, 16))
    assert cache.match(block_hashes(prompt, 16), 32) == 16


def test_the_least_recently_used_blocks_go_first() -> None:
    cache = PrefixCache(64, 16)
    one, two, three = ([n] * 32 for n in (1, 2, 3))
    for prompt in (one, two):
        cache.store(block_hashes(prompt, 16))
    cache.match(block_hashes(one, 16), 33)  # used again, so two is the oldest
    cache.store(block_hashes(three, 16))
    assert cache.match(block_hashes(one, 16), 33) == 32
    assert cache.match(block_hashes(two, 16), 33) == 0


def test_a_reset_leaves_nothing() -> None:
    cache = PrefixCache(1000, 16)
    cache.store(block_hashes(list(range(64)), 16))
    cache.reset()
    assert (cache.match(block_hashes(list(range(64)), 16), 64), len(cache)) == (0, 0)
