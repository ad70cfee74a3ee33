"""Defines the messages between master and workers: a frozen type for each, with its name and its dict for Locust.

Values are what msgpack knows: a tuple arrives as a list. `run_id`, `scenario` and `round` say what a message is about, so that one which
comes late is not taken for the round under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.protocol.session_ids import pack, unpack
from locust_kvcache.loadgen.protocol.timed import TimedRound


@dataclass(frozen=True)
class Message:
    kind: ClassVar[str]  # Locust's name of the message type

    def to_wire(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True)
class AboutRun(Message):
    """A message about one run."""

    run_id: str


@dataclass(frozen=True)
class AboutRound(AboutRun):
    """A message about one round of one run."""

    scenario: str
    round: int


# -- from the master


@dataclass(frozen=True)
class AskFiles(Message):
    """Which code and scenarios does this process run? Answered by `Files`."""

    kind = "kv_hello"


@dataclass(frozen=True)
class AskTime(Message):
    """What does your clock say? Answered by `Time`."""

    kind = "kv_clock"


@dataclass(frozen=True)
class BeginRun(Message):
    """What was decided about the run; before each round, so that a worker that joined late knows it too."""

    kind = "kv_run"
    config: RunConfig
    clock_offset_s: float  # how far the worker's wall clock is ahead of the master's

    def to_wire(self) -> dict[str, Any]:
        return {"config": self.config.to_message(), "clock_offset_s": self.clock_offset_s}

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> Self:
        return cls(RunConfig.from_message(data["config"]), data["clock_offset_s"])


@dataclass(frozen=True)
class Deal(AboutRound):
    """Make these sessions ready; they are sent only when they are released. Answered by `Ready` or `Refused`."""

    kind = "kv_deal"
    sessions: Sequence[int]  # in plan order
    deal: int  # number of this deal within the round
    arrival: Arrival | None  # None: the run's own
    round_kind: str  # contract/round_kinds.py
    nonce: str | None  # of the round's prompts; None: the run's own
    timed: TimedRound | None = None  # None: the round ends with its last session

    def to_wire(self) -> dict[str, Any]:
        arrival, timed = (asdict(value) if value else None for value in (self.arrival, self.timed))
        return {**super().to_wire(), "sessions": pack(self.sessions), "arrival": arrival, "timed": timed}

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> Self:
        arrival = Arrival(**data["arrival"]) if data["arrival"] else None
        timed = TimedRound(**data["timed"]) if data["timed"] else None
        return cls(**{**data, "sessions": unpack(data["sessions"]), "arrival": arrival, "timed": timed})


@dataclass(frozen=True)
class Release(AboutRound):
    """These sessions may be sent now."""

    kind = "kv_release"
    start: int  # how many were released to this worker before
    sessions: list[int]
    rest: int  # how many more are still to come


@dataclass(frozen=True)
class Go(Release):
    """The round begins, with its first release."""

    kind = "kv_go"


@dataclass(frozen=True)
class EndRound(AboutRound):
    """Every record is here: how did the round go? Answered by `Done`."""

    kind = "kv_end"


@dataclass(frozen=True)
class Halt(AboutRun):
    """Take up nothing more and hand over every record. Answered by `Flushed`."""

    kind = "kv_halt"
    stop_timeout_s: float


@dataclass(frozen=True)
class RunClosed(AboutRun):
    """The run's files are closed."""

    kind = "kv_finished"


# -- from a worker

AWAY, BACK, TOO_LONG = "away", "back", "too long"  # the server, as ServerGone says; TOO_LONG: --outage-limit has passed


@dataclass(frozen=True)
class Files(Message):
    kind = "kv_files"
    files: dict[str, str]  # hash by path
    command: str = ""  # whose --processes started the worker; empty for one that was started by hand


@dataclass(frozen=True)
class Time(Message):
    kind = "kv_time"
    at_s: float  # wall clock


@dataclass(frozen=True)
class Ready(AboutRound):
    kind = "kv_ready"
    deal: int
    want: int  # sessions to be released at once


@dataclass(frozen=True)
class Refused(AboutRound):
    """This worker cannot prepare its requests."""

    kind = "kv_refused"
    reason: str


@dataclass(frozen=True)
class ServerGone(AboutRound):
    """This worker cannot reach the server, for so many seconds by now, and holds its requests back."""

    kind = "kv_server_gone"
    seconds: float
    state: str  # AWAY, said again and again | BACK | TOO_LONG
    error: str


@dataclass(frozen=True)
class Want(AboutRound):
    """Release `count` more sessions to me; `have` were released so far."""

    kind = "kv_want"
    have: int
    count: int


@dataclass(frozen=True)
class TimeUp(AboutRound):
    """The time of the round is over here, and nothing more is begun. `cut`: sessions with turns that were not begun, and the numbers of
    those that were; of the `received` first released sessions all others were begun as a whole."""

    kind = "kv_time_up"
    received: int
    cut: list[tuple[int, list[int]]]

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "cut": [(session, list(begun)) for session, begun in data["cut"]]})


@dataclass(frozen=True)
class Done(AboutRound):
    """How the round went on this worker."""

    kind = "kv_done"
    wall_s: float
    started_at_s: float  # the master's wall clock
    chunks_per_s: float
    certified_chunks_per_s: float | None  # None: no certificate on this host
    starved_s: float  # users were free, and the master's release was on its way
    foreign_requests: dict[str, int]  # of other users to the same server, by class


@dataclass(frozen=True)
class Late(AboutRound):
    """Sessions that no user was free for when they were due; sums so far."""

    kind = "kv_late"
    sessions: int
    worst_ms: float


@dataclass(frozen=True)
class Records(AboutRun):
    """A batch of records: lines of records.jsonl, and of each (scenario, round, request_index, status), so that no line need be parsed."""

    kind = "kv_records"
    lines: list[str]
    keys: list[list[Any]]


@dataclass(frozen=True)
class WarmedUp(AboutRound):
    """Requests of a warm-up that have ended: (request_index, TTFT in ms, None for one that failed). They have no record."""

    kind = "kv_warmed_up"
    answered: list[list[Any]]


@dataclass(frozen=True)
class Flushed(AboutRun):
    """Halted, and every record was sent; `run_id` is empty where this worker knows of no run."""

    kind = "kv_flushed"
    unsent: list[int]  # released sessions that were never begun


FROM_WORKERS: tuple[type[Message], ...] = (
    Files,
    Time,
    Ready,
    Refused,
    ServerGone,
    Want,
    TimeUp,
    Done,
    Late,
    Records,
    WarmedUp,
    Flushed,
)
