"""Estimates what a round will take before anything is sent: requests, tokens, seconds.

Durations are estimates from the times of a former run, or from a person; where nothing is known they are None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from locust_kvcache.contract.round_kinds import sends_new_prompts
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration, Plan, Session, planned_cached_tokens
from locust_kvcache.workload.spec import Scenario

DEFAULT_BLOCK_TOKENS = 16  # vLLM's default; a dry run asks no server for its own
UNCALIBRATED = Calibration({}, {}, 1.0, 0.0, 0.0, "assumed")  # sizes of a plan do not depend on it, only its texts do


@dataclass(frozen=True)
class Expectation:
    """Times of single requests at the load that is planned; None where nothing tells."""

    cold_ttft_ms: float | None = None
    hit_ttft_ms: float | None = None
    tpot_ms: float | None = None
    source: str = ""


@dataclass(frozen=True)
class RoundBudget:
    """What one round sends, what an infinite cache would hold of it, and how long it should take."""

    scenario: str
    round: int
    requests: int
    prompt_tokens: int
    planned_cached_tokens: int
    output_tokens: int
    duration_s: float | None
    kind: str


def dry_plan(scenario: Scenario, seed: int) -> Plan:
    """The sizes of a scenario's plan; its texts are not those of a run."""
    return make_plan(scenario, UNCALIBRATED, "", seed)


def session_s(plan: Plan, session: Session, repeats: bool, block_tokens: int, expected: Expectation) -> float | None:
    """Turns wait for one another. A partly cached prompt's TTFT lies between cold and hit, in proportion to its cached tokens."""
    scenario = plan.scenario_of(session.session_id)
    if expected.cold_ttft_ms is None or (expected.tpot_ms is None and scenario.output_tokens > 1):
        return None
    hit_ms = expected.cold_ttft_ms if expected.hit_ttft_ms is None else expected.hit_ttft_ms
    ends_ms: dict[int, float] = {}  # by turn; branches of a fork run at once
    for turn in session.turns:
        share = planned_cached_tokens(turn, repeats, None, block_tokens) / turn.prompt_tokens
        begun_ms = max((ends_ms[number] for number in turn.waits_for), default=0.0) + 1000 * turn.wait_s
        answer_ms = (plan.output_tokens(turn) - 1) * (expected.tpot_ms or 0.0)
        ends_ms[turn.number] = begun_ms + expected.cold_ttft_ms + (hit_ms - expected.cold_ttft_ms) * share + answer_ms
    return max(ends_ms.values()) / 1000


def round_duration_s(
    plan: Plan, repeats: bool, users: int, rate_per_s: float | None, expected: Expectation, block_tokens: int
) -> float | None:
    """Closed loop: all sessions' time shared among the users, at least the longest one. Open loop: the last start, and that session."""
    known: list[float] = []
    if session_s(plan, plan.sessions[0], repeats, block_tokens, expected) is not None:
        times = (session_s(plan, session, repeats, block_tokens, expected) for session in plan.sessions)
        known = [time for time in times if time is not None]
    if plan.due_s:
        return max(at_s + took for at_s, took in zip(plan.due_s, known or [0.0] * len(plan.due_s), strict=True))
    if rate_per_s is not None:
        return (len(plan.sessions) - 1) / rate_per_s + (known[-1] if known else 0.0)
    return max(sum(known) / min(users, len(known)), max(known)) if known else None


def round_budget(
    plan: Plan,
    number: int,
    kind: str,
    users: int,
    rate_per_s: float | None,
    expected: Expectation,
    block_tokens: int = DEFAULT_BLOCK_TOKENS,
) -> RoundBudget:
    repeats = not sends_new_prompts(kind)
    return RoundBudget(
        plan.scenario.name,
        number,
        plan.requests,
        plan.prompt_tokens,
        sum(planned_cached_tokens(turn, repeats, None, block_tokens) for turn in plan.turns),
        plan.all_output_tokens,
        round_duration_s(plan, repeats, users, rate_per_s, expected, block_tokens),
        kind,
    )


def cost(duration_s: float, gpus: int, price_per_gpu_hour: float) -> float:
    """In the currency of the price."""
    return duration_s / 3600 * gpus * price_per_gpu_hour
