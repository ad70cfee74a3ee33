"""Checks token counts in records of older runs, which the load did not check yet.

What cannot be true becomes missing, and a Problem says so. It is never corrected: docs/metrics.md, "Token counts that are rejected".
"""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.mapped import kept_column, release
from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.contract.finish_reasons import GIVEN_UP
from locust_kvcache.contract.usage import LARGEST_COUNT

COUNTS = {"prompt_tokens": "prompt_tokens", "output_tokens": "completion_tokens", "reported_cached_tokens": "cached_tokens"}
UNRELIABLE = 0.01  # of the requests that report cached tokens: from so many impossible ones on, none is believed
MISSIZED = 0.05  # of the planned prompt tokens
SPREAD = 1.25  # the longest planned prompt over the shortest, for a constant count to be impossible
FEWEST = 8  # requests that show a constant
WAY_OUT = "Ask the server's maintainers, or read the servers' own counters (`metrics` in the deployment file)."


def check_counts(records: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """The records with impossible counts removed and answers that the server gave up marked as failed, and what was found."""
    records = _given_up(records)
    records, impossible = _impossible(records)
    records, constant = _constant_prompts(records)
    records, unreliable = _unreliable_cached(records, impossible["reported_cached_tokens"])
    return records, [*_rejected_problems(records, impossible), *constant, *unreliable]


def _given_up(records: pd.DataFrame) -> pd.DataFrame:
    """Records of before called an answer `ok` that the server ended with abort or error."""
    reasons = [reason for reason in records["finish_reason"].dropna().unique() if str(reason).lower() in GIVEN_UP]
    wrong = records["ok"] & records["finish_reason"].isin(reasons)
    if not wrong.any():
        return records
    status = records["status"].astype(object).mask(wrong, "aborted").astype("category")
    error = (
        records["error"].astype(object).mask(wrong, "finish_reason " + records["finish_reason"].astype(str)).astype("category")
    )
    return records.assign(status=status, error=error, ok=records["ok"] & ~wrong)


def _impossible(records: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """The records without counts that contradict what counts can be, and for each column which were rejected (by the load or here)."""
    told = records["usage_rejected"].dropna().astype(str)
    found = {}
    for column in COUNTS:
        value = records[column]
        least = 1 if column == "prompt_tokens" else 0
        found[column] = value.notna() & ~(value.between(least, LARGEST_COUNT) & value.mod(1).eq(0))
        release()
    found["output_tokens"] |= records["output_tokens"].lt(records["chunks"])
    found["reported_cached_tokens"] |= records["reported_cached_tokens"].gt(records["prompt_tokens"])
    cleaned = records.assign(
        **{column: kept_column(records[column].mask(wrong)) for column, wrong in found.items() if wrong.any()}
    )
    return cleaned, {column: wrong | wrong.index.isin(_naming(told, COUNTS[column])) for column, wrong in found.items()}


def _naming(told: pd.Series, name: str) -> pd.Index:
    """Which records were told to have a wrong count of this name."""
    return told.index[told.str.contains(f"{name} is", regex=False)] if len(told) else told.index


def _rejected_problems(records: pd.DataFrame, impossible: dict[str, pd.Series]) -> list[Problem]:
    """One problem for all counts, with an example where the load kept one."""
    counts = {COUNTS[column]: int(wrong.sum()) for column, wrong in impossible.items() if wrong.any()}
    if not counts:
        return []
    listed = ", ".join(f"{name} in {count:,} of {len(records):,} answers" for name, count in counts.items())
    told = records.loc[pd.concat(impossible.values(), axis=1).any(axis=1), "usage_rejected"].dropna()
    example = f" First: {told.iloc[0]}." if len(told) else ""
    text = f"The server's token counts cannot be true: {listed}.{example} Figures from them are missing."
    return [Problem("warning", "usage_rejected", text, WAY_OUT)]


def _constant_prompts(records: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """One count for prompts of different lengths is no count."""
    known = records["ok"] & records["prompt_tokens"].notna() & records["planned_prompt_tokens"].notna()
    both = chosen(records, known, ["prompt_tokens", "planned_prompt_tokens"])
    planned = both["planned_prompt_tokens"]
    if len(both) < FEWEST or both["prompt_tokens"].nunique() > 1 or planned.max() < SPREAD * planned.min():
        return records, []
    text = (
        f"The server counted {both['prompt_tokens'].iloc[0]:,.0f} prompt tokens in each of {len(both)} answers, to prompts of "
        f"{planned.min():,.0f} to {planned.max():,.0f} planned tokens. The count is rejected."
    )
    todo = (
        "It is a constant, or the server cuts its prompts to that length: look at the server's context length (Ollama: num_ctx)."
    )
    return records.assign(prompt_tokens=float("nan")), [Problem("warning", "usage_rejected", text, todo)]


def _unreliable_cached(records: pd.DataFrame, impossible: pd.Series) -> tuple[pd.DataFrame, list[Problem]]:
    """Where some cached tokens are impossible, the others are counted in the same way: possible by chance, and as wrong.

    A prompt count far from the plan beside them is wrong too, as that of servers which count only what was not cached.
    """
    ok = records["ok"] & (records["reported_cached_tokens"].notna() | impossible)
    wrong = records["ok"] & impossible
    if not wrong.sum() or wrong.sum() < UNRELIABLE * ok.sum():
        return records, []
    text = (
        f"{int(wrong.sum())} of {int(ok.sum())} reported cached tokens are impossible, so no cached tokens of this run are used."
    )
    told = (
        records["usage_rejected"].astype(object).mask(records["reported_cached_tokens"].notna(), "cached_tokens is not believed")
    )
    records = records.assign(reported_cached_tokens=float("nan"), usage_rejected=told.astype("category"))
    planned = records["planned_prompt_tokens"]
    off = wrong & (records["prompt_tokens"] - planned).abs().gt(MISSIZED * planned)
    if off.sum() > 0.5 * wrong.sum():
        text += " Its prompt tokens are far from the plan there, and are not used either."
        records = records.assign(prompt_tokens=float("nan"))
    return records, [Problem("warning", "cached_tokens_lie", text, "Hits are known by round only.")]
