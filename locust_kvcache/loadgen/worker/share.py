"""Keeps one process's share of a round: its sessions, how far ahead it asks for releases, and what it has sent."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import gevent
from gevent.event import Event

from locust_kvcache.contract.record import PHASE_OPEN_AT_END, PHASE_WARM_UP
from locust_kvcache.contract.round_kinds import WARM_UP, sends_new_prompts
from locust_kvcache.loadgen.protocol.arrivals import plan_due_s, window_due_s
from locust_kvcache.loadgen.protocol.messages import Deal, Done, TimeUp
from locust_kvcache.loadgen.protocol.run_config import RunConfig, pause
from locust_kvcache.loadgen.protocol.session_ids import SessionLine
from locust_kvcache.loadgen.protocol.timed import TimedRound, timed_due_s
from locust_kvcache.loadgen.worker.client_certificate import certified_chunks_per_s
from locust_kvcache.loadgen.worker.prepared_requests import PreparedRequests
from locust_kvcache.loadgen.worker.texts_ahead import TextsAhead
from locust_kvcache.workload.endless import EndlessSessions
from locust_kvcache.workload.plan import Plan, Session

LATE_MS = 20.0  # a session taken later than this was waiting for a user; less is the loop's own jitter
AHEAD_S = 2.0  # open loop: sessions due within this are asked for
LARGEST_WINDOW = 4096  # sessions


class DueByPlace:
    """Due times of an endless plan's sessions, by session_id."""

    def __init__(self, times_s: Sequence[float], plan: Plan) -> None:
        assert isinstance(plan.sessions, EndlessSessions)
        self._times_s, self._sessions = times_s, plan.sessions

    def __getitem__(self, session: int) -> float:
        return self._times_s[self._sessions.place(session)]


@dataclass
class Share:
    """This process's share of one round."""

    config: RunConfig
    scenario: str
    number: int
    kind: str  # contract/round_kinds.py
    prepared: PreparedRequests
    due_s: Sequence[float] | DueByPlace | None  # by session_id, after the round's start
    window: int  # sessions to have released ahead of the users
    unreleased: SessionLine = field(default_factory=SessionLine)  # sessions that are still to be released to us, in order
    ahead: TextsAhead | None = None  # makes their texts, where not all were made before the round
    received: int = 0  # sessions released to us so far
    asked_s: float | None = None  # monotonic; an answer to our last question is on its way
    open_requests: int = 0  # released to us and without a record
    started_s: float = 0.0  # monotonic
    started_at_s: float = 0.0  # wall clock
    last_end_s: float = 0.0
    chunks: int = 0
    late_sessions: int = 0  # open loop: no user was free when they were due
    late_told: int = 0  # of them, what the master knows
    worst_late_ms: float = 0.0
    starved_since_s: float | None = None
    starved_s: float = 0.0  # users were free, and the master's release was on its way
    timed: TimedRound | None = None
    time_is_up: Event = field(default_factory=Event)
    begun: dict[int, Set[int]] = field(default_factory=dict)  # timed: the turns that were begun, of sessions that are not through

    @property
    def repeats(self) -> bool:
        """Its prompts were sent by an earlier round."""
        return not sends_new_prompts(self.kind)

    def add(self, sessions: Sequence[int]) -> None:
        self.unreleased.add(sessions)  # plan order, which is the order in which they are due
        if self.prepared.few is not None:
            self.ahead = self.ahead or TextsAhead(self.prepared, self.unreleased)
            self.ahead.changed(2 * self.window)

    def may_begin(self) -> bool:
        """Whether a request may still be sent: a timed round is over by this process's clock, however late its timer fires."""
        if self.timed is None:
            return True
        return not self.time_is_up.is_set() and time.monotonic() < self.started_s + self.timed.round_s

    def sleep(self, seconds: float) -> None:
        """A pause of a session, which the end of a timed round cuts short."""
        if self.timed is None:
            gevent.sleep(seconds)
        else:
            self.time_is_up.wait(max(0.0, seconds))

    def phase(self, sent_s: float, ended_s: float) -> str | None:
        """What a timed round's record says of when its request was open; monotonic times."""
        if self.timed is None:
            return None
        if sent_s < self.started_s + self.timed.warm_up_s:
            return PHASE_WARM_UP
        return PHASE_OPEN_AT_END if ended_s > self.started_s + self.timed.round_s else None

    def end_by_the_clock(self) -> TimeUp:
        """The time is up: nothing more begins. What the master is told names the sessions with turns that were not begun, and the numbers
        of those that were."""
        self.time_is_up.set()
        turns = {session: len(self.prepared.session(session).turns) for session in self.begun}
        cut = [(session, sorted(begun)) for session, begun in self.begun.items() if len(begun) < turns[session]]
        self.open_requests -= sum(turns[session] - len(begun) for session, begun in cut)
        return TimeUp(self.config.run_id, self.scenario, self.number, self.received, cut)

    def how_it_went(self, foreign_requests: dict[str, int]) -> Done:
        """What the master is told at the end of the round."""
        wall_s = self.last_end_s - self.started_s
        return Done(
            self.config.run_id,
            self.scenario,
            self.number,
            wall_s=wall_s,
            started_at_s=self.started_at_s,
            chunks_per_s=self.chunks / wall_s if wall_s > 0 else 0.0,
            certified_chunks_per_s=certified_chunks_per_s(),
            starved_s=self.starved_s,
            foreign_requests=foreign_requests,
        )

    def note_taken(self, due_s: float) -> None:
        """A user took a session; past its due time, all users were busy: the load is less open than it was asked to be."""
        late_ms = (time.monotonic() - due_s) * 1000
        if late_ms > LATE_MS:
            self.late_sessions += 1
            self.worst_late_ms = max(self.worst_late_ms, late_ms)

    def wanted(self, queued: int) -> int:
        """How many more sessions to ask for now: a window ahead of the users, no further than AHEAD_S ahead of a schedule, and only those
        whose texts are made."""
        if not self.unreleased or queued > self.window // 2:
            return 0
        count = min(self.window - queued, len(self.unreleased))
        if self.ahead is not None:
            count = min(count, self.ahead.made())
        if self.due_s is None:
            return count
        horizon_s = (time.monotonic() - self.started_s if self.started_s else 0.0) + AHEAD_S
        for ahead in range(count):
            if self.due_s[self.unreleased[ahead]] > horizon_s:
                return ahead
        return count

    def runs_low(self, queued: int) -> bool:
        """Few of the released sessions are left, and more are to come; the closed loop's first user without one begins to starve."""
        if not (self.unreleased and self.started_s and queued <= self.window // 2):
            return False
        if self.due_s is None and not queued and self.starved_since_s is None:
            self.starved_since_s = time.monotonic()
        return True

    def take_release(self, start: int, sessions: list[int], rest: int, users_waiting: int) -> list[Session]:
        """Sessions that may be sent now. Users that had to wait for them double the window: the next release comes earlier."""
        if start != self.received or self.time_is_up.is_set():
            return []  # an answer to a question that was asked twice, or one that came too late
        self.asked_s = None
        self.received += len(sessions)
        at_the_front = self.unreleased.drop(sessions)
        if not rest:
            self.unreleased.clear()
        if self.starved_since_s is not None:
            self.starved_s += time.monotonic() - self.starved_since_s
            self.starved_since_s = None
            if self.due_s is None and users_waiting:
                self.window = min(2 * self.window, LARGEST_WINDOW)
        if self.ahead is not None:
            self.ahead.go_on(len(sessions) if at_the_front else self.window, 2 * self.window)
        found = [self.prepared.session(index) for index in sessions]
        self.open_requests += sum(len(session.turns) for session in found)
        if self.timed is not None:
            self.begun |= {session.session_id: frozenset() for session in found}
        return found


@dataclass(frozen=True)
class Assignment:
    share: Share
    session: Session
    begun: frozenset[int] = frozenset()  # turns that another user began before it was stopped

    @property
    def due_s(self) -> float | None:
        """When this session is due, monotonic; None in the closed loop."""
        if self.share.due_s is None or self.begun:
            return None
        return self.share.started_s + self.share.due_s[self.session.session_id]


def new_share(config: RunConfig, message: Deal, prepared: PreparedRequests, users: int) -> Share:
    """The share that a round's first deal to this process begins, with the due times of its arrivals."""
    arrival, plan = message.arrival or config.arrival, prepared.plan
    seed_key = f"{config.seed}/{message.scenario}/arrivals"
    due_s: Sequence[float] | DueByPlace | None
    if message.timed is not None:
        times = timed_due_s(arrival, message.timed.round_s, seed_key, pause)
        due_s = None if times is None else DueByPlace(times, plan)
    elif message.round_kind == WARM_UP:
        due_s = window_due_s(arrival, plan, seed_key)
    else:
        due_s = (plan.due_s if arrival.kind == "trace" else None) or plan_due_s(arrival, plan, seed_key, pause)
    window = max(4, 2 * users)
    return Share(config, message.scenario, message.round, message.round_kind, prepared, due_s, window, timed=message.timed)
