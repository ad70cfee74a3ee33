"""Compares the conditions of two to eight runs: equal ones, different ones, and differences that prevent a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.number_text import DASH, in_words, whole
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.contract.errors import BadInput

SAME, DIFFERS, FORBIDS = "same", "differs", "differs: not comparable"
TOKEN_TOLERANCE = 0.05
TOKEN_COUNTS = (("prompt_tokens", "prompt tokens per request"), ("output_tokens", "output tokens per request"))
OF_REQUESTS = ["ok", *(column for column, _ in TOKEN_COUNTS)]  # columns that are read here
# path in run.json -> (label, whether a difference forbids the comparison)
CONDITIONS: dict[str, tuple[str, bool]] = {
    "deployment.name": ("deployment", False),
    "deployment.kind": ("kind of deployment", False),
    "deployment.gpus": ("GPUs", False),
    "model": ("model", True),
    "scenarios": ("plan: scenarios", True),
    "seed": ("plan: seed", True),
    "rounds_planned": ("rounds", True),
    "users": ("load: users", True),
    "arrival": ("load: arrival", True),
    "spawn_rate": ("load: spawn rate", False),
    "workers": ("workers", False),
    "server.version": ("server version", False),
    "server.block_size_tokens": ("block size, tokens", False),
    "server.api": ("API", False),
    "versions": ("software of the load", False),
}


@dataclass(frozen=True)
class Condition:
    name: str
    values: tuple[str, ...]
    state: str


def accepted_conditions(text: str) -> frozenset[str]:
    """What --accept names, as the last parts of paths in run.json: the words that the page prints (`load: users`), or their last word
    (`users`). BadInput for a word that names no condition which forbids a comparison."""
    known = {}
    forbidding = [(path.split(".")[-1], label) for path, (label, forbids) in CONDITIONS.items() if forbids]
    for key, label in [*forbidding, *TOKEN_COUNTS]:
        known.update(dict.fromkeys((key, label.lower(), label.lower().split(": ")[-1]), key))
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word.lower() not in known]:
        allowed = ", ".join(label for _, label in [*forbidding, *TOKEN_COUNTS])
        raise BadInput(f"--accept: {unknown[0]!r} is not a condition that prevents a comparison; allowed: {allowed}")
    return frozenset(known[word.lower()] for word in words)


def walk(value: Any, path: str) -> Any:
    """The entry at a dotted path, None where the way ends."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def compare_conditions(runs: list[RunInfo], requests: list[pd.DataFrame], accepted: frozenset[str]) -> list[Condition]:
    """Each condition with its value per run (run.json), then the token counts as measured. `accepted` names allowed differences."""
    found = []
    for path, (label, forbids) in CONDITIONS.items():
        values = [walk(run.raw, path) for run in runs]
        same = all(value == values[0] for value in values)
        state = SAME if same else FORBIDS if forbids and path.split(".")[-1] not in accepted else DIFFERS
        shown = _short(path, values, same)
        found.append(Condition(label, tuple(shown), state))
    return [*found, *_token_counts(requests, accepted)]


def _short(path: str, values: list[Any], same: bool) -> list[str]:
    if path == "scenarios":
        names = [", ".join(str(entry.get("name")) for entry in value or []) for value in values]
        return names if same or len(set(names)) > 1 else [_differing(value, values) for value in values]
    return [in_words(value) for value in values]


def _differing(scenarios: list[dict[str, Any]], runs: list[list[dict[str, Any]]]) -> str:
    """Only the keys in which equally named scenarios differ between the runs, each with this run's value."""
    parts = []
    for place, mine in enumerate(scenarios):
        same_place = [run[place] for run in runs if place < len(run)]
        keys = list(dict.fromkeys(key for entry in same_place for key in entry))
        changed = {key: mine.get(key) for key in keys if any(entry.get(key) != mine.get(key) for entry in same_place)}
        parts.append(f"{mine.get('name')}{': ' + in_words(changed) if changed else ''}")
    return ", ".join(parts)


def _token_counts(requests: list[pd.DataFrame], accepted: frozenset[str]) -> list[Condition]:
    """Mean prompt and output tokens per successful request; more than 5 % apart is other work."""
    found = []
    for column, label in TOKEN_COUNTS:
        means = [float(frame.loc[frame["ok"], column].mean()) if len(frame) else float("nan") for frame in requests]
        known = [mean for mean in means if mean == mean]
        spread = max(known) / min(known) - 1 if known and min(known) > 0 else 0.0
        state = SAME if spread == 0 else DIFFERS if spread <= TOKEN_TOLERANCE or column in accepted else FORBIDS
        found.append(Condition(label, tuple(whole(mean) for mean in means), state))
    return found


NAMES_ONLY = frozenset({"deployment", "kind of deployment"})  # what is compared, not what weakens it
LONGEST = 60  # letters of a value


def differing_problems(conditions: list[Condition]) -> list[Problem]:
    """One warning with the values of everything that differs beside the deployments themselves."""
    differing = [
        f"{condition.name} {' against '.join(_said(value) for value in condition.values)}"
        for condition in conditions
        if condition.state == DIFFERS and condition.name not in NAMES_ONLY and len(set(condition.values)) > 1
    ]
    if not differing:
        return []
    text = f"The runs differ in more than the deployment: {'; '.join(differing)}."
    return [
        Problem(
            "warning", "conditions_differ", text, "A difference between the runs may come from these. Compare throughput per GPU."
        )
    ]


def _said(value: str) -> str:
    return "not known" if value == DASH else value[:LONGEST]


def condition_problems(conditions: list[Condition]) -> list[Problem]:
    """An error per condition that forbids the comparison."""
    return [_forbidden(condition, condition.name) for condition in conditions if condition.state == FORBIDS]


def _forbidden(condition: Condition, typed: str) -> Problem:
    """`typed`: the name as --accept takes it, which the catalogue never translates."""
    return Problem("error", "not_comparable", f"Not comparable: {condition.name} differs ({' / '.join(condition.values)[:300]}).",
                   f"Run both with the same value, or accept the difference: --accept \"{typed}\".")  # fmt: skip
