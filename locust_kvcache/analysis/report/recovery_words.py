"""Says in words what a fault cost and when the figures were back: the sentences of `locust-kvcache recovery`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from locust_kvcache.analysis.across_runs.recovery import SHARES, Outcome
from locust_kvcache.analysis.across_runs.recovery_engines import UNUSED
from locust_kvcache.analysis.across_runs.recovery_windows import WINDOW_REQUESTS, WINDOWS_BEFORE, mean_interval
from locust_kvcache.analysis.basics.number_text import DASH, listed, number, percent, plural
from locust_kvcache.analysis.report.trust import Said

Runs = Sequence[Sequence[Outcome]]  # per event, one outcome per run
SHORT = {"hit_rate": "hit rate", "ttft_ms": "mean TTFT", "requests_per_s": "requests/s"}
WRITTEN: dict[str, Callable[[Any], str]] = {"hit_rate": percent, "ttft_ms": number, "requests_per_s": number}


def at(share: float) -> str:
    return f"{100 * share:.0f} %"


def seconds(value: float | None) -> str:
    return DASH if value is None else f"{number(value)} s"


def over_runs(values: Sequence[float | None], write: Callable[[Any], str]) -> str:
    """One or two values as they are, of more mean and interval over runs; where only some have one, how many."""
    known = [value for value in values if value is not None]
    if not known:
        return DASH
    spread = mean_interval(known) if len(known) > 2 else None
    text = (
        listed(map(write, known))
        if spread is None
        else f"{write(spread[0])} [{_within(spread[1], write)}, {_within(spread[2], write)}]"
    )
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)} runs)"


def _within(bound: float, write: Callable[[Any], str]) -> str:
    """No figure here is below 0, and no share above 1: the interval ends there."""
    return write(min(max(bound, 0.0), 1.0) if write is percent else max(bound, 0.0))


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
    classes = ", ".join(f"{count:,} {name}" for name, count in total.most_common()) if len(total) > 1 else "".join(total)
    return f"{sum(total.values()):,} ({classes})" if total else "0"


def engine_text(event: Sequence[Outcome]) -> str:
    """e4 took no request, from 67.2 s on."""
    found = [(one.run_id, engine) for one in event for engine in one.engines]
    many = len(event) > 1
    said = [
        f"{engine.engine} {engine.what}, from {seconds(engine.since_s)} on{f' ({run})' if many else ''}" for run, engine in found
    ]
    return "; ".join(said) or DASH


def curve_text(event: Sequence[Outcome]) -> str:
    """The hit rate in words, or the TTFT where no hits were reported."""
    figure = "hit_rate" if any(one.levels["hit_rate"] for one in event) else "ttft_ms"
    if all(one.levels[figure] is None for one in event):
        return "the time before it is unknown"
    unit = " ms" if figure == "ttft_ms" else ""
    before, worst = (
        f"{over_runs([getattr(one, name)[figure] for one in event], WRITTEN[figure])}{unit}" for name in ("levels", "worst")
    )
    told = f"the {SHORT[figure]} was {before} before and {worst} in the worst window after"
    fell = any(one is not None and one.fell_s is not None for one in (one.crossing(figure, SHARES[0]) for one in event))
    return f"{told}. Back at {at(SHARES[0])} of the level: {back_text(event, figure, SHARES[0])}" if fell else told


def weak_points(events: Runs, incomplete: Sequence[str]) -> list[str]:
    """What weakens the verdict, for its first words."""
    first = events[0]
    found = [f"incomplete: {listed(incomplete)}"] if incomplete else []
    found += ["one run, so no interval"] if len(first) == 1 else []
    if few := [one for one in first if len(one.before) < WINDOWS_BEFORE]:
        found.append(f"the level before rests on {plural(min(len(one.before) for one in few), 'window')}")
    if any(window.sent < WINDOW_REQUESTS for one in first for window in one.before):
        found.append(f"windows before it hold fewer than {WINDOW_REQUESTS} requests")
    if all(one.levels["hit_rate"] is None for one in first) and any(one.before for one in first):
        found.append("no hits were reported before it")
    return found


def lead_text(events: Runs, incomplete: Sequence[str]) -> str:
    """What weakens it, then a few short sentences for each fault."""
    weak = weak_points(events, incomplete)
    opening = f"Read with care: {'; '.join(weak)}. " if weak else ""
    said = []
    for event, outcomes in faults_of(events):
        unused = list(dict.fromkeys(engine.engine for one in outcomes for engine in one.engines if engine.what == UNUSED))
        idle = f". {listed(unused)} answered but took no request" if unused else ""
        said.append(f"{event[0].event.name}: {curve_text(event)}. Requests lost: {failed_text(outcomes)}{idle}")
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
