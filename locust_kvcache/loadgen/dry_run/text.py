"""Says for --dry-run what a run would send, take, fill and cost.

Nothing is sent, and no server is asked: what only a server knows is assumed and said, or said to be missing.
"""

from __future__ import annotations

import dataclasses

from locust_kvcache.contract.deployment import Deployment, ModelInfo
from locust_kvcache.contract.language import told
from locust_kvcache.contract.tier_capacity import tier_capacities
from locust_kvcache.loadgen.dry_run.budget_table import level_budgets, level_table, total_s
from locust_kvcache.loadgen.dry_run.expected_times import expectation, missing_text
from locust_kvcache.loadgen.dry_run.notes import chunk_notes, corpus_notes, file_notes, length_notes, timed_notes, warm_up_line
from locust_kvcache.loadgen.dry_run.tier_fit import footprint_lines
from locust_kvcache.loadgen.durations import duration_text
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.workload.budget import DEFAULT_BLOCK_TOKENS, cost, dry_plan
from locust_kvcache.workload.footprint import working_set_tokens
from locust_kvcache.workload.retention import retention_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.traces.loading import load_rows
from locust_kvcache.workload.working_set import filling, sweep_sizes


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
        steps = f"--capacity: one step is shown; a search takes about 13 steps, at most {most}, for each of {sides}"
        return [dataclasses.replace(scenario, rounds=1) for scenario in scenarios], [steps]
    return scenarios, []


def dry_run_text(
    options: Options, scenarios: list[Scenario], deployment: Deployment | None, model: ModelInfo | None, users: int
) -> str:
    """All of it, in the language of this process; `deployment` is None where only scenarios are known."""
    kv_bytes = model.kv_bytes_per_token if model else None
    scenarios, notes = studied(options, scenarios, deployment, kv_bytes)
    plans = [dry_plan(scenario, options.seed) for scenario in scenarios]
    levels = options.concurrency or (users,)
    lines: list[str] = [
        told("Dry run: nothing is sent."),
        *map(told, timed_notes(options, scenarios)),
        *map(told, length_notes(options, scenarios)),
        *map(told, notes),
        *map(told, corpus_notes(plans)),
        *map(told, file_notes(plans)),
        *map(told, chunk_notes(plans)),
    ]
    times: list[float | None] = []
    for level in levels:
        budgets = level_budgets(options, plans, level)
        round_s = options.length.round_s(len(budgets))
        timed = [dataclasses.replace(budget, duration_s=round_s) for budget in budgets] if round_s is not None else budgets
        times.append(total_s(timed, options.round_pause_s))
        lines += level_table(options, level, budgets, times[-1])
    known = [time for time in times if time is not None]
    whole_s = sum(known) if len(known) == len(times) else None
    sources = {expectation(options, plan.scenario.name).source for plan in plans} - {""}
    after = ["", f"Duration: {duration_text(whole_s)}" + (f", by the times of {', '.join(sorted(sources))}" if sources else "")]
    after += [] if options.length.is_timed else missing_text(options, plans)
    after += ["", warm_up_line(options, plans, max(levels))]
    after += [f"Repeats: {options.repeat} such runs; the times above are those of one"] if options.repeat > 1 else []
    after += ["", f"KV cache (blocks of {DEFAULT_BLOCK_TOKENS} tokens assumed)"]
    after += footprint_lines(max(map(working_set_tokens, plans)), kv_bytes, deployment.capacity if deployment else {})
    price = deployment.price_per_gpu_hour if deployment else options.study.gpu_hour_price
    after += ["", cost_line(whole_s, deployment.gpus if deployment else None, price)]
    return "\n".join([*lines, *map(told, after)])
