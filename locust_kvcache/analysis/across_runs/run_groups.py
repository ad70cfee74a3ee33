"""Groups runs by deployment, decides which comparison they allow, and judges targets of repeated runs.

Between deployments the run is the observation. With several runs of each there are intervals and verdicts over runs (run_spread.py);
with one run of each the comparison describes these runs (run_comparison.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs import conditions, pair_states, repeated_targets, run_spread
from locust_kvcache.analysis.cache.arm_effects import arms_of
from locust_kvcache.analysis.pipeline import Analysis, open_run
from locust_kvcache.analysis.reading.memory_need import check_all_fit
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.targets import PD_HIT

RUNS_FOR_A_VERDICT = 3  # of each deployment; two give an interval that covers, and is seldom narrow enough to say anything
LEAST_RUNS = 2


def opened(paths: Sequence[Path]) -> list[Analysis]:
    """The runs of a comparison, read one after the other."""
    check_all_fit(paths)
    runs: list[Analysis] = []
    for path in paths:
        runs.append(open_run(path))
        if are_repeated(grouped(runs)):
            runs = [repeated_run(run) for run in runs]
    return runs


def repeated_run(run: Analysis) -> Analysis:
    """The run with those columns of its requests that repeated runs need; the files of the others (basics/mapped.py) are given back."""
    return replace(run, requests=run.requests[conditions.OF_REQUESTS])


def grouped(runs: Sequence[Analysis]) -> dict[str, list[Analysis]]:
    """The runs of each deployment, in the order in which they are given."""
    groups: dict[str, list[Analysis]] = {}
    for run in runs:
        groups.setdefault(run_spread.deployment_of(run), []).append(run)
    return groups


def are_repeated(groups: dict[str, list[Analysis]]) -> bool:
    """Whether runs are repeated: two or more deployments of which one has several, or three or more runs of one."""
    most = max(len(runs) for runs in groups.values())
    return most >= LEAST_RUNS if len(groups) > 1 else most >= RUNS_FOR_A_VERDICT


def check_gate(groups: dict[str, list[Analysis]], single_runs_accepted: bool) -> None:
    """A gate between deployments takes repeated runs of each, unless the caller says that single runs have to do."""
    few = [name for name, runs in groups.items() if len(runs) < LEAST_RUNS]
    few = few if len(groups) > 1 else list(groups) if not are_repeated(groups) else []
    if few and not single_runs_accepted:
        raise BadInput(
            f"--gate: there are fewer than {LEAST_RUNS} runs of {', '.join(few)}, and one run does not tell how another would differ; "
            f"give {RUNS_FOR_A_VERDICT} or more runs of each deployment, or --accept-single-runs"
        )


def check_arms(runs: Sequence[Analysis]) -> None:
    """BadInput where a round was one cache state in one run and another in the next: a mean over them is the figure of neither."""
    played: dict[int, tuple[str, str]] = {}
    for run in runs:
        for number_, arm in arms_of(run.info).items():
            first, of_run = played.setdefault(number_, (arm, run.run_id))
            if arm != first:
                raise BadInput(
                    f"round {number_} is {first} in {of_run} and {arm} in {run.run_id}: a mean over them is of neither; expected the same "
                    "--arms in the same order in all runs"
                )


def judge_repeated(groups: dict[str, list[Analysis]], values: pd.DataFrame) -> list[dict[str, Any]]:
    """Each deployment's own targets as each of its runs judges them, and PD against the single server; intervals over runs."""
    kinds = {name: runs[0].info.deployment.kind for name, runs in groups.items()}
    pair = sorted(map(str, kinds.values())) == ["non_disagg", "pd_disagg"]
    judged: list[dict[str, Any]] = []
    for name, runs in groups.items():
        if not pair or kinds[name] == "pd_disagg":  # the single server is the yardstick there, not the candidate
            judged += [{**row, "run": name} for row in repeated_targets.judged(runs)]
    if pair:
        single, pd_pair = (next(name for name, kind in kinds.items() if kind == wanted) for wanted in ("non_disagg", "pd_disagg"))
        wanted_targets = groups[pd_pair][0].info.targets
        across = pair_states.judged(
            wanted_targets,
            groups[single],
            groups[pd_pair],
            list(values["scenario"].unique()),
            lambda target, window: _against_single(target, values, groups[single], groups[pd_pair], window),
        )
        judged += [{**row, "run": f"{pd_pair} / {single}"} for row in across]
    return judged


def _against_single(
    target: str, values: pd.DataFrame, single: Sequence[Analysis], pd_runs: Sequence[Analysis], window: str
) -> pd.DataFrame:
    """Each run's mean in one state; of the target on hits, PD's beside the single server's of round 1."""
    hits = target == PD_HIT
    mine = values[values["metric"].eq("ttft_ms" if hits else "tpot_ms")]
    wanted = [
        (run.run_id, *key)
        for runs, of_state in ((single, "cold" if hits else window), (pd_runs, window))
        for run in runs
        for key in pair_states.rounds_of(run, of_state)
    ]
    return run_spread.between(_means(mine[_those(mine, wanted)]), run_spread.deployment_of(single[0]))


def _those(values: pd.DataFrame, rounds: Sequence[tuple[str, str, int]]) -> pd.Series:
    """The values of these runs, scenarios and rounds."""
    wanted = set(rounds)
    return pd.Series([key in wanted for key in zip(values["run"], values["scenario"], values["round"], strict=True)],
                     index=values.index, dtype=bool)  # fmt: skip


def _means(values: pd.DataFrame) -> pd.DataFrame:
    means: pd.DataFrame = values.groupby(["deployment", "scenario", "metric", "run"], as_index=False)[["value"]].mean()
    return means.assign(round=0)
