"""Compares two to eight runs: conditions first, then effects against the first run, then targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs import cache_states, conditions, pair_states
from locust_kvcache.analysis.across_runs.kept_rounds import with_rounds
from locust_kvcache.analysis.across_runs.run_validity import validity_problems
from locust_kvcache.analysis.basics.metrics import BY_OUTPUT
from locust_kvcache.analysis.basics.problems import Problem, sorted_problems
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.stats import answer_checks, comparison, pairing, targets
from locust_kvcache.analysis.tables.claim_words import arm_words
from locust_kvcache.contract.round_kinds import CONTROL
from locust_kvcache.contract.targets import PD_HIT

MAX_RUNS = 8
ONE_RUN = "One run of each: the figures describe these runs; other runs of the same deployments may differ."
HOW_MANY = "For a verdict use `locust-kvcache repeats RUN ...` with 3 or more runs of each deployment (2 give a wide interval)."
NOT_COMPARABLE = {
    "verdict": targets.NOT_JUDGED,
    "value": None,
    "low": None,
    "high": None,
    "certain": False,
    "why": "not comparable",
}


KIND_NAMES = {"non_disagg": "single", "pd_disagg": "PD"}


@dataclass(frozen=True)
class RunComparison:
    """`effects` has one row per contender, window, scenario, metric and statistic; baseline is the first run.

    `windows`: cold and hit by round; of runs with several cache states (--arms) cold and each state that all of them have.
    """

    runs: tuple[Analysis, ...]
    names: tuple[str, ...]
    conditions: tuple[conditions.Condition, ...]
    effects: pd.DataFrame
    targets: tuple[dict[str, Any], ...]
    problems: tuple[Problem, ...]
    windows: tuple[str, ...] = cache_states.COLD_AND_HIT

    @property
    def comparable(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)


def compare_runs(runs: list[Analysis], accepted: frozenset[str] = frozenset()) -> RunComparison:
    """All runs against the first; what is not comparable keeps its numbers and loses its verdicts."""
    found = conditions.compare_conditions([run.info for run in runs], [run.requests for run in runs], accepted)
    names = run_names(runs)
    problems = conditions.condition_problems(found)
    problems += validity_problems({name: run.stats for name, run in zip(names, runs, strict=True)})
    runs, cut = (runs, []) if cache_states.states_after_cold(runs) else cut_to_common_rounds(runs)  # states are compared by name
    windows = cache_states.windows_of(runs)
    lengths_differ = "output_tokens" in accepted
    effects = _effects(runs, names, windows, lengths_differ)
    told = tuple(_targets(runs, names, not problems, lengths_differ))
    warnings = [
        Problem(row["severity"], row["code"], f"{name}: {row['text']}", row["what_to_do"])
        for run, name in zip(runs, names, strict=True)
        for row in run.stats["problems"]
        if row["severity"] == "warning"
    ]
    noted = [
        *problems,
        *conditions.differing_problems(found),
        *cache_states.unshared_problems(runs),
        *([] if problems else _unequal_answers(effects)),
        *warnings,
        *cut,
        Problem("note", "one_run", ONE_RUN, HOW_MANY),
    ]
    return RunComparison(tuple(runs), tuple(names), tuple(found), effects, told, tuple(sorted_problems(noted)), windows)


def cut_to_common_rounds(runs: list[Analysis]) -> tuple[list[Analysis], list[Problem]]:
    """Runs with the rounds that all of them have, so that every figure of the comparison is of the same rounds; and a note if that cut."""
    rounds = [_round_keys(run) for run in runs]
    common = set.intersection(*rounds)
    names = set.intersection(*({scenario for scenario, _ in mine} for mine in rounds))
    if all({key for key in mine if key[0] in names} == common for mine in rounds):
        return runs, []
    kept = sorted({number for _, number in common})
    text = f"The runs have different numbers of rounds: rounds {', '.join(map(str, kept))}, which all of them have, are compared."
    cut = [run if mine <= common else with_rounds(run, common) for run, mine in zip(runs, rounds, strict=True)]
    return cut, [Problem("note", "rounds_cut", text, "Give the runs the same --rounds.")]


def _round_keys(run: Analysis) -> set[tuple[str, int]]:
    return {(str(row["scenario"]), int(row["round"])) for row in run.stats["rounds"]}


def run_names(runs: list[Analysis]) -> list[str]:
    """PD and single where one run of each is compared; else the deployment's name where that tells the runs apart, else the run's."""
    kinds = [str(run.info.deployment.kind) for run in runs]
    if sorted(kinds) == sorted(KIND_NAMES):
        return [KIND_NAMES[kind] for kind in kinds]
    deployments = [str(run.info.deployment.name) for run in runs]
    if len(set(deployments)) == len(runs):
        return deployments
    ids = [run.run_id for run in runs]
    return ids if len(set(ids)) == len(ids) else [f"{name} ({i})" for i, name in enumerate(ids, 1)]


def _effects(runs: list[Analysis], names: list[str], windows: Sequence[str], lengths_differ: bool) -> pd.DataFrame:
    """Every contender against the first run: what differs between these two runs. One run of each has no interval and no verdict.

    `lengths_differ`: answers of other lengths were accepted (--accept).
    """
    base, tables = runs[0], []
    for run, name in zip(runs[1:], names[1:], strict=True):
        closed = all(r.info.arrival.closed for r in (base, run))
        for window in windows:
            pairs = _pairs(base, run, window)
            latencies = comparison.effects(pairs)
            rounds = (_rounds(base, window), _rounds(run, window))
            parts = [
                latencies,
                comparison.rate_effects(*rounds, latencies, closed),
                _per_gpu(runs[0], run, rounds, latencies, closed),
            ]
            parts = [part if lengths_differ else _of_equal_answers(pairs, part) for part in parts if len(part)]
            tables += [part.assign(contender_run=name, window=window) for part in parts]
    empty = pd.DataFrame(columns=[*comparison.COLUMNS, "contender_run", "window"])
    return pd.concat(tables, ignore_index=True) if tables else empty


def _of_equal_answers(pairs: pairing.Pairs, effects: pd.DataFrame) -> pd.DataFrame:
    """`effects` with `withheld`: why times of whole answers, and rates, are not compared where one run's answers are longer."""
    unequal = {}
    for one in pairs.matched:
        before, after = (side.finite("output_tokens").values for side in (one.baseline, one.contender))
        if len(before) and len(after) and abs(after.mean() - before.mean()) > answer_checks.TOLERANCE * before.mean():
            unequal[one.scenario] = f"answers of {after.mean():,.1f} against {before.mean():,.1f} output tokens on average"
    forbidden = effects["metric"].str.removesuffix("_per_gpu").isin(BY_OUTPUT)
    keys = zip(effects["scenario"].astype(str), forbidden, strict=True)
    return effects.assign(withheld=[unequal.get(name, "") if of_answers else "" for name, of_answers in keys])


def _unequal_answers(effects: pd.DataFrame) -> list[Problem]:
    """A warning for each scenario and window in which a run's answers are longer than the baseline's."""
    withheld = effects[effects["withheld"].astype(bool)] if "withheld" in effects else effects.iloc[:0]
    keys = withheld.reindex(columns=["contender_run", "scenario", "window", "withheld"]).drop_duplicates()
    return [
        Problem(
            "warning",
            "unequal_answers",
            f"{name}, {scenario}, {arm_words(window)}: {why}. E2E latency, TPOT and throughput are not compared there.",
            answer_checks.what_to_do(),
        )
        for name, scenario, window, why in keys.itertuples(index=False)
    ]


def _pairs(base: Analysis, run: Analysis, window: str) -> pairing.Pairs:
    """The same planned request of both runs, in the rounds of a window; of a cache state in the round that each run played it in."""
    if window in cache_states.COLD_AND_HIT:
        return pairing.pair_runs(base.requests, run.requests, ONE_RUN, window)
    numbers = [cache_states.rounds_of(one)[window] for one in (base, run)]
    return pairing.pair_rounds_of_runs(base.requests, numbers[0], run.requests, numbers[1], ONE_RUN)


def _rounds(run: Analysis, window: str) -> pd.DataFrame:
    rounds = run.table("rounds").reindex(columns=["scenario", "round", "kind", "wall_s", *comparison.RATES])
    if window == "cold":
        return rounds[rounds["round"].eq(1)]
    if window == "hit":
        return rounds[rounds["round"].gt(1) & rounds["kind"].ne(CONTROL)]
    return rounds[rounds["round"].eq(cache_states.rounds_of(run)[window])]


def gpus(run: Analysis) -> int | None:
    return run.info.deployment.gpus


def _per_gpu(
    base: Analysis, run: Analysis, rounds: tuple[pd.DataFrame, pd.DataFrame], latencies: pd.DataFrame, closed: bool
) -> pd.DataFrame:
    """Throughput per GPU where both counts are known and differ: more GPUs must not pass for a better deployment."""
    counts = (gpus(base), gpus(run))
    if counts[0] is None or counts[1] is None or counts[0] == counts[1]:
        return pd.DataFrame(columns=comparison.COLUMNS)
    before, after = (_divided(table, count) for table, count in zip(rounds, counts, strict=True))
    table = comparison.rate_effects(before, after, latencies, closed)
    return table[table["metric"].eq("requests_per_s")].assign(metric="requests_per_s_per_gpu")


def _divided(rounds: pd.DataFrame, count: int | None) -> pd.DataFrame:
    return rounds.assign(**{name: rounds[name].astype("float64") / (count or 1) for name in comparison.RATES})


def _targets(runs: list[Analysis], names: list[str], comparable: bool, lengths_differ: bool) -> list[dict[str, Any]]:
    """Each run's own targets, then PD against single where exactly these two kinds stand side by side and are comparable."""
    kinds = [run.info.deployment.kind for run in runs]
    pd_against_single = len(runs) == 2 and sorted(map(str, kinds)) == ["non_disagg", "pd_disagg"]
    judged = []
    for run, name, kind in zip(runs, names, kinds, strict=True):
        if not pd_against_single or kind == "pd_disagg":  # the single server is the yardstick there, not the candidate
            judged += [{**row, "run": name} for row in run.stats["targets"] if row["target"] in targets.RUN_TARGETS]
    if not pd_against_single:
        return judged
    single, pd_run = runs[kinds.index("non_disagg")], runs[kinds.index("pd_disagg")]
    pair_name = f"{names[kinds.index('pd_disagg')]} / {names[kinds.index('non_disagg')]}"
    scenarios = list(dict.fromkeys(row["scenario"] for row in pd_run.stats["rounds"]))

    def effects_of(target: str, window: str) -> pd.DataFrame:
        pairs = _pairs_of(target, single, pd_run, window)
        found = comparison.effects(pairs)
        return found if lengths_differ else _of_equal_answers(pairs, found)

    across = pair_states.judged(
        pd_run.info.targets,
        [single],
        [pd_run],
        scenarios,
        effects_of,
    )
    if not comparable:
        across = [{**row, **NOT_COMPARABLE} for row in across]
    return judged + [{**row, "run": pair_name} for row in across]


def _pairs_of(target: str, single: Analysis, pd_run: Analysis, window: str) -> pairing.Pairs:
    """PD beside the single server in one state; of the target on hits, beside the prompts that the single server computes."""
    if target != PD_HIT:
        return _pairs(single, pd_run, window)
    if window in cache_states.COLD_AND_HIT:
        return pairing.pair_hit_with_cold(single.requests, pd_run.requests, ONE_RUN)
    return pairing.pair_rounds_of_runs(single.requests, 1, pd_run.requests, cache_states.rounds_of(pd_run)[window], ONE_RUN)
