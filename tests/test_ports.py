"""Ports of tests: no two workers, and no process that asks the kernel for any port, get the same."""

from __future__ import annotations

import itertools

from tests.ports import HIGHEST, LOWEST, WORKERS, free_port, part_of


def test_workers_have_parts_of_their_own_below_the_kernels() -> None:
    parts = [part_of(worker, 32_768) for worker in ("", *(f"gw{number}" for number in range(WORKERS)))]
    assert all(len(part) > 1_000 for part in parts)
    assert all(not set(one) & set(other) for one, other in itertools.combinations(parts, 2))
    assert min(map(min, parts)) >= LOWEST
    assert max(map(max, parts)) <= HIGHEST
    assert part_of(f"gw{WORKERS}", 32_768) == parts[1]


def test_a_kernel_that_gives_all_ports_leaves_no_part() -> None:
    assert not part_of("gw0", 1_024)


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
