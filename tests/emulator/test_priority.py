"""Waiting requests by priority: the lowest first, and in order of arrival among equals."""

from __future__ import annotations

import dataclasses

import pytest

from locust_kvcache.emulator.deployment import Deployment, Job
from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.spec import load_profile, with_priority
from tests.emulator.virtual import prompt


@pytest.mark.parametrize(("by_priority", "order"), [(False, [0, 1, 2, 3]), (True, [0, 3, 1, 2])])
def test_who_is_served_first(by_priority: bool, order: list[int]) -> None:
    profile = load_profile("cpu_tiny")
    one_at_a_time = {name: dataclasses.replace(server, max_num_seqs=1) for name, server in profile.servers.items()}
    profile = dataclasses.replace(profile, servers=one_at_a_time)
    target = Deployment(with_priority(profile) if by_priority else profile, "single", Simulation(), 1.0)
    first: list[int] = []
    for number, priority in enumerate([5, 2, 2, 1]):  # the first one is served at once: nobody waits yet

        def token(job: Job, due_s: float, number: int = number) -> None:
            if job.emitted == 1:
                first.append(number)

        target.submit(Job(prompt(number, 64), 2, token, priority=priority))
    target.simulation.run_all()
    assert first == order
