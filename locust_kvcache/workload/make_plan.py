"""Makes the Plan of a Scenario: which sessions it has, by a trace, a file, chunks, agents, tenants, or lengths that are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast

from locust_kvcache.workload.agent_sessions import agent_sessions
from locust_kvcache.workload.apis import CONVERSING
from locust_kvcache.workload.chunk_sessions import Chunks, chunk_sessions
from locust_kvcache.workload.conversation_plan import conversation_sessions
from locust_kvcache.workload.corpus import load_corpus
from locust_kvcache.workload.estimate import estimated_tokens
from locust_kvcache.workload.lazy_sessions import LazySessions
from locust_kvcache.workload.mixed_sessions import MixedSessions
from locust_kvcache.workload.plan import Calibration, Plan
from locust_kvcache.workload.planned_sessions import PlannedSessions, TurnLengths
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.steps import Pause, no_pause
from locust_kvcache.workload.traces.source import TraceSource
from locust_kvcache.workload.traces.trace_sessions import TraceSessions
from locust_kvcache.workload.turn import Session

S = TypeVar("S", bound=LazySessions)


def make_plan(scenario: Scenario, calibration: Calibration, nonce: str, seed: int, pause: Pause = no_pause) -> Plan:
    """The plan of one round; every round of a run sends exactly this. `pause` is called every few milliseconds meanwhile, and later
    where all sessions are gone through."""
    if scenario.tenants:
        return _mixed_plan(scenario, calibration, nonce, seed, pause)
    if scenario.trace is not None:
        return Plan(scenario, calibration, nonce, seed, _trace_sessions(scenario, scenario.trace, pause))
    corpus = load_corpus(scenario.corpus) if scenario.corpus is not None else None
    if corpus is not None and corpus.conversations:
        return Plan(scenario, calibration, nonce, seed, conversation_sessions(scenario, corpus, seed), corpus)
    if scenario.chunks is not None:
        return Plan(scenario, calibration, nonce, seed, _chunk_sessions(scenario, scenario.chunks, calibration, seed, pause))
    if scenario.shape is not None:
        sessions_of_agents = agent_sessions(scenario, scenario.shape, calibration.exchange_tokens, seed, pause)
        return Plan(scenario, calibration, nonce, seed, sessions_of_agents)
    if corpus is None:
        return Plan(scenario, calibration, nonce, seed, _planned_sessions(scenario, seed, pause))
    around = round(calibration.template_tokens)
    prefix_tokens = [around + estimated_tokens(text) for text in corpus.documents]
    sessions = PlannedSessions(scenario, seed, prefix_tokens, _own_end_tokens(scenario, calibration), pause)
    return Plan(scenario, calibration, nonce, seed, sessions, corpus)


def _chunk_sessions(scenario: Scenario, chunks: Chunks, calibration: Calibration, seed: int, pause: Pause) -> tuple[Session, ...]:
    lengths = TurnLengths(scenario, seed, pause)
    own_end_tokens = _own_end_tokens(scenario, calibration)
    seed_key = f"{seed}/{scenario.name}/chunks"
    return chunk_sessions(chunks, scenario.prefix_tokens, lengths.user, lengths.output, own_end_tokens, seed_key)


def _own_end_tokens(scenario: Scenario, calibration: Calibration) -> int:
    """The chat template ends a question and begins the answer: half of an exchange, which another question on a prefix does not share."""
    return math.ceil(calibration.exchange_tokens / 2) if scenario.api in CONVERSING else 0


def _mixed_plan(scenario: Scenario, calibration: Calibration, nonce: str, seed: int, pause: Pause) -> Plan:
    parts = tuple(make_plan(one, calibration, nonce, seed, pause) for one in scenario.tenants)
    names = [one.identity.tenant for one in scenario.tenants]
    only = names.index(scenario.only) if scenario.only else None
    return Plan(scenario, calibration, nonce, seed, MixedSessions(parts, only, pause), tenants=parts)


_planned: dict[tuple[Scenario, int], LazySessions] = {}
KEPT = 12  # tenants are planned one by one


def _kept(scenario: Scenario, seed: int, make: Callable[[], S]) -> S:
    """Neither the nonce nor the calibration changes them: the preflight, a run and the next run of a study draw them once."""
    found = _planned.pop((scenario, seed), None) or make()
    _planned[scenario, seed] = found
    while len(_planned) > KEPT:
        del _planned[next(iter(_planned))]
    return cast(S, found)


def _planned_sessions(scenario: Scenario, seed: int, pause: Pause) -> PlannedSessions:
    return _kept(scenario, seed, lambda: PlannedSessions(scenario, seed, scenario.prefix_tokens, pause=pause))


def _trace_sessions(scenario: Scenario, source: TraceSource, pause: Pause) -> TraceSessions:
    return _kept(scenario, 0, lambda: TraceSessions(source, scenario.requests, scenario.identity, scenario.gaps, pause))
