"""Shows how long the caches keep a prompt, in the runs of --gaps (`locust-kvcache retention RUN ...`)."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from locust_kvcache.analysis.across_runs.retention import HIT_SHARE, GapRun, Limit, find_limit, gap_run, verdict
from locust_kvcache.analysis.basics.number_text import number, percent, plural, whole
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.analysis.report.retention_tables import (
    BLURRED,
    FOREIGN,
    VERDICTS,
    gap_table,
    gap_text,
    hit_text,
    limit_table,
    limit_text,
)
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.stats.intervals import share_interval
from locust_kvcache.analysis.tables.claim_words import arm_words
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.language import add_language, use_language

BLUR = 0.05  # share of returns on the wrong side that is said
FOREIGN_SHARE = 0.05  # of the returning tokens, counted beyond what was reported, that is said
Limits = list[tuple[float, Limit | None, Limit | None]]  # new tokens/s, limit in tokens, limit in seconds


def limits_of(runs: Sequence[GapRun]) -> Limits:
    found = []
    for rate in sorted({run.returns.tokens_per_s for run in runs}):
        mine = pd.concat([run.returned for run in runs if run.returns.tokens_per_s == rate])
        tokens, seconds = (find_limit(mine[value].tolist(), mine["share"].tolist()) for value in ("tokens", "gap_s"))
        found.append((rate, tokens, seconds))
    return found


def chart_points(runs: Sequence[GapRun], value: str) -> pd.DataFrame:
    """Columns label, x, y, low, high (%): a point per run; of the GPU cache alone, where tiers lie below it, the share of the tokens."""
    rows = []
    for run in runs:
        shares = run.returned["share"].dropna()
        if len(shares):
            hits = int((shares >= HIT_SHARE).sum())
            low, high = share_interval(hits, len(shares))
            x = float(run.returned.loc[shares.index, value].median())
            rows.append((f"{whole(run.returns.tokens_per_s)} new tokens/s", x, 100 * hits / len(shares), 100 * low, 100 * high))
    if any((run.all_share or 0.0) > (run.gpu_share or 0.0) + 0.01 for run in runs):
        nothing = float("nan")
        rows += [
            (
                f"{whole(run.returns.tokens_per_s)}: GPU cache alone",
                float(run.returned[value].median()),
                100 * run.gpu_share,
                nothing,
                nothing,
            )
            for run in runs
            if run.gpu_share is not None and len(run.returned)
        ]
    return pd.DataFrame(rows, columns=["label", "x", "y", "low", "high"])


def charts(runs: Sequence[GapRun], limits: Limits) -> list[Chart]:
    """Against tokens with what the tiers hold, against time with TTLs and leases; none where nothing was reported."""
    found = []
    marks = {"tokens": dict(runs[0].capacities_tokens), "gap_s": dict(runs[0].leases_s)}
    names = {"tokens": "different tokens sent since", "gap_s": "time since the answer (s)"}
    of = {"tokens": [(rate, tokens) for rate, tokens, _ in limits], "gap_s": [(rate, seconds) for rate, _, seconds in limits]}
    for value, unit in (("tokens", "tokens"), ("gap_s", "s")):
        points = chart_points(runs, value)
        if points.empty:
            continue
        title = "Hits end after " + "; ".join(
            f"{limit_text(limit, unit)} at {whole(rate)} new tokens/s" for rate, limit in of[value]
        )
        said = "; ".join(f"{whole(run.returns.tokens_per_s)} tokens/s, {number(run.returned['gap_s'].median())} s: {hit_text(run)}"
                         for run in runs if len(run.returned))  # fmt: skip
        lines = [
            (f"{arm_words(name)}: capacity" if value == "tokens" else f"{name}: {number(at)} s", float(at))
            for name, at in marks[value].items()
        ]
        drawing = functools.partial(study_drawing.draw_retention, points=points, x_name=names[value], lines=lines)
        found.append(draw(f"retention-{unit}", title, said, drawing))
    return found


def lead(limits: Limits, found: str) -> str:
    told = "; ".join(_end_text(rate, tokens, seconds) for rate, tokens, seconds in limits)
    return f"{told[0].upper()}{told[1:]}. {VERDICTS[found]}."


def _end_text(rate: float, tokens: Limit | None, seconds: Limit | None) -> str:
    """At 20 new tokens/s hits end after 12.3 s [11.8, 12.9], ...; or that no gap was long enough."""
    if (
        seconds is None
        or tokens is None
        or any(one.value is not None or one.low is None or one.high is not None for one in (seconds, tokens))
    ):
        return f"at {whole(rate)} new tokens/s hits end after {limit_text(seconds, 's')}, {limit_text(tokens, 'tokens')}"
    held_s, held_tokens = number(seconds.low), number(tokens.low)
    return (
        f"at {whole(rate)} new tokens/s prompts were still hit {held_s} s and {held_tokens} tokens later, and no longer gap was played "
        "that shows where hits end"
    )


def counts_of_others(run: GapRun) -> bool:
    """Whether the servers counted more cached tokens than the answers of this run reported."""
    return run.all_share is not None and run.reported_share is not None and run.all_share > run.reported_share + FOREIGN_SHARE


def foreign_text(run: GapRun) -> str:
    counted, reported = percent(run.all_share), percent(run.reported_share)
    return FOREIGN.format(gap=gap_text(run), rate=whole(run.returns.tokens_per_s), counted=counted, reported=reported)


def own_trust(runs: Sequence[GapRun], limits: Limits) -> list[Said]:
    """What weakens the answer of this study."""
    least = min(len(run.returned) for run in runs)
    texts = [
        f"One run of each gap and pressure, with {least} returns or more: intervals (95 %) cover these returns, not other runs."
    ]
    wrong, count = sum(row[1].against for row in limits if row[1]), sum(row[1].count for row in limits if row[1])
    if wrong > BLUR * count:
        texts.append(BLURRED.format(wrong=wrong, count=count) + ".")
    if not count:
        texts.append("The server reports no cached tokens, so only its counters show the hits.")
    texts += [foreign_text(run) for run in runs if counts_of_others(run)]
    if left_out := sum(run.left_out for run in runs):
        texts.append(f"{plural(left_out, 'return')} left out: failed, or sent before the first answer had ended.")
    return [Said(text, True) for text in texts]


def retention_page(folders: Sequence[Path]) -> Page:
    runs = sorted((gap_run(folder) for folder in folders), key=lambda run: (run.returns.tokens_per_s, run.returns.gap_low_s))
    limits = limits_of(runs)
    drawn = charts(runs, limits)
    ends, gaps = limit_table(limits, runs), gap_table(runs)
    info = runs[0].info
    found = verdict([row[1] for row in limits], [row[2] for row in limits])
    return Page(
        title=f"Retention: how long the caches keep a prompt, {info.model} on {info.deployment.name}",
        subtitle=f"{plural(len(runs), 'run')}, {plural(len(limits), 'pressure')}, prompts of {whole(runs[0].returns.prompt_tokens)} tokens",
        lead=lead(limits, found),
        details=(),
        answer=(),
        problems=(),
        sections=(section("By gap and pressure", [*drawn[1:], ends, gaps], is_open=True),),
        incomplete=not all(run.evidence["complete"] for run in runs),
        chart=drawn[0] if drawn else None,
        trust=common_trust([run.evidence for run in runs], own=own_trust(runs, limits), caches=False, control=False),
        short=(ends, gaps),
    )


def main() -> int:
    parser = command_parser("retention", "Shows how long the caches keep a prompt, in the runs of --gaps.", ["results/NAME_gap*"])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of the runs of a retention study")
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: NAME_retention beside the runs)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    base = re.sub(r"_gap\d+$", "", args.runs[0].resolve().name)
    publish(retention_page(args.runs), args.output_dir or folder_beside(args.runs[0], f"{base}_retention"), args.png)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
