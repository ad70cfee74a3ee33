"""Closed-loop users against the emulator's model on a virtual clock: what the reference tables measure, in milliseconds of real time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.emulator.deployment import Deployment, Job
from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.spec import load_profile


@dataclass
class Timed:
    sent_s: float
    prompt: Sequence[int]
    tokens_s: list[float] = field(default_factory=list)
    job: Job | None = None

    @property
    def ttft_s(self) -> float:
        return self.tokens_s[0] - self.sent_s

    @property
    def e2e_s(self) -> float:
        return self.tokens_s[-1] - self.sent_s

    @property
    def tpot_s(self) -> float:
        return (self.tokens_s[-1] - self.tokens_s[0]) / (len(self.tokens_s) - 1)


@dataclass
class Round:
    requests: list[Timed]

    @property
    def wall_s(self) -> float:
        return max(one.tokens_s[-1] for one in self.requests) - min(one.sent_s for one in self.requests)

    def means(self) -> dict[str, float]:
        mean = {name: statistics.fmean(getattr(one, name) for one in self.requests) for name in ("ttft_s", "tpot_s", "e2e_s")}
        return {**mean, "requests_per_s": len(self.requests) / self.wall_s}


def deployment(profile: str, role: str, **options: Any) -> Deployment:
    return Deployment(load_profile(profile), role, Simulation(), 1.0, **options)


def prompt(number: int, tokens: int, shared: int = 0) -> list[int]:
    """Its first `shared` tokens are those of all prompts, the rest its own."""
    return [*range(1, shared + 1), *(1_000_000 * (number + 1) + index for index in range(tokens - shared))]


def drive(target: Deployment, prompts: Sequence[Sequence[int]], users: int, output_tokens: int) -> Round:
    """Each user sends the next prompt when its last answer has ended."""
    simulation, waiting, done = target.simulation, list(prompts), []

    def send(_: object = None) -> None:
        if not waiting:
            return
        timed = Timed(simulation.now_s, waiting.pop(0))
        timed.job = Job(timed.prompt, output_tokens, lambda job, due_s: token(timed, due_s))
        done.append(timed)
        target.submit(timed.job)

    def token(timed: Timed, due_s: float) -> None:
        timed.tokens_s.append(due_s)
        if len(timed.tokens_s) == output_tokens:
            simulation.at(due_s, send)

    for _ in range(users):
        simulation.at(simulation.now_s, send)
    simulation.run_all()
    assert all(len(timed.tokens_s) == output_tokens for timed in done)
    return Round(done)
