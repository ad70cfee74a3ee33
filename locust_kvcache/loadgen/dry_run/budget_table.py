"""Makes the tables of a dry run: the requests, tokens and expected time of each round."""

from __future__ import annotations

from locust_kvcache.contract.language import told
from locust_kvcache.contract.round_kinds import CONTROL, planned_kinds
from locust_kvcache.contract.text_width import left, right, width
from locust_kvcache.loadgen.dry_run.expected_times import expectation
from locust_kvcache.loadgen.durations import duration_text
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.workload.budget import RoundBudget, round_budget
from locust_kvcache.workload.plan import Plan

HEADER = ("scenario", "round", "requests", "prompt tokens", "planned cached", "output tokens", "expected")


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(width(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: tuple[str, ...]) -> str:
        return "  ".join(
            [left(row[0], widths[0]), *(right(cell, columns) for cell, columns in zip(row[1:], widths[1:], strict=True))]
        )

    return [f"  {line(row)}".rstrip() for row in rows]


def _counts(budget: RoundBudget) -> tuple[int, ...]:
    return (budget.requests, budget.prompt_tokens, budget.planned_cached_tokens, budget.output_tokens)


def _row(budget: RoundBudget) -> tuple[str, ...]:
    number = f"{budget.round} {budget.kind}" if budget.kind == CONTROL else str(budget.round)
    return (budget.scenario, number, *(f"{n:,}" for n in _counts(budget)), duration_text(budget.duration_s))


def _load_text(options: Options, users: int) -> str:
    if options.replays:
        return f"the trace's own times, {users} users at most in flight"
    if options.study.returns:
        return f"due times by --background, {users} users at most in flight"
    return f"{users} users" if options.arrival == "closed" else f"{options.request_rate_per_s:g} sessions/s, {options.arrival}"


def level_table(options: Options, users: int, budgets: list[RoundBudget], seconds: float | None) -> list[str]:
    sums = (sum(values) for values in zip(*map(_counts, budgets), strict=True))
    total = ("total", "", *(f"{value:,}" for value in sums), duration_text(seconds))
    rows = [HEADER, *map(_row, budgets), total]
    return ["", told(f"{_load_text(options, users)}:"), *_table([tuple(map(told, row)) for row in rows])]


def level_budgets(options: Options, plans: list[Plan], users: int) -> list[RoundBudget]:
    """All rounds of one run."""
    rate = None if options.arrival == "closed" else options.request_rate_per_s
    found = []
    for plan in plans:
        expected = expectation(options, plan.scenario.name)
        kinds = planned_kinds(options.rounds or plan.scenario.rounds, options.arms, options.control)
        found += [round_budget(plan, number, kind, users, rate, expected) for number, kind in enumerate(kinds, 1)]
    return found


def total_s(budgets: list[RoundBudget], pause_s: float) -> float | None:
    times = [budget.duration_s for budget in budgets if budget.duration_s is not None]
    return sum(times) + pause_s * (len(budgets) - 1) if len(times) == len(budgets) else None
