"""Shows on standard error how a load test goes on: the phase that begins, and one progress line per round.

On a terminal the line is redrawn in place, once a second; in a file or a pipe a line comes every 10 seconds. Only the master prints. The
line is made of counts that the master has anyway.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Protocol

from locust_kvcache.contract.language import told
from locust_kvcache.loadgen.durations import duration_text

if TYPE_CHECKING:
    from rich.live import Live

ON_TERMINAL_S = 1.0
IN_FILE_S = 10.0
BAR = 20
WIDTH = 100


class Stream(Protocol):
    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...


@dataclass(frozen=True)
class Progress:
    """One round, or one window of a warm-up, so far. `ttft_ms` is the mean of the answers so far."""

    title: str
    planned: int
    done: int
    failed: int
    elapsed_s: float
    ttft_ms: float | None = None
    round_s: float | None = None  # of a timed round: it ends then, however many requests it had
    silent_s: float | None = None  # for so long the server is `away`, or no request has ended
    away: bool = False

    def silent(self, seconds: float, away: bool) -> Progress:
        return replace(self, silent_s=seconds, away=away)

    @property
    def left_s(self) -> float | None:
        """At the pace so far; None before the first answer."""
        if self.round_s is not None:
            return max(0.0, self.round_s - self.elapsed_s)
        return self.elapsed_s / self.done * (self.planned - self.done) if self.done else None

    def line(self) -> str:
        """round 1 of 2 [#####---------------] 17/60, 0 failed, TTFT 23.2 ms, 12 s left."""
        share = self.done / max(self.planned, 1) if self.round_s is None else self.elapsed_s / self.round_s
        filled = int(BAR * min(share, 1.0))
        parts = [self._count, told(f"{self.failed:,} failed")]
        if self.silent_s is not None:
            parts.append(told(self._silent_text(duration_text(self.silent_s))))
        elif self.ttft_ms is not None:
            parts.append(f"TTFT {self.ttft_ms:,.3g} ms" if self.ttft_ms < 1000 else f"TTFT {self.ttft_ms:,.0f} ms")
        parts.append(told(self._left_text()))
        rest = f" [{'#' * filled}{'-' * (BAR - filled)}] {', '.join(parts)}"
        return told(self.title)[: max(0, WIDTH - len(rest))] + rest

    @property
    def _count(self) -> str:
        return f"{self.done:,}/{self.planned:,}" if self.round_s is None else told(f"{self.done:,} requests")

    def _left_text(self) -> str:
        if self.round_s is not None and self.elapsed_s >= self.round_s:
            return "open requests end"
        if self.silent_s is not None and self.round_s is None:
            return "no estimate"
        return "time left unknown" if self.left_s is None else f"{duration_text(max(self.left_s, 1.0))} left"

    def _silent_text(self, seconds: str) -> str:
        return f"server away for {seconds}" if self.away else f"none ended for {seconds}"

    def last_line(self) -> str:
        if self.round_s is not None:
            return told(f"{self.title}: {duration_text(self.round_s)} round, {self.done:,} requests, {self.failed:,} failed")
        return told(f"{self.title}: {self.done:,}/{self.planned:,}, {self.failed:,} failed, {duration_text(self.elapsed_s)}")


class LoadConsole:
    """Where the master of this process shows its progress."""

    def __init__(self, stream: Stream | None = None) -> None:
        self._stream = stream
        self._live: Live | None = None
        self._phase = ""
        self._shown_s = time.monotonic()

    @property
    def _out(self) -> Stream:
        return self._stream if self._stream is not None else sys.stderr

    def phase(self, text: str) -> None:
        """What begins now, on a line of its own; once, also where two parts of the program begin it."""
        if text != self._phase:
            self._phase = text
            self.say(f"{told(text)} ...")

    def say(self, text: str) -> None:
        self.clear()
        self._out.write(f"{text}\n")
        self._out.flush()

    def begin(self) -> None:
        """A round begins: its first line comes after a full interval."""
        self._phase = ""
        self._shown_s = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Asked before a line is made, so that none is made in vain."""
        return time.monotonic() - self._shown_s >= (ON_TERMINAL_S if self._out.isatty() else IN_FILE_S)

    def show(self, progress: Progress) -> None:
        self._shown_s = time.monotonic()
        if not self._out.isatty():
            self.say(progress.line())
            return
        from rich.text import Text

        if self._live is None:
            self._live = self._new_live()
            self._live.start()
        self._live.update(Text(progress.line(), no_wrap=True, overflow="ellipsis"), refresh=True)

    def end(self, progress: Progress) -> None:
        """The round's last line stays."""
        self.say(progress.last_line())

    def clear(self) -> None:
        """Take the line in place away, before anything else is printed."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def prepare(self) -> None:
        """Import what draws on a terminal, while no stream is open."""
        if self._out.isatty():
            import rich.live
            import rich.text  # noqa: F401

    def _new_live(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        screen = Console(file=self._out)  # type: ignore[arg-type]
        return Live(console=screen, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)


@cache
def console() -> LoadConsole:
    """That of this process."""
    return LoadConsole()
