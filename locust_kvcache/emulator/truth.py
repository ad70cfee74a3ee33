"""Keeps what really happened to each request, in ns of the monotonic clock, and how late the emulator was."""

from __future__ import annotations

import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.emulator.deployment import Job
from locust_kvcache.emulator.work import Work

KEPT_REQUESTS = 10_000
KEPT_LATENESS = 200_000


def ns(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1e9)


@dataclass(slots=True)
class Passage:
    """One request's way through the emulator. `due`: when the model wanted a token to leave; `sent`: just before it went to the kernel."""

    request_id: str
    arrived_ns: int
    job: Job | None
    faults: dict[str, Any]
    stream: bool
    due_ns: array[int] = field(default_factory=lambda: array("q"))
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    headers_ns: int | None = None
    ended_ns: int | None = None
    outcome: str = "open"  # open, complete, client_gone, or the fault that ended it
    reported_cached_tokens: int | None = None

    facts: dict[str, Any] | None = None  # of the job, once it has ended: thousands of prompts are not kept

    def close(self) -> None:
        self.ended_ns = time.monotonic_ns()
        if self.job is not None:
            self.facts, self.job = self._job_facts(self.job), None

    @staticmethod
    def _job_facts(job: Job) -> dict[str, Any]:
        return {
            "prompt_tokens": len(job.prompt_ids),
            "output_tokens": job.output_tokens,
            "cached_tokens": job.cached_tokens,
            **({"reuse": job.reuse} if job.reuse else {}),
            "servers": {name: work_as_dict(work) for name, work in job.works.items()},
        }

    def as_dict(self) -> dict[str, Any]:
        facts = self.facts if self.job is None else self._job_facts(self.job)
        return {
            "kind": "request",
            "id": self.request_id,
            "outcome": self.outcome,
            "stream": self.stream,
            "faults": self.faults,
            "reported_cached_tokens": self.reported_cached_tokens,
            "arrived_ns": self.arrived_ns,
            "headers_ns": self.headers_ns,
            "first_token_due_ns": self.due_ns[0] if self.due_ns else None,
            "first_token_sent_ns": self.sent_ns[0] if self.sent_ns else None,
            "ended_ns": self.ended_ns,
            **(facts or {}),
            "token_due_ns": list(self.due_ns),
            "token_sent_ns": list(self.sent_ns),
        }


def work_as_dict(work: Work) -> dict[str, Any]:
    """`cached_tokens` per tier and `computed_tokens` sum to the prompt. Queue: `queued_ns` to `prefill_start_ns`, async loads included."""
    by_tier = {"gpu": work.gpu_tokens}
    for load in work.loads:
        by_tier[load.tier] = by_tier.get(load.tier, 0) + load.tokens
    return {
        "cached_tokens": by_tier,
        "computed_tokens": work.prompt_tokens - work.cached_tokens if work.scheduled_s is not None else 0,
        "arrived_ns": ns(work.arrived_s),
        "queued_ns": ns(work.queued_s) if work.queued_s else None,
        "prefill_start_ns": ns(work.scheduled_s),
        "prefill_end_ns": ns(work.prefilled_s),
        "finished_ns": ns(work.finished_s),
        "loads": [
            {
                "tier": load.tier,
                "tokens": load.tokens,
                "bytes": int(load.size_bytes),
                "start_ns": ns(load.start_s),
                "end_ns": ns(load.end_s),
            }
            for load in work.loads
        ],
        "put_end_ns": ns(work.puts_done_s) if work.puts_done_s else None,
        "preemptions": work.preemptions,
    }


class TruthLog:
    """The last requests, open ones included, and the last sendings' lateness."""

    def __init__(self, kept: int = KEPT_REQUESTS) -> None:
        self.passages: deque[Passage] = deque(maxlen=kept)
        self._late_ns: deque[int] = deque(maxlen=KEPT_LATENESS)
        self.chunks = 0
        self.dropped = 0

    def add(self, passage: Passage) -> None:
        self.dropped += len(self.passages) == self.passages.maxlen
        self.passages.append(passage)

    def sent(self, late_ns: int) -> None:
        self.chunks += 1
        self._late_ns.append(late_ns)

    def clear(self) -> None:
        self.passages.clear()
        self._late_ns.clear()
        self.chunks = self.dropped = 0

    def lateness(self) -> dict[str, Any]:
        """Sent minus due of the last sendings, microseconds."""
        late = sorted(self._late_ns) or [0]

        def at(share: float) -> float:
            return late[min(len(late) - 1, int(len(late) * share))] / 1e3

        return {"kind": "server", "chunks": self.chunks, "late_us": {"p50": at(0.5), "p99": at(0.99), "max": late[-1] / 1e3}}
