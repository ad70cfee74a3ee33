"""Says for --dry-run what a run would send, take, fill and cost.

Nothing is sent, and no server is asked: what only a server knows is assumed and said, or said to be missing.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from locust_kvcache.contract.deployment import Deployment, ModelInfo
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.round_kinds import CONTROL, planned_kinds
from locust_kvcache.contract.tier_capacity import tier_capacities
from locust_kvcache.loadgen.durations import duration_text
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.workload.budget import DEFAULT_BLOCK_TOKENS, Expectation, RoundBudget, cost, dry_plan, round_budget
from locust_kvcache.workload.chunk_sessions import chunk_reuse
from locust_kvcache.workload.footprint import working_set_tokens
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.retention import retention_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.traces.loading import load_rows
from locust_kvcache.workload.warm_up import AUTO, LEAST_REQUESTS, LIMIT_REQUESTS, LIMIT_S, OFF, WINDOWS, window_sessions
from locust_kvcache.workload.working_set import filling, sweep_sizes

HEADER = ("scenario", "round", "requests", "prompt tokens", "planned cached", "output tokens", "expected")
TIERS = {"gpu_tokens": "GPU", "cpu_gb": "CPU", "store_gb": "store"}


def _mean_ms(rows: list[dict[str, Any]], scenario: str, metric: str, wanted: tuple[tuple[str, str], ...]) -> float | None:
    """The mean of the first (split, group) of `wanted` that the run has."""
    for split, group in wanted:
        for row in rows:
            if (row["split"], row["scenario"], str(row["group"]), row["metric"]) == (split, scenario, group, metric):
                return None if row["mean"] is None else float(row["mean"])
    return None


def expectation_from(path: Path, scenario: str) -> Expectation:
    """A former run's mean times of this scenario; empty where it did not run it."""
    try:
        stats = json.loads(path.read_text(encoding="utf-8"))
        rows, run = stats["distributions"], stats["run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"--expect-from: {path} cannot be read ({error}); expected the stats.json of a former run") from error
    cold, hit = (("evidence", "cold"), ("round", "1")), (("evidence", "hit"), ("round", "2"))
    return Expectation(
        _mean_ms(rows, scenario, "ttft_ms", cold),
        _mean_ms(rows, scenario, "ttft_ms", hit),
        _mean_ms(rows, scenario, "tpot_ms", (("round", "1"),)),
        f"{run.get('run_id')} ({run.get('users')} users)",
    )


def expectation(options: Options, scenario: str) -> Expectation:
    """What --expect-from knows, corrected by what --expect says."""
    study = options.study
    known = expectation_from(study.expect_from, scenario) if study.expect_from else Expectation()
    given = {name: study.expect.get(name, getattr(known, name)) for name in ("cold_ttft_ms", "hit_ttft_ms", "tpot_ms")}
    return Expectation(**given, source=" and ".join(filter(None, [known.source, "--expect" if study.expect else ""])))


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: tuple[str, ...]) -> str:
        return "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])

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


def _level_table(options: Options, users: int, budgets: list[RoundBudget], seconds: float | None) -> list[str]:
    sums = (sum(values) for values in zip(*map(_counts, budgets), strict=True))
    total = ("total", "", *(f"{value:,}" for value in sums), duration_text(seconds))
    return ["", f"{_load_text(options, users)}:", *_table([HEADER, *map(_row, budgets), total])]


def _level(options: Options, plans: list[Plan], users: int) -> list[RoundBudget]:
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


def warm_up_line(options: Options, plans: list[Plan], users: int) -> str:
    """What is sent before each scenario's first round; it is in no table, as it ends by what is seen."""
    if options.warm_up == OFF:
        return "Warm-up: none"
    if options.warm_up != AUTO:
        return f"Warm-up: about {options.warm_up:,} requests before each scenario's first round, not in the table"
    closed = options.arrival == "closed" and not options.replays
    sizes = [
        sum(len(plan.sessions[session].turns) for session in window_sessions(plan, users if closed else None)) for plan in plans
    ]
    return (
        f"Warm-up: before each scenario's first round windows of {max(sizes):,} requests until their TTFT is steady, at least "
        f"{LEAST_REQUESTS} requests, at most about {max(LIMIT_REQUESTS, 2 * WINDOWS * max(sizes)):,} or {LIMIT_S:g} s; not in the table"
    )


def missing_text(options: Options, plans: list[Plan]) -> list[str]:
    """Which times would have to be known for a duration."""
    lines = []
    for plan in {plan.scenario.name: plan for plan in plans}.values():
        expected = expectation(options, plan.scenario.name)
        needed = {"cold_ttft_ms": expected.cold_ttft_ms, "tpot_ms": expected.tpot_ms if plan.scenario.output_tokens > 1 else 0.0}
        absent = [name for name, value in needed.items() if value is None]
        if absent and options.arrival == "closed" and not options.replays:
            lines.append(
                f"  {plan.scenario.name}: the duration is unknown without {' and '.join(absent)}; give --expect "
                f"{' '.join(f'{name}=MS' for name in absent)}, or --expect-from RUN of a run with this scenario"
            )
        elif absent:
            lines.append(
                f"  {plan.scenario.name}: arrivals only; what the last request takes is unknown (--expect, --expect-from)"
            )
        elif expected.hit_ttft_ms is None:
            lines.append(f"  {plan.scenario.name}: hits are reckoned as slow as cold requests (--expect hit_ttft_ms=MS)")
    return lines


def footprint_lines(tokens: int, kv_bytes: int | None, capacity: dict[str, float]) -> list[str]:
    """The largest working set of a scenario against each tier."""
    size = f"{tokens:,} tokens" + (f" x {kv_bytes:,} bytes = {tokens * kv_bytes / 1e9:,.2f} GB" if kv_bytes else "")
    lines = [f"  working set of a round: {size}"]
    if kv_bytes is None:
        lines.append("  bytes are unknown: the model is not in configs/models.yaml, or has no kv_bytes_per_token there")
    for key, tier in TIERS.items():
        if key not in capacity:
            continue
        held, unit = capacity[key], "tokens" if key == "gpu_tokens" else "GB"
        need = tokens if key == "gpu_tokens" else tokens * kv_bytes / 1e9 if kv_bytes else None
        if need is not None:
            verdict = "fits" if need <= held else "DOES NOT FIT"
            lines.append(f"  {tier}: {need / held:.0%} of {held:,.10g} {unit}, {verdict}")
    absent = [tier for key, tier in TIERS.items() if key not in capacity]
    if absent:
        lines.append(
            f"  capacity of {', '.join(absent)}: not given (`capacity` in the deployment file; --preflight-only asks the servers)"
        )
    return lines


def cost_line(seconds: float | None, gpus: int | None, price: float | None) -> str:
    absent = [text for text, value in (("a duration", seconds), ("`gpus` in the deployment file", gpus), ("--gpu-hour-price", price))
              if value is None]  # fmt: skip
    if seconds is None or gpus is None or price is None:
        return f"Cost: unknown without {' and '.join(absent)}"
    return f"Cost: {gpus} GPUs x {seconds / 3600:.3f} h x {price:g} per GPU-hour = {cost(seconds, gpus, price):.2f}"


def studied(
    options: Options, scenarios: list[Scenario], deployment: Deployment | None, kv_bytes: int | None
) -> tuple[list[Scenario], list[str]]:
    """What a study sends: every size of a sweep; of a search one step, as the rest depends on what is seen."""
    study = options.study
    if study.sweeps_working_set:
        sizes = study.working_set or sweep_sizes(tier_capacities((), kv_bytes, deployment.capacity if deployment else {}))
        found = [dataclasses.replace(filling(s, size, options.seed)[0], rounds=2) for s in scenarios for size in sizes]
        return found, [f"--working-set: {len(sizes)} sizes from {sizes[0]:,} to {sizes[-1]:,} tokens, two rounds each"]
    if study.returns:
        runs = [retention_scenario(one) for one in study.returns]
        last_s = sum(load_rows(run.trace).due_s[-1] for run in runs if run.trace is not None)
        return runs, [f"--gaps: {len(runs)} runs, by their due times {duration_text(last_s)} in all"]
    if study.capacity:
        most, sides = study.capacity_steps, ", ".join(study.capacity)
        steps = f"--capacity: one step is shown; a search takes about 13, at most {most}, for each of {sides}"
        return [dataclasses.replace(scenario, rounds=1) for scenario in scenarios], [steps]
    return scenarios, []


def corpus_notes(plans: list[Plan]) -> list[str]:
    """What a user's own files hold, and which rows of them are not sent."""
    notes = {}
    for plan in plans:
        corpus, source = plan.corpus, plan.scenario.corpus
        if corpus is None or source is None:
            continue
        turns = sum(len(said.users) for said in corpus.conversations)
        held = f"{len(corpus.conversations):,} conversations, {turns:,} user turns, {corpus.skipped:,} rows skipped"
        if corpus.documents:
            held = f"{len(corpus.documents):,} documents of {len(source.files):,} files"
        notes[plan.scenario.name] = f"{plan.scenario.name}: {held}; prompt tokens are estimates until a server counts them"
    return list(notes.values())


def chunk_notes(plans: list[Plan]) -> list[str]:
    """What a prefix cache cannot find, by design of the scenario."""
    found = {p.scenario.name: chunk_reuse(p.sessions, p.scenario.chunks) for p in plans if p.scenario.chunks is not None}
    return [f"{name}: {reuse.sentence}" for name, reuse in found.items()]


def file_notes(plans: list[Plan]) -> list[str]:
    """How a user's own file was read, and what it cannot tell."""
    scenarios = {plan.scenario.name: plan.scenario for plan in plans}.values()
    doubts = (load_rows(scenario.trace).warning for scenario in scenarios if scenario.trace is not None)
    return [*(note for scenario in scenarios for note in scenario.file_notes), *filter(None, doubts)]


def length_notes(options: Options, scenarios: list[Scenario]) -> list[str]:
    """What --prompt-tokens and --output-tokens made of each scenario."""
    if options.prompt_tokens is None and options.output_tokens is None:
        return []
    return [
        f"{s.name}: prefix {s.prefix_tokens:,}, messages {s.turn_tokens[0]:,} to {s.turn_tokens[1]:,}, answers {s.output_tokens:,} tokens "
        "(--prompt-tokens, --output-tokens)"
        for s in scenarios
    ]


def timed_notes(options: Options, scenarios: list[Scenario]) -> list[str]:
    """How long rounds last that end by the clock."""
    rounds = sum(len(planned_kinds(options.rounds or s.rounds, options.arms, options.control)) for s in scenarios)
    round_s = options.length.round_s(rounds)
    if round_s is None:
        return []
    return [f"Timed rounds of {duration_text(round_s)}: the table has one pass of the plan, which is sent again and again"]


def dry_run_text(
    options: Options, scenarios: list[Scenario], deployment: Deployment | None, model: ModelInfo | None, users: int
) -> str:
    """All of it; `deployment` is None where only scenarios are known."""
    kv_bytes = model.kv_bytes_per_token if model else None
    scenarios, notes = studied(options, scenarios, deployment, kv_bytes)
    plans = [dry_plan(scenario, options.seed) for scenario in scenarios]
    levels = options.concurrency or (users,)
    lines: list[str] = [
        "Dry run: nothing is sent.",
        *timed_notes(options, scenarios),
        *length_notes(options, scenarios),
        *notes,
        *corpus_notes(plans),
        *file_notes(plans),
        *chunk_notes(plans),
    ]
    times: list[float | None] = []
    for level in levels:
        budgets = _level(options, plans, level)
        round_s = options.length.round_s(len(budgets))
        timed = [dataclasses.replace(budget, duration_s=round_s) for budget in budgets] if round_s is not None else budgets
        times.append(total_s(timed, options.round_pause_s))
        lines += _level_table(options, level, budgets, times[-1])
    known = [time for time in times if time is not None]
    whole_s = sum(known) if len(known) == len(times) else None
    sources = {expectation(options, plan.scenario.name).source for plan in plans} - {""}
    lines += ["", f"Duration: {duration_text(whole_s)}" + (f", by the times of {', '.join(sorted(sources))}" if sources else "")]
    lines += [] if options.length.is_timed else missing_text(options, plans)
    lines += ["", warm_up_line(options, plans, max(levels))]
    lines += [f"Repeats: {options.repeat} such runs; the times above are those of one"] if options.repeat > 1 else []
    lines += ["", f"KV cache (blocks of {DEFAULT_BLOCK_TOKENS} tokens assumed)"]
    lines += footprint_lines(max(map(working_set_tokens, plans)), kv_bytes, deployment.capacity if deployment else {})
    price = deployment.price_per_gpu_hour if deployment else options.study.gpu_hour_price
    lines += ["", cost_line(whole_s, deployment.gpus if deployment else None, price)]
    return "\n".join(lines)
