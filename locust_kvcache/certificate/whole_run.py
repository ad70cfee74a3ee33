"""Measures a whole Locust run against the truth server, with users that all start together.

Everything that a run does is in its figures: users, records, Locust's statistics, the master's files. Used by command.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locust import events, task

from locust_kvcache.certificate.readers import Read
from locust_kvcache.certificate.timing_error import cpu_s, error_figures
from locust_kvcache.certificate.variables import FIGURES_VARIABLE, TOKENS_VARIABLE
from locust_kvcache.contract.quantile import quantile
from locust_kvcache.contract.record import OK, Record
from locust_kvcache.loadgen.user import KVCacheUser
from locust_kvcache.loadgen.worker.finishing import EndedRequest


class Together(KVCacheUser):
    scenario = "cold_start"

    @task
    def ask(self) -> None:
        self.run_next_session()


class SelfMeasurement:
    """Keeps what a run's requests were, adding nothing to the measured path but a reference to each."""

    def __init__(self, agent: Any) -> None:
        self.ended: list[EndedRequest] = []
        self.records: list[Record] = []
        self.lags: list[tuple[float, float]] = []  # (monotonic, ms)
        self.used: list[tuple[float, float]] = []  # (monotonic, CPU seconds) at the start, and at each end
        self._watch(agent.finisher, "now", self._note_end)
        self._watch(agent.lag, "add", lambda at_s, lag_ms: self.lags.append((at_s, lag_ms)))
        self._watch(agent._sessions, "put", self._note_start)

    @staticmethod
    def _watch(owner: Any, name: str, note: Callable[..., None]) -> None:
        act = getattr(owner, name)

        def watched(*args: Any) -> Any:
            result = act(*args)
            note(*args)
            return result

        setattr(owner, name, watched)

    def _note_start(self, _: Any) -> None:
        if not self.used:
            self.used.append((time.monotonic(), cpu_s(resource.getrusage(resource.RUSAGE_SELF))))
            self.lags.clear()

    def _note_end(self, ended: EndedRequest) -> None:
        self.ended.append(ended)

    def keep(self, **kwargs: Any) -> None:
        self.records.append(kwargs["record"])
        self.used[1:] = [(time.monotonic(), cpu_s(resource.getrusage(resource.RUSAGE_SELF)))]

    def figures(self, tokens: int) -> dict[str, float]:
        reads = [
            Read(
                one.outcome.response.sent_at_s,
                [chunk.received_at_s for chunk in one.outcome.chunks],
                one.outcome.reply,
                one.outcome.status == OK,
            )
            for one in self.ended
        ]
        figures = error_figures(reads, tokens)
        (began_s, used_s), (ended_s, used_then_s) = self.used[0], self.used[-1]
        lags_ms = [lag_ms for at_s, lag_ms in self.lags if at_s <= ended_s]  # while a stream was open
        return {
            **figures,
            "cpu_us_per_chunk": (used_then_s - used_s) / max(1.0, figures["chunks"]) * 1e6,
            "chunks_per_s": figures["chunks"] / (ended_s - began_s),
            "loop_lag_p99_ms": quantile(lags_ms, 0.99),
            "loop_lag_worst_ms": max(lags_ms),
            "client_limited": sum(bool(record.client_limited) for record in self.records),
        }


@events.init.add_listener
def _measure(environment: Any, **_: Any) -> None:
    agent = getattr(environment, "kv_agent", None)
    if agent is None:  # the master of several worker processes sends nothing itself
        return
    measured = SelfMeasurement(agent)
    environment.events.record_finished.add_listener(measured.keep)

    @environment.events.quitting.add_listener
    def _write(**_: Any) -> None:
        if measured.records:
            path = Path(os.environ[FIGURES_VARIABLE])
            path.with_stem(f"{path.stem}_{os.getpid()}").write_text(
                json.dumps(measured.figures(int(os.environ[TOKENS_VARIABLE]))), encoding="utf-8"
            )
