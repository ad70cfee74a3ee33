"""Says beside the tables of a dry run how its rounds are made: warm-up, timed rounds, lengths, files of the user, chunks."""

from __future__ import annotations

from locust_kvcache.contract.round_kinds import planned_kinds
from locust_kvcache.loadgen.durations import duration_text
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.workload.chunk_sessions import chunk_reuse
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.traces.loading import load_rows
from locust_kvcache.workload.warm_up import AUTO, LEAST_REQUESTS, LIMIT_REQUESTS, LIMIT_S, OFF, WINDOWS, window_sessions


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
