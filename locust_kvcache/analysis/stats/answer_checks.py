"""Checks the size of the answers, and marks rounds with unequal output as not comparable.

Labelled records come in, Problems and a reason per scenario go out. `withhold` applies the reasons to a table of effects: nothing else
decides on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.metrics import BY_OUTPUT
from locust_kvcache.analysis.basics.narrow import chosen, group_masks
from locust_kvcache.analysis.basics.problems import Problem

TOLERANCE = 0.05  # of the mean output tokens, and of the planned prompt tokens
LEAST_TOKENS_OFF = 32  # a few tokens of a chat template are no missized prompt
FEW = 0.1  # of a round's answers
NOT_COMPARABLE = "not comparable"


def answer_problems(records: pd.DataFrame, scenarios: Iterable[Mapping[str, Any]] = ()) -> list[Problem]:
    """All that is to be said of the answers' and prompts' sizes, and of buffering. `scenarios` as run.json lists them."""
    by_name = {str(entry.get("name")): entry for entry in scenarios}
    unequal = [
        Problem(
            "warning",
            "unequal_output",
            f"{text} E2E latency, TPOT and throughput of these rounds are not comparable.",
            what_to_do(),
        )
        for text in unequal_output(records).values()
    ]
    return [
        *unequal,
        *_reasoning(records, by_name),
        *_not_as_asked(records, by_name),
        *_missized_prompts(records, by_name),
        *_buffered(records),
        *_end_missing(records),
    ]


def _reasoning(records: pd.DataFrame, by_name: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Where later turns carry the server's answers: how many had output that is not text, which is not sent again."""
    found = []
    for (name,), group in _answers(records, ["scenario"], ["ttft_ms", "ttfvt_ms"]):
        later = int((group["ttft_ms"].notna() & ~(group["ttfvt_ms"] <= group["ttft_ms"])).sum())
        if by_name.get(str(name), {}).get("reply") == "server" and later:
            found.append(
                Problem(
                    "note",
                    "reasoning_not_resent",
                    f"{name}: {later} of {len(group)} answers began with reasoning or tool calls, which later turns do not contain: "
                    "these turns share the prompt before such an answer, but not the answer; the planned hits take that into account.",
                )
            )
    return found


def _answers(records: pd.DataFrame, keys: list[str], columns: list[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """These columns of the answers of each group that has some."""
    for key, places in group_masks(records, keys):
        group = chosen(records, places & records["ok"], columns)
        if len(group):
            yield key, group


def what_to_do() -> str:
    return (
        "All answers must have the requested length: use a server that supports ignore_eos, or set max_tokens below the length "
        "at which answers end."
    )


def unequal_output(records: pd.DataFrame) -> dict[str, str]:
    """Scenario -> which rounds' answers are longer or shorter than those of its first round, by more than TOLERANCE on average.

    Only requests that succeeded in both rounds are looked at. Answers without a token count are compared by their chunks.
    """
    found = {}
    for (scenario,), places in group_masks(records, ["scenario"]):
        mine, off = places & records["ok"], []
        column = "chunks" if (mine & records["output_tokens"].isna()).any() else "output_tokens"
        numbers = sorted(records["round"][mine].unique())
        first = numbers[0] if numbers else 0
        sizes = _sizes(records, mine & records["round"].eq(first), column)
        for number in numbers[1:]:
            other = _sizes(records, mine & records["round"].eq(number), column)
            both = sizes.index.intersection(other.index)
            before, after = sizes.reindex(both).mean(), other.reindex(both).mean()
            if len(both) and abs(after - before) > TOLERANCE * before:
                off.append(f"{after:,.1f} in round {number} against {before:,.1f} in round {first}")
        if off:
            what = "output tokens" if column == "output_tokens" else "chunks of output"
            found[str(scenario)] = f"{scenario}: answers are of unequal length ({what} on average: {'; '.join(off)})."
    return found


def _sizes(records: pd.DataFrame, mine: pd.Series, column: str) -> pd.Series:
    """Of each planned request, where it is known; a mean, if it was sent more than once."""
    table = chosen(records, mine & records[column].notna(), ["request_index", column])
    sizes = table.set_index("request_index")[column]
    return sizes.sort_index() if sizes.index.is_unique else sizes.groupby(level=0).mean()


def withhold(effects: pd.DataFrame, unequal: Mapping[str, str]) -> pd.DataFrame:
    """The effects with a column `withheld`: why a row is not judged. Such a row keeps its figures and loses its verdict."""
    named = effects["scenario"].astype(str)
    mine = named.isin(list(unequal)) & effects["metric"].isin(BY_OUTPUT)
    reasons = named.map(dict(unequal)).astype(object).where(mine, None)
    if not mine.any():
        return effects.assign(withheld=reasons)
    verdict = effects["verdict"].astype(object).mask(mine & effects["verdict"].notna(), NOT_COMPARABLE)
    hidden = {name: effects[name].mask(mine) for name in ("p_value", "p_adjusted") if name in effects}
    return effects.assign(verdict=verdict, withheld=reasons, **hidden)


def _not_as_asked(records: pd.DataFrame, scenarios: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Answers of another length than asked for. Where a scenario lets answers end by themselves, only longer ones are worth a word."""
    problems = []
    for key, answers in _answers(records, ["scenario", "round"], ["planned_output_tokens", "output_tokens"]):
        if (group := answers.dropna()).empty:
            continue
        scenario, number = key
        ends_itself = scenarios.get(str(scenario), {}).get("ignore_eos") is False
        asked, came = group["planned_output_tokens"], group["output_tokens"]
        off = came.gt(asked) if ends_itself else came.ne(asked)
        if off.mean() > FEW:
            text = (
                f"Round {number} of {scenario}: {int(off.sum())} of {len(group)} answers have another number of tokens than asked for "
                f"({came[off].mean():,.1f} came on average, {asked[off].mean():,.1f} were asked for)."
            )
            todo = "The server does not honour ignore_eos or max_tokens: latencies and rates are those of other answers than planned."
            problems.append(Problem("warning", "output_not_as_asked", text, todo))
    return problems


def _missized_prompts(records: pd.DataFrame, scenarios: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Rounds whose prompts the server counted otherwise than planned; a user's own texts are planned by an estimate only."""
    problems = []
    for key, answers in _answers(records, ["scenario", "round"], ["planned_prompt_tokens", "prompt_tokens"]):
        scenario, number = key
        if scenarios.get(str(scenario), {}).get("corpus") or (group := answers.dropna()).empty:
            continue
        planned, counted = group["planned_prompt_tokens"].mean(), group["prompt_tokens"].mean()
        if abs(counted - planned) <= max(TOLERANCE * planned, LEAST_TOKENS_OFF):
            continue
        most = group["prompt_tokens"].max()
        cut = counted < planned and group["prompt_tokens"].eq(most).mean() > 0.5 and most < group["planned_prompt_tokens"].max()
        why = f"prompts seem to be cut to {most:,.0f} tokens" if cut else "it cuts prompts, adds to them, or counts otherwise"
        text = (
            f"Round {number} of {scenario}: the server counted {counted:,.0f} prompt tokens per request, {planned:,.0f} were planned "
            f"({counted / planned:.0%}): {why}."
        )
        todo = "Check the server's context length (Ollama: num_ctx), and that /tokenize counts as the model does."
        problems.append(Problem("warning", "prompt_tokens_off", text, todo))
    return problems


def buffered_rounds(records: pd.DataFrame) -> dict[tuple[str, int], tuple[int, int]]:
    """By scenario and round: answers that were buffered on their way, where they are more than a few, and all answers."""
    return {
        (str(scenario), int(number)): (count, len(group))
        for (scenario, number), group in _answers(records, ["scenario", "round"], ["buffered"])
        if (count := int(group["buffered"].eq(1).sum())) > FEW * len(group)
    }


def _buffered(records: pd.DataFrame) -> list[Problem]:
    problems = []
    for (scenario, number), (count, answers) in buffered_rounds(records).items():
        text = (
            f"Round {number} of {scenario}: {count} of {answers} answers were buffered on their way: they "
            "came all at once, or in batches. Their TTFT includes the decode time of the tokens that were held back; they have no TPOT "
            "and no ITL."
        )
        todo = "Is there a proxy (nginx: proxy_buffering off, or X-Accel-Buffering: no)? Or a server that does not stream?"
        problems.append(Problem("warning", "buffered", text, todo))
    return problems


def _end_missing(records: pd.DataFrame) -> list[Problem]:
    """Answers that are whole by their [DONE] alone."""
    if not (count := int((records["ok"] & records["end_missing"].eq(1)).sum())):
        return []
    text = (
        f"{count} of {int(records['ok'].sum())} answers ended with [DONE] and without a finish_reason or the end of their body: they "
        "count as whole."
    )
    return [Problem("note", "end_missing", text, "Look at their output tokens, if you doubt it.")]
