"""Ports for the servers of tests, which no other process takes between the choice of a port and the start of its server.

The kernel gives a port it has just freed to the next socket that asks for any: another test's server, or an outgoing connection. So these
lie below the range that the kernel takes such ports from, and each worker of pytest-xdist has a part of them of its own."""

from __future__ import annotations

import functools
import itertools
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

LOWEST, HIGHEST = 10_240, 32_767  # below it lie the ports that servers have by default: 5557, 8000, 8089, 9003
WORKERS = 16  # more workers than that share parts
KERNELS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def part_of(worker: str, kernels_lowest: int) -> range:
    """The ports of worker "gw3", or of a process that is none (""); empty where the kernel's own range leaves no room."""
    length = (min(HIGHEST, kernels_lowest - 1) - LOWEST + 1) // (WORKERS + 1)
    number = int(worker.removeprefix("gw")) % WORKERS + 1 if worker.removeprefix("gw").isdigit() else 0
    return range(LOWEST + number * length, LOWEST + (number + 1) * length) if length >= 100 else range(0)


@functools.cache
def _turns(worker: str, pid: int) -> Iterator[int]:
    """`pid`: a process that was forked takes its own turns. The start is random: two suites beside each other seldom meet."""
    kernels_lowest = int(KERNELS.read_text().split()[0]) if KERNELS.exists() else 0
    ports = part_of(worker, kernels_lowest)
    start = random.SystemRandom().randrange(len(ports)) if ports else 0
    return itertools.cycle([*ports[start:], *ports[:start]] or [0])


def free_port() -> int:
    for port in _turns(os.environ.get("PYTEST_XDIST_WORKER", ""), os.getpid()):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("unreachable: the ports are taken in turns without an end")
