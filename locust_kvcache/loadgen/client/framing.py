"""Takes the HTTP framing off a response while it arrives, and keeps each piece of its body with its time of arrival.

llhttp (C) reads the framing. A piece that is one whole chunk with whole events, as nearly all of a stream are, needs no parser: it is
recognised by its size line, its length and its end. llhttp stands between two chunks before it, and would stand there after it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import httptools

from locust_kvcache.loadgen.client.poller import poller

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
FOLD_BYTES = 32 * 1024  # about 130 chunks of a usual stream: shorter ones are parsed after their end only
FIRST_PIECES = 8  # of a body, in one of which the first output stands
DONE = b"[DONE]"
# What some servers and proxies send and curl takes; dangerous for a proxy only. Of a length and chunks the chunks count (RFC 9112, 6.3).
TAKEN_TOO = {"lenient_chunked_length": True, "lenient_optional_cr_before_lf": True, "lenient_spaces_after_chunk_size": True}
END_GRACE_S = 0.25  # after [DONE], for the end of the body: some servers leave it out, and the connection open
STREAMED = (200, 201)  # HTTP statuses of an answer; some frameworks answer each POST with 201
DONE_WITHIN = 16  # bytes of the body's end so far
SIZE_LINE_BYTES = 12  # of a chunk, its line end included; a longer one goes to the parser
EVENT_END = b"}\n\n\r\n"  # of an event with an object, and of the chunk that holds it
LIST_END = ord("]")  # stands before EVENT_END where the choices come last in an event: looking at a byte takes least time
EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_DONE_LINE = re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\][ \t]*(?:[\r\n]|$)")
_PLAIN_SIZE = re.compile(rb"[0-9a-fA-F]+")


class ResponseTooLarge(Exception):
    """More than MAX_RESPONSE_BYTES of one response: it is ended, so that one stream cannot take the worker's memory."""


@dataclass
class Response:
    """What has arrived so far of one response. Stamps are monotonic seconds."""

    sent_at_s: float = 0.0
    first_byte_at_s: float | None = None
    http_status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    segments: list[tuple[float, bytes]] = field(default_factory=list)  # body pieces in order, HTTP framing removed
    complete: bool = False  # ended by its own framing, or by [DONE] where that never came (`end_missing`)
    end_missing: bool = False  # [DONE] came, and the body's own end did not
    body_bytes: int = 0
    fold: Callable[[list[tuple[float, bytes]]], None] | None = None  # takes what has arrived when it has grown to FOLD_BYTES
    kernel_stamps: bool = False
    connect_ms: float | None = None
    reconnected: bool = False  # a kept connection was closed when the request was sent: it was sent again on a new one
    # By the kernel stamp of one of the body's first pieces, which is that of its last bytes: how much earlier its first bytes may have come
    unseen_s: dict[float, float] = field(default_factory=dict)


@lru_cache(4096)  # a stream's pieces have few lengths; a hostile server's may have many
def _chunk_bytes(size_line: bytes) -> int:
    """The length of a chunk that carries data, by its size line; -1 for the last chunk and for any line that is not plain hexadecimal."""
    return (int(size_line, 16) if _PLAIN_SIZE.fullmatch(size_line) else 0) or -1


class Framing:
    """Callbacks of the llhttp parser; `stamp_s` is the receive time of the bytes fed last (before any: when waiting began)."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.parser = httptools.HttpResponseParser(self)
        self.parser.set_dangerous_leniencies(**TAKEN_TOO)
        self.stamp_s = time.monotonic()
        self.keep_alive = False
        self.surplus = False
        self._received_bytes = 0
        self._pending_bytes = 0  # of the body, since the last fold
        self._in_chunk = False
        self._between_chunks = False  # the first pieces are over, and the bytes fed last have ended a chunk
        self._first_pieces = True
        self._keep = response.segments.append
        self.done = False  # [DONE] came: what may follow is the end of the body, and before it an event with the usage
        self._tail = b""  # of the last pieces
        self._late = b""  # what came after [DONE]
        self._done_at_s: float | None = None
        self.on_done: Callable[[], None] | None = None  # called once, when [DONE] is here; None: nothing is waited for then
        self.late_event_ends = False  # the body's end is not waited for, but an event after [DONE] is

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.surplus:
            self.response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if not self.surplus:
            self.response.http_status = self.parser.get_status_code()
            if "json" in self.response.headers.get("content-type", ""):
                self.response.fold = None  # perhaps one object instead of a stream: nothing of it may go

    def on_message_begin(self) -> None:
        if self.response.complete:  # a second response in the same bytes: nobody asked for it
            self.surplus = True

    def on_chunk_header(self) -> None:
        self._in_chunk = True

    def on_chunk_complete(self) -> None:
        self._in_chunk = False
        self._between_chunks = not self._first_pieces

    def on_body(self, data: bytes) -> None:
        response = self.response
        if self.surplus:
            return
        if self._first_pieces:
            if response.kernel_stamps:
                response.unseen_s[self.stamp_s] = max(0.0, self.stamp_s - poller().emptied_at_s)
            self._first_pieces = response.kernel_stamps and len(response.unseen_s) < FIRST_PIECES
        self._keep((self.stamp_s, data))
        if self.done:
            self._late += data
        else:
            recent = self._tail + data
            self._tail = recent[-DONE_WITHIN:]
            if DONE in recent and (found := _DONE_LINE.search(recent)):
                self.done, self._late = True, recent[found.end() :]
        self._pending_bytes += len(data)
        if self._pending_bytes > FOLD_BYTES:
            self._fold()

    def _fold(self) -> None:
        """Have what has grown large read, and count it."""
        response = self.response
        if response.fold is not None and response.http_status in STREAMED:
            response.fold(response.segments)
            response.segments.clear()
        response.body_bytes += self._pending_bytes
        self._pending_bytes = 0

    def on_message_complete(self) -> None:
        if (self.response.http_status or 0) >= 200 and not self.surplus:  # a 1xx is followed by the real response
            self.response.complete = True
            self.keep_alive = self.parser.should_keep_alive()  # answers False once the message is over

    def take(self, stamp_s: float, data: bytes) -> bool:
        """Feed one received piece; True when the response is over, by its framing or because the peer has closed."""
        if self._between_chunks and data.endswith(EVENT_END):
            size_line, _, chunk = data.partition(b"\r\n")
            size_bytes = len(chunk) - 2
            if _chunk_bytes(size_line) == size_bytes and (
                data[-6] == LIST_END or chunk.find(b"\n") == size_bytes - 2 or DONE not in chunk
            ):  # an event that ends with its choices, or one by itself, or several without a [DONE] in the midst
                self.stamp_s = stamp_s
                self._keep((stamp_s, chunk[:-2]))
                self._tail = b""  # it ends a line: what follows begins one
                self._pending_bytes += size_bytes
                if self._pending_bytes > FOLD_BYTES:
                    self._fold()
                    self._check_size()
                return False
        return self._parse(stamp_s, data)

    def _parse(self, stamp_s: float, data: bytes) -> bool:
        response = self.response
        if not data:
            response.complete = self.ended_by_close()
            self.end_by_done()
            return True
        if response.first_byte_at_s is None:
            response.first_byte_at_s = stamp_s
        self.stamp_s = stamp_s
        self._received_bytes += len(data)
        self._between_chunks = False
        self.parser.feed_data(data)
        self._check_size()
        if self._in_chunk or not data.endswith(b"\r\n"):  # another chunk has begun since one ended
            self._between_chunks = False
        if self.done:
            self._between_chunks = False
            if not response.complete:
                self._after_done()
        return response.complete

    def _check_size(self) -> None:
        """Not in a callback of the parser, which would wrap the error. What the parser got may be headers without an end."""
        if max(self._received_bytes, self.response.body_bytes) > MAX_RESPONSE_BYTES:
            raise ResponseTooLarge

    def _after_done(self) -> None:
        if self.on_done is None or (self.late_event_ends and self.has_late_event):
            self.end_by_done()
        elif self._done_at_s is None:
            self._done_at_s = self.stamp_s
            self.on_done()
        elif self.stamp_s - self._done_at_s > END_GRACE_S:  # it sends comments for ever
            self.end_by_done()

    @property
    def has_late_event(self) -> bool:
        """A whole event with data came after [DONE]."""
        return b"data:" in self._late and self._late.endswith(EVENT_ENDS)

    def end_by_done(self) -> bool:
        """Where [DONE] came the answer is whole, whatever became of its body's end: False where it did not come."""
        if self.done and not self.response.complete:
            self.response.complete = self.response.end_missing = True
        return self.done

    def end(self) -> None:
        """Count what was not folded, and let go of the parser.

        It holds this object's methods: the cycle would wait for a collection of garbage, and those stall streams.
        """
        self.response.body_bytes += self._pending_bytes
        self._pending_bytes = 0
        del self.parser
        self.on_done = None

    def ended_by_close(self) -> bool:
        """A body without Content-Length or chunking ends where the connection does."""
        headers = self.response.headers
        framed = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        return self.response.http_status is not None and not framed
