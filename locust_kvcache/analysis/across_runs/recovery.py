"""Measures the cost of an event: recovery time of hits, TTFT and throughput, and what was lost meanwhile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from locust_kvcache.analysis.across_runs.recovery_engines import EngineSilence, silent_engines
from locust_kvcache.analysis.across_runs.recovery_windows import Window, choose_width_s, cut, ends_s, states
from locust_kvcache.analysis.basics.narrow import chosen, rows_taken
from locust_kvcache.analysis.reading.runs import RecordedRun
from locust_kvcache.contract.errors import BadInput

SHARES = (0.9, 0.99)
FIGURES = ("hit_rate", "ttft_ms", "requests_per_s")
LESS_IS_BETTER = frozenset({"ttft_ms"})
OF_AN_EVENT = "scenario session_id started_at_s ok ttft_ms planned_cached_tokens reported_cached_tokens".split()
COLUMNS = [*OF_AN_EVENT, *"round round_kind status http_status e2e_ms prompt_tokens".split()]
HALF = 0.5  # of the tokens that should hit: below it a session's cache is lost
RUN_END, KIND_END = "the end of the run", "the end of rounds of this kind"


@dataclass(frozen=True)
class Event:
    name: str
    at_s: float  # epoch seconds


@dataclass(frozen=True)
class Crossing:
    """When a figure was back at a share of its level. `fell_s`: end of the first window below it; None: no window was.

    `reached_s`: end of the first later window at the share again; None: not reached. `below_before`: windows before the event that
    were below the share too, so how well it can be told.
    """

    figure: str
    share: float
    fell_s: float | None
    reached_s: float | None
    below_before: int


@dataclass(frozen=True)
class Outcome:
    """One event in one run. Losses are counted until `until`, the next event or the end; windows `before` are those before the first."""

    run_id: str
    event: Event
    width_s: float
    until: str
    until_s: float  # since the event
    looked_at_s: float  # for recovery, since the event
    before: tuple[Window, ...]
    after: tuple[Window, ...]
    levels: dict[str, float | None]
    worst: dict[str, float | None]
    crossings: tuple[Crossing, ...]
    first_answer_s: float | None
    sent: int
    failed: dict[str, int]
    empty_200: int
    planned_tokens: int | None
    recomputed_tokens: int | None
    recomputed_before: float | None  # share of the tokens that should have hit, before the event
    sessions: int
    sessions_lost: int
    engines: tuple[EngineSilence, ...]

    def crossing(self, figure: str, share: float) -> Crossing | None:
        return next((one for one in self.crossings if (one.figure, one.share) == (figure, share)), None)


@dataclass(frozen=True)
class Span:
    """Times around an event (epoch seconds), all within one state, such as the hit rounds of a scenario.

    The level before is that of `begin_s` to `base_s`, the first event of this state. Recovery is looked for until `stop_s`, losses are
    counted until `next_s`, the next event or `stop_s`; `until` names it.
    """

    begin_s: float
    base_s: float
    stop_s: float
    next_s: float
    until: str


def span_of(records: pd.DataFrame, events: Sequence[Event], place: int) -> Span:
    at_s, sent, state = events[place].at_s, records["started_at_s"], states(records)
    earlier = sent[sent < at_s]
    mine = state.iloc[int(np.argmax(sent.where(sent < at_s, -np.inf))) if len(earlier) else int(np.argmin(sent))]
    others = sent[state != mine]
    before, after = others[others < at_s], others[others >= at_s]
    same = sent[(state == mine) & ((sent > before.max()) if len(before) else True)]
    begin_s = float(same.min())
    base_s = next(event.at_s for event in events if event.at_s >= begin_s or event is events[place])
    stop_s, until = (float(after.min()), KIND_END) if len(after) else (end_of(records), RUN_END)
    if place + 1 < len(events) and events[place + 1].at_s < stop_s:
        return Span(begin_s, base_s, stop_s, events[place + 1].at_s, events[place + 1].name)
    return Span(begin_s, base_s, stop_s, stop_s, until)


def end_of(records: pd.DataFrame) -> float:
    """When the last request was sent, or the last answer was complete."""
    return float(np.nanmax([records["started_at_s"].max(), ends_s(records).max()]))


def check_events(records: pd.DataFrame, events: Sequence[Event], run_id: str) -> list[Event]:
    """In order of time; BadInput for one outside of the run."""
    first, last = float(records["started_at_s"].min()), end_of(records)
    for event in events:
        if not first <= event.at_s <= last:
            raise BadInput(
                f"--event {event.name}={event.at_s:.3f} is {event.at_s - first:+.1f} s from the first request of {run_id}; expected "
                f"0 to {last - first:.1f} s: give epoch seconds of the load's clock, or +SECONDS after its first request"
            )
    return sorted(events, key=lambda event: event.at_s)


def width_for(records: pd.DataFrame, events: Sequence[Event]) -> float:
    """The default width, by the requests before the first event."""
    return choose_width_s(records, span_of(records, events, 0).begin_s, events[0].at_s)


def sent_requests(run: RecordedRun) -> RecordedRun:
    """The run with the columns that are read here, of requests that were sent."""
    records, sent = run.records[COLUMNS], run.records["started_at_s"].notna()
    return replace(run, records=records if sent.all() else rows_taken(records, sent))


def outcomes(run: RecordedRun, events: Sequence[Event], width_s: float) -> list[Outcome]:
    """Of a run of `sent_requests`."""
    return [_outcome(run, run.records, events, place, width_s) for place in range(len(events))]


def _outcome(run: RecordedRun, records: pd.DataFrame, events: Sequence[Event], place: int, width_s: float) -> Outcome:
    event, span = events[place], span_of(records, events, place)
    before = cut(records, span.base_s, span.begin_s, span.base_s, width_s)
    after = cut(records, event.at_s, event.at_s, span.stop_s, width_s)
    sent = records["started_at_s"]
    mine = chosen(records, (sent >= event.at_s) & (sent < span.next_s), OF_AN_EVENT)
    then = chosen(records, (sent >= span.begin_s) & (sent < event.at_s), OF_AN_EVENT)
    failed = _failed(records, events, place, span)
    planned, recomputed = _recomputed(mine)
    planned_before, recomputed_before = _recomputed(then)
    sessions, lost = lost_sessions(then, mine)
    firsts = (mine["started_at_s"] + mine["ttft_ms"] / 1000)[mine["ok"]].dropna()
    return Outcome(
        run_id=str(run.info.run_id), event=event, width_s=width_s, until=span.until, until_s=span.next_s - event.at_s,
        looked_at_s=span.stop_s - event.at_s,
        before=tuple(before), after=tuple(after),
        levels={figure: level(before, figure) for figure in FIGURES},
        worst={figure: _worst(after, figure) for figure in FIGURES},
        crossings=tuple(crossing(before, after, figure, share) for figure, share in itertools.product(FIGURES, SHARES)),
        first_answer_s=float(firsts.min()) - event.at_s if len(firsts) else None,
        sent=len(mine),
        failed={str(name): int(count) for name, count in failed["status"].astype(str).value_counts().items()},
        empty_200=int((failed["status"].eq("no_output") & failed["http_status"].eq(200)).sum()),
        planned_tokens=planned, recomputed_tokens=recomputed,
        recomputed_before=recomputed_before / planned_before if planned_before and recomputed_before is not None else None,
        sessions=sessions, sessions_lost=lost,
        engines=tuple(silent_engines(run, event.at_s, math.inf if span.until == RUN_END else span.next_s)),
    )  # fmt: skip


def known(windows: Sequence[Window], figure: str) -> list[float]:
    return [value for window in windows if (value := getattr(window, figure)) is not None]


def level(before: Sequence[Window], figure: str) -> float | None:
    """The mean of the windows before the event."""
    values = known(before, figure)
    return math.fsum(values) / len(values) if values else None


def _worst(after: Sequence[Window], figure: str) -> float | None:
    values = known(after, figure)
    return (max if figure in LESS_IS_BETTER else min)(values, default=None)


def share_of_level(value: float, base: float, figure: str) -> float:
    """1 at the level, less where it is worse."""
    over, under = (base, value) if figure in LESS_IS_BETTER else (value, base)
    return over / under if under > 0 else math.inf


def crossing(before: Sequence[Window], after: Sequence[Window], figure: str, share: float) -> Crossing:
    """A window is below where its share of the level is under `share` and under that of every window before the event."""
    base = level(before, figure)
    if base is None or base <= 0:
        return Crossing(figure, share, None, None, 0)
    earlier = [share_of_level(value, base, figure) for value in known(before, figure)]
    limit, fell_s = min(share, *earlier), None
    for window in after:
        value = getattr(window, figure)
        if value is None:
            continue
        now = share_of_level(value, base, figure)
        if fell_s is None and now < limit:
            fell_s = window.end_s
        elif fell_s is not None and now >= share:
            return Crossing(figure, share, fell_s, window.end_s, sum(one < share for one in earlier))
    return Crossing(figure, share, fell_s, None, sum(one < share for one in earlier))


def _failed(records: pd.DataFrame, events: Sequence[Event], place: int, span: Span) -> pd.DataFrame:
    """Failed requests that may be this event's: sent after it, or before it by no more than the longest answer took (so they were open)."""
    answered_ms = records["e2e_ms"][records["ok"]]
    longest_s = float(answered_ms.max()) / 1000 if answered_ms.notna().any() else 0.0
    at_s = events[place].at_s
    open_s = max(at_s - longest_s, events[place - 1].at_s if place else -math.inf)
    sent = records["started_at_s"]
    stop_s = max(at_s, span.next_s - longest_s) if span.next_s < span.stop_s else span.stop_s
    return records[~records["ok"] & (sent >= open_s) & (sent < stop_s)]


def _recomputed(records: pd.DataFrame) -> tuple[int | None, int | None]:
    """Tokens that the plan says should hit, and those of them that did not, of requests that reported both."""
    told = records[records["ok"] & records["planned_cached_tokens"].notna() & records["reported_cached_tokens"].notna()]
    if told.empty:
        return None, None
    missing = (told["planned_cached_tokens"] - told["reported_cached_tokens"]).clip(lower=0)
    return int(told["planned_cached_tokens"].sum()), int(missing.sum())


def lost_sessions(before: pd.DataFrame, after: pd.DataFrame) -> tuple[int, int]:
    """(sessions that hit before the event and came again, those of them whose first request after it did not hit).

    To hit: at least half of the tokens that should. A session that did not hit before says nothing and is not counted.
    """
    last, first = _hits(before, last=True), _hits(after, last=False)
    both = last.to_frame("before").join(first.rename("after"), how="inner")
    held = both[both["before"].ge(HALF)]
    return len(held), int(held["after"].lt(HALF).sum())


def _hits(records: pd.DataFrame, last: bool) -> pd.Series:
    """Share of the planned tokens that hit, of each session's last or first request."""
    told = records[records["ok"] & records["planned_cached_tokens"].gt(0) & records["reported_cached_tokens"].notna()]
    keys = [told["scenario"], told["session_id"]]
    shares = (told["reported_cached_tokens"] / told["planned_cached_tokens"]).loc[told["started_at_s"].sort_values().index]
    grouped = shares.groupby(keys, observed=True)
    return grouped.last() if last else grouped.first()
