"""The block pool against a cache that remembers whole prompts, and the order in which vLLM's gives blocks away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.emulator.blocks import BlockPool, block_hashes
from locust_kvcache.emulator.tiers import Link, Tier, TierSpec

prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=40), min_size=1, max_size=12)


def common_prefix(a: list[int], b: list[int]) -> int:
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length


def serve(pool: BlockPool, prompt: list[int], block: int) -> int:
    """One request from its arrival to its end; its cached tokens."""
    hashes = block_hashes(prompt, block)
    found = pool.match(hashes, (len(prompt) - 1) // block)
    pool.hold(found)
    blocks = found + pool.take(-(-len(prompt) // block) - len(found))
    for number in range(len(found), len(hashes)):
        pool.register(blocks[number], hashes[number])
    pool.release(blocks)
    return len(found) * block


@given(prompts, st.integers(1, 8))
def test_hits_are_the_longest_common_prefix_in_whole_blocks(sent: list[list[int]], block: int) -> None:
    pool = BlockPool(10_000)
    for number, prompt in enumerate(sent):
        longest = max((common_prefix(prompt, earlier) // block * block for earlier in sent[:number]), default=0)
        assert serve(pool, prompt, block) == min(longest, (len(prompt) - 1) // block * block)


@given(prompts, st.integers(1, 8), st.integers(40, 60))
def test_no_block_is_lost_or_given_twice(sent: list[list[int]], block: int, size: int) -> None:
    pool = BlockPool(size)
    for prompt in sent:
        serve(pool, prompt, block)
        assert pool.free_blocks == size
        assert pool.cached_blocks <= size


def test_a_whole_hit_does_not_exist() -> None:
    pool, prompt = BlockPool(100), list(range(32))
    serve(pool, prompt, 16)
    assert serve(pool, prompt, 16) == 16


def test_the_least_recently_used_blocks_go_first_and_of_one_request_the_last() -> None:
    pool = BlockPool(6)
    one, two, three = ([n] * 33 for n in (1, 2, 3))
    serve(pool, one, 16)
    serve(pool, two, 16)
    assert serve(pool, one, 16) == 32  # used again, so two is the oldest
    serve(pool, three, 16)
    assert serve(pool, one, 16) == 32
    assert serve(pool, two, 16) in (0, 16)


def test_held_blocks_are_not_reset() -> None:
    pool = BlockPool(4)
    held = pool.take(1)
    assert not pool.reset()
    pool.release(held)
    assert pool.reset()
    assert pool.cached_blocks == 0


def test_a_salt_separates_equal_prompts() -> None:
    assert set(block_hashes(list(range(64)), 16)).isdisjoint(block_hashes(list(range(64)), 16, b"salt"))


def tier(capacity_chunks: int) -> Tier:
    return Tier("store", TierSpec(256, capacity_chunks * 2560.0, 1e3, 1e3), 10.0, 1.0)


def test_a_tier_forgets_its_oldest_chunks() -> None:
    store = tier(2)
    store.put([b"a", b"b"])
    assert store.match([b"a"]) == 1
    store.put([b"c"])
    assert (store.match([b"a"]), store.match([b"b"]), store.counts["evicted_chunks"]) == (1, 0, 1)
    assert store.used_bytes == 2 * 256 * 10


def test_transfers_on_a_link_follow_one_another() -> None:
    link = Link(bytes_per_s=100.0, latency_s=0.5, time_scale=2.0)
    assert link.transfer(1.0, 100.0) == (1.0, 4.0)
    assert link.transfer(2.0, 50.0) == (4.0, 6.0)


def test_a_ttl_counts_from_the_last_use() -> None:
    now = [0.0]
    tier = Tier("store", TierSpec(256, 1e9, 1e3, 1e3, ttl_s=10.0), 10.0, 0.5)  # 5 s of the clock
    tier.clock = lambda: now[0]
    tier.put([b"a", b"b"])
    now[0] = 4.0
    assert tier.match([b"a"]) == 1
    now[0] = 8.0
    assert tier.match([b"b"]) == 0
    assert tier.match([b"a", b"b"]) == 1
    assert tier.held_chunks == 1
    now[0] = 13.1
    assert tier.match([b"a"]) == 0
