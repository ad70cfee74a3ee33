"""Makes the page of `locust-kvcache recovery`: verdict, chart and table of each event, over one or several runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs.recovery import FIGURES, SHARES, Outcome
from locust_kvcache.analysis.basics.number_text import DASH, listed, percent, plural, whole
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.recovery_words import (
    SHORT,
    WRITTEN,
    Runs,
    at,
    back_text,
    curve_text,
    engine_text,
    failed_text,
    faults_of,
    lead_text,
    over_runs,
    own_trust,
    seconds,
)
from locust_kvcache.analysis.report.trust import common_trust
from locust_kvcache.analysis.tables.table import Stats, Table

RULE = (
    "level: mean of the windows before the first event; times: from the event to the end of the window; below: under that share of the "
    "level (TTFT: level / TTFT), and worse than every window before; back: the first later window at it"
)
NAMES = {"hit_rate": "hit rate, by tokens", "ttft_ms": "mean TTFT, ms", "requests_per_s": "requests/s"}


def _share(part: int | None, total: int | None) -> str:
    return "" if not total or part is None else f" ({percent(part / total)} of those that should hit)"


def recovery_table(events: Runs) -> Table:
    rows: list[tuple[str, ...]] = []
    for figure in FIGURES:
        write = WRITTEN[figure]
        rows.append(
            (f"{NAMES[figure]}: level before", *(over_runs([one.levels[figure] for one in event], write) for event in events))
        )
        rows.append(
            (
                f"{SHORT[figure]}: worst window after",
                *(over_runs([one.worst[figure] for one in event], write) for event in events),
            )
        )
        for share in SHARES:
            rows.append(
                (f"{SHORT[figure]}: back at {at(share)} of the level", *(back_text(event, figure, share) for event in events))
            )
    rows += [
        ("first answer after", *(over_runs([one.first_answer_s for one in event], seconds) for event in events)),
        ("counted until", *(f"{event[0].until}, {over_runs([one.until_s for one in event], seconds)}" for event in events)),
        ("requests sent", *(f"{sum(one.sent for one in event):,}" for event in events)),
        ("requests lost", *(failed_text(event) for event in events)),
        ("of them empty 200s", *(f"{sum(one.empty_200 for one in event):,}" for event in events)),
        ("tokens computed twice", *(_recomputed_text(event) for event in events)),
        ("sessions that lost their cache", *(f"{sum(one.sessions_lost for one in event):,} of {sum(one.sessions for one in event):,}"
                                             for event in events)),
        ("engines", *(engine_text(event) for event in events)),
    ]  # fmt: skip
    header = ("", *(event[0].event.name for event in events))
    return Table("What each event cost", header, tuple(rows), RULE, tuple(noise_notes(events)))


def _recomputed_text(event: Sequence[Outcome]) -> str:
    known = [one for one in event if one.recomputed_tokens is not None]
    if not known:
        return DASH
    tokens, planned = sum(one.recomputed_tokens or 0 for one in known), sum(one.planned_tokens or 0 for one in known)
    return f"{whole(tokens)}{_share(tokens, planned)}"


def noise_notes(events: Runs) -> list[str]:
    """Where windows before the event were below a share of the level too."""
    found = []
    for figure in FIGURES:
        for share in SHARES:
            crossings = [(one, crossing) for one in events[0] if (crossing := one.crossing(figure, share)) and one.levels[figure]]
            below = sum(crossing.below_before for _, crossing in crossings)
            if below:
                windows = sum(len(one.before) for one, _ in crossings)
                found.append(
                    f"{SHORT[figure]}: {below} of {plural(windows, 'window')} before were below {at(share)} of the level too."
                )
    return found


def curve_chart(events: Runs) -> Chart | None:
    """Windows before the first event, and after each until the next; the mean over runs."""
    origins = [one.event.at_s for one in events[0]]
    offsets = [[one.event.at_s - origin for one, origin in zip(event, origins, strict=True)] for event in events]
    rows, failed = [], []
    for place, event in enumerate(events):
        for one, offset_s in zip(event, offsets[place], strict=True):
            shown = [window for window in one.after if place + 1 == len(events) or window.end_s <= one.until_s]
            for window in [*(one.before if place == 0 else ()), *shown]:
                x = (window.start_s + window.end_s) / 2
                for figure in FIGURES:
                    value, base = getattr(window, figure), one.levels[figure]
                    if value is not None and base:
                        rows.append((place, x, offset_s + x, SHORT[figure], 100 * value / base))
                failed += [(offset_s + x, window.failed)] if window.failed else []
    if not rows:
        return None
    frame = pd.DataFrame(rows, columns=["event", "k", "x", "label", "y"])
    points = frame.groupby(["event", "k", "label"], sort=False)[["x", "y"]].mean().reset_index()
    points = points.sort_values("label", key=lambda labels: labels.map(list(SHORT.values()).index), kind="stable")
    marks = [(event[0].event.name, math.fsum(found) / len(found)) for event, found in zip(events, offsets, strict=True)]
    failures = pd.DataFrame(failed, columns=["x", "count"])
    said = "; ".join(f"{event[0].event.name}: {curve_text(event)}" for event in events)
    faults = listed(event[0].event.name for event, _ in faults_of(events))
    return draw("recovery", f"Hit rate, TTFT and requests/s around {faults}", said,
                lambda axes: study_drawing.draw_recovery(axes, points, failures, marks))  # fmt: skip


def short_table(events: Runs) -> Table:
    """The console's: a row per event; no columns of hits where none were reported."""
    hits = any(one.levels["hit_rate"] is not None for event in events for one in event)
    figures = [figure for figure in FIGURES if hits or figure != "hit_rate"]
    shown = figures[0]
    rows = [
        (event[0].event.name, failed_text(event),
         *(over_runs([getattr(one, name)[shown] for one in event], WRITTEN[shown]) for name in ("levels", "worst")),
         *(back_text(event, figure, SHARES[0]) for figure in figures))
        for event in events
    ]  # fmt: skip
    before = "hit rate before" if hits else "mean TTFT before, ms"
    back = (f"{SHORT[figure]} back at {at(SHARES[0])}" for figure in figures)
    return Table("What each event cost", ("", "requests lost", before, "worst after", *back), tuple(rows), RULE)


def recovery_page(
    events: Runs, about: str, incomplete: Sequence[str], runs: Sequence[Stats], problems: Sequence[dict[str, Any]] = ()
) -> Page:
    """`runs`: the evidence of each run (run_evidence)."""
    table = recovery_table(events)
    return Page(
        title=f"Recovery: what {listed(event[0].event.name for event, _ in faults_of(events))} cost",
        subtitle=about,
        lead=lead_text(events, incomplete),
        details=(),
        answer=(),
        problems=tuple(problems),
        sections=(section("Each event", [table], is_open=True),),
        incomplete=bool(incomplete),
        chart=curve_chart(events),
        trust=common_trust(runs, own=own_trust(events), caches=False, control=False),
        short=(short_table(events),),
    )
