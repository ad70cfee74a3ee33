"""Makes the page of `locust-kvcache recovery`: verdict, chart and table of each event, over one or several runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs.recovery import FIGURES, SHARES, Outcome, share_of_level
from locust_kvcache.analysis.across_runs.recovery_engines import UNUSED
from locust_kvcache.analysis.across_runs.recovery_windows import WINDOW_REQUESTS, WINDOWS_BEFORE, mean_interval
from locust_kvcache.analysis.basics.number_text import DASH, listed, number, percent, plural, whole
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables.table import Stats, Table

Runs = Sequence[Sequence[Outcome]]  # per event, one outcome per run
RULE = (
    "level: mean of the windows before the first event; times: from the event to the end of the window; below: under that share of the "
    "level (TTFT: level / TTFT), and worse than every window before; back: the first later window at it"
)
NAMES = {"hit_rate": "hit rate, by tokens", "ttft_ms": "mean TTFT, ms", "requests_per_s": "requests/s"}
SHORT = {"hit_rate": "hit rate", "ttft_ms": "mean TTFT", "requests_per_s": "requests/s"}
WRITTEN: dict[str, Callable[[Any], str]] = {"hit_rate": percent, "ttft_ms": number, "requests_per_s": number}


def at(share: float) -> str:
    return f"{100 * share:.0f} %"


def seconds(value: float | None) -> str:
    return DASH if value is None else f"{number(value)} s"


def over_runs(values: Sequence[float | None], write: Callable[[Any], str]) -> str:
    """One run's value, or mean and interval over runs; where only some have one, how many."""
    known = [value for value in values if value is not None]
    if not known:
        return DASH
    spread = mean_interval(known)
    text = write(known[0]) if spread is None else f"{write(spread[0])} [{write(spread[1])}, {write(spread[2])}]"
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)} runs)"


def back_text(event: Sequence[Outcome], figure: str, share: float) -> str:
    """4.00 s; was not below; not reached within 66.6 s; of several runs each that occurs."""
    found = [one.crossing(figure, share) for one in event if one.levels[figure]]
    crossings = [one for one in found if one is not None]
    if not crossings:
        return DASH
    reached = [one.reached_s for one in crossings if one.reached_s is not None]
    parts = [(len(reached), over_runs(reached, seconds))] if reached else []
    parts += [(count, "was not below")] if (count := sum(one.fell_s is None for one in crossings)) else []
    if missing := len(crossings) - sum(count for count, _ in parts):
        parts.append((missing, f"not reached within {seconds(min(one.looked_at_s for one in event))}"))
    return parts[0][1] if len(parts) == 1 else "; ".join(f"{text} ({count} of {len(crossings)} runs)" for count, text in parts)


def failed_text(event: Sequence[Outcome]) -> str:
    total: Counter[str] = Counter()
    for one in event:
        total.update(one.failed)
    classes = ", ".join(f"{count:,} {name}" for name, count in total.most_common())
    return f"{sum(total.values()):,} ({classes})" if total else "0"


def engine_text(event: Sequence[Outcome]) -> str:
    """e4 took no request, from 67.2 s on."""
    found = [(one.run_id, engine) for one in event for engine in one.engines]
    many = len(event) > 1
    said = [
        f"{engine.engine} {engine.what}, from {seconds(engine.since_s)} on{f' ({run})' if many else ''}" for run, engine in found
    ]
    return "; ".join(said) or DASH


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
    said = "; ".join(f"{event[0].event.name}: {_curve_text(event)}" for event in events)
    faults = listed(event[0].event.name for event, _ in faults_of(events))
    return draw("recovery", f"Hit rate, TTFT and requests/s around {faults}", said,
                lambda axes: study_drawing.draw_recovery(axes, points, failures, marks))  # fmt: skip


def _curve_text(event: Sequence[Outcome]) -> str:
    """The hit rate in words, or the TTFT where no hits were reported."""
    figure = "hit_rate" if any(one.levels["hit_rate"] for one in event) else "ttft_ms"
    if all(one.levels[figure] is None for one in event):
        return "nothing is known of the time before it"
    unit = " ms" if figure == "ttft_ms" else ""
    before, worst = (
        f"{over_runs([getattr(one, name)[figure] for one in event], WRITTEN[figure])}{unit}" for name in ("levels", "worst")
    )
    least, most = ([one.crossing(figure, share) for one in event] for share in SHARES)
    if all(one is None or one.fell_s is None for one in (*least, *most)):
        return f"the {SHORT[figure]} was {before} before and {worst} in the worst window after"
    times = list(dict.fromkeys(back_text(event, figure, share) for share in SHARES))
    levels = [listed(at(share) for share in SHARES)] if len(times) == 1 else [at(share) for share in SHARES]
    back = ", ".join(f"back at {level} of the level: {time}" for level, time in zip(levels, times, strict=True))
    return f"the {SHORT[figure]} was {before} before and {worst} in the worst window after ({back})"


def short_table(events: Runs) -> Table:
    """The console's: a row per event."""
    rows = [
        (event[0].event.name, *(over_runs([getattr(one, name)["hit_rate"] for one in event], percent) for name in ("levels", "worst")),
         *(back_text(event, figure, SHARES[0]) for figure in FIGURES), failed_text(event))
        for event in events
    ]  # fmt: skip
    header = (
        "",
        "hit rate before",
        "worst after",
        *(f"{SHORT[figure]} back at {at(SHARES[0])}" for figure in FIGURES),
        "requests lost",
    )
    return Table("What each event cost", header, tuple(rows), RULE)


def weak_points(events: Runs, incomplete: Sequence[str]) -> list[str]:
    """What weakens the verdict, for its first words."""
    first = events[0]
    found = [f"incomplete: {listed(incomplete)}"] if incomplete else []
    found += ["one run, so no interval"] if len(first) == 1 else []
    if few := [one for one in first if len(one.before) < WINDOWS_BEFORE]:
        found.append(f"the level before rests on {plural(min(len(one.before) for one in few), 'window')}")
    if any(window.sent < WINDOW_REQUESTS for one in first for window in one.before):
        found.append(f"windows before it hold fewer than {WINDOW_REQUESTS} requests")
    if all(one.levels["hit_rate"] is None for one in first):
        found.append("no hits were reported before it")
    return found


def lead_text(events: Runs, incomplete: Sequence[str]) -> str:
    """What weakens it, then a sentence for each event."""
    weak = weak_points(events, incomplete)
    opening = f"Read with care: {'; '.join(weak)}. " if weak else ""
    said = []
    for event, outcomes in faults_of(events):
        lost = (
            f"{failed_text(outcomes)} requests lost"
            if not any(one.failed for one in outcomes)
            else f"requests lost: {failed_text(outcomes)}"
        )
        unused = list(dict.fromkeys(engine.engine for one in outcomes for engine in one.engines if engine.what == UNUSED))
        idle = f", and {listed(unused)} answered but took no request" if unused else ""
        said.append(f"{event[0].event.name}: {_curve_text(event)}; {lost}{idle}")
    return f"{opening}{'. '.join(said)}."


def faults_of(events: Runs) -> list[tuple[Sequence[Outcome], list[Outcome]]]:
    """Each fault with its own outcomes and those of its undo and of its return: what it cost is lost until the next fault."""
    names = {event[0].event.name for event in events}
    found: list[tuple[Sequence[Outcome], list[Outcome]]] = []
    for event in events:
        fault, _, mark = event[0].event.name.rpartition(" ")
        if mark in ("undone", "ready") and fault in names:
            found[-1][1].extend(event)
        else:
            found.append((event, list(event)))
    return found


def worst_share(one: Outcome, figure: str) -> float | None:
    """How much of the level was left in the worst window."""
    base, worst = one.levels[figure], one.worst[figure]
    return None if not base or worst is None else share_of_level(worst, base, figure)


def own_trust(events: Runs) -> list[Said]:
    """Runs, intervals, and how finely times are known."""
    runs, before, width_s = len(events[0]), sum(len(one.before) for one in events[0]), number(events[0][0].width_s)
    known = "One run: no interval. Another run may recover differently."
    return [
        Said(known, True) if runs == 1 else Said(f"Intervals (95 %) cover the variation over {plural(runs, 'run')}."),
        Said(
            f"Windows of {width_s} s, so a time is known to {width_s} s. "
            f"The level before is the mean of {plural(before, 'window')} in {plural(runs, 'run')}."
        ),
        Said("Lost requests may have been sent before the event: they were open when it came."),
    ]


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
