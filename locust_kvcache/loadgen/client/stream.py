"""Sends one streamed completion and says how it ended; server-sent events are parsed after the stream's end."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

import gevent
import httptools

from locust_kvcache.contract.failure_words import SAID_BY_SERVERS, message_of
from locust_kvcache.contract.finish_reasons import was_given_up
from locust_kvcache.contract.gateway import without_secrets
from locust_kvcache.contract.stream_times import OutputChunk
from locust_kvcache.contract.too_long import says_too_long
from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.framing import MAX_RESPONSE_BYTES, STREAMED, Response, ResponseTooLarge
from locust_kvcache.loadgen.client.sse import BYTE_ORDER_MARK, EventReader

NOT_COMPRESSED = ("", "identity", "none", "utf-8", "utf8")  # Content-Encodings; some name the character set there
ENDED_LATER = ("timeout", "stopped", "reset", "too_large")  # of a stream; what the server said in it came before


class StreamStopped(gevent.GreenletExit):  # type: ignore[misc]
    """Thrown into a user's greenlet to end its open stream when the test stops."""


@dataclass
class StreamOutcome:
    """One request as it went. `status` is `ok` or an error class of locust_kvcache/contract/record.py.

    `asked_tokens`: the output tokens that the request asks for, where they are known.
    """

    asked_tokens: int | None = None
    status: str = "ok"
    error: str | None = None
    response: Response = field(default_factory=Response)
    reader: EventReader = field(default_factory=EventReader)
    not_streamed: bool = False  # the answer was one JSON object
    end_missing: bool = False  # a whole answer by its [DONE] alone: no finish_reason came, or the body did not end
    request_head: bytes = b""  # its secrets must not come back in a server's words

    @property
    def chunks(self) -> list[OutputChunk]:
        return self.reader.log.chunks()

    @property
    def reply(self) -> str:
        return self.reader.reply

    @property
    def too_long(self) -> bool:
        """The server says that the request does not fit into the model's context: by an HTTP status or inside a stream, alike."""
        return self.status in SAID_BY_SERVERS and says_too_long(self.error or "")

    @property
    def begun(self) -> bool:
        """The server has said whether it takes the request: output, an error or a finish_reason is there. Read anew while it runs."""
        if len(self.reader.log):
            return True
        reader = EventReader()
        reader.feed(list(self.response.segments))
        return bool(len(reader.log) or reader.failure or reader.finish_reason)

    def fail(self, status: str, error: str, was_said: bool = False) -> None:
        """The first failure is the cause; what follows from it is not reported. Half a character of a server's text becomes ?.

        `was_said`: by the server in its stream, which is read after its end: what ended it came later.
        """
        if self.status == "ok" or (was_said and self.status in ENDED_LATER):
            error = without_secrets(error, self.request_head)
            self.status, self.error = status, error[:500].encode("utf-8", "replace").decode()


def parse_stream(outcome: StreamOutcome) -> None:
    """Fill the outcome from its response's segments, and judge whether the stream was whole.

    Whole: a finish_reason came that says that the model finished, and the body ended by its own framing. `[DONE]` is optional, some
    servers never send it; where it came, it stands for the body's end, and together with a count of output tokens for the
    finish_reason.
    """
    encoding = outcome.response.headers.get("content-encoding", "")
    if encoding.strip().lower() not in NOT_COMPRESSED:
        outcome.fail(
            "malformed",
            f"Content-Encoding {encoding!r} although only identity was accepted; compressed events cannot be timed. Switch the compression "
            "of text/event-stream off in the server or its proxy (nginx: gzip off)",
        )
        return
    reader = outcome.reader
    body = None if reader.begun else _single_object(outcome.response)
    if body is not None:
        outcome.not_streamed = True
        reader.feed_object(outcome.response.segments[-1][0], body, outcome.response.complete)
    else:
        reader.feed(outcome.response.segments)
    reader.finish(outcome.response.complete)
    if reader.failure is not None:
        outcome.fail(*reader.failure, was_said=reader.failure[0] == "stream_error")
    if reader.finish_reason is not None:
        _check_finish(outcome, reader.finish_reason)
    if body is None and outcome.response.complete:
        _check_events(outcome)
    if not outcome.response.complete:
        outcome.fail("cut", "the connection closed before the response was complete")
    elif not reader.log:
        head = reader.page_head.strip()
        said = f": {message_of(head.decode('utf-8', 'replace'))}" if head and not head.startswith(b":") else ""
        outcome.fail("no_output", f"the stream ended without any generated output{said}")
    elif reader.finish_reason is None and not (reader.done and reader.output_tokens is not None):
        outcome.fail("cut", "the stream ended without a finish_reason")
    outcome.end_missing = outcome.status == "ok" and (outcome.response.end_missing or reader.finish_reason is None)


def _single_object(response: Response) -> bytes | None:
    """The body where it is one JSON object instead of events."""
    if not response.segments or response.segments[0][1].lstrip()[:1] not in (b"{", BYTE_ORDER_MARK[:1], b""):
        return None
    body = b"".join(data for _, data in response.segments).removeprefix(BYTE_ORDER_MARK)
    return body if body.lstrip().startswith(b"{") else None


def _check_events(outcome: StreamOutcome) -> None:
    """Fail a page that came instead of events, with its first words: a login, a portal, a proxy's error with the wrong status."""
    head, kind = outcome.reader.page_head.strip(), outcome.response.headers.get("content-type", "").partition(";")[0].strip()
    if head and (kind != "text/event-stream" or head.startswith(b"<")):
        words = message_of(head.decode("utf-8", "replace"))
        outcome.fail(
            "http_error", f"HTTP {outcome.response.http_status} and {kind or 'text of no type'} instead of events: {words}"
        )


def _check_finish(outcome: StreamOutcome, reason: str) -> None:
    """Fail an answer that the server gave up, with the server's reason."""
    reader, asked = outcome.reader, outcome.asked_tokens
    tokens = len(reader.log) if reader.output_tokens is None else reader.output_tokens
    if was_given_up(reason, tokens, asked):
        count = f"{tokens}" if asked is None else f"{tokens} of {asked}"
        said = f": {reader.finish_message}" if reader.finish_message else ""
        outcome.fail("aborted", f"finish_reason {reason!r} after {count} tokens{said}", was_said=True)


def _http_failure(outcome: StreamOutcome) -> None:
    response = outcome.response
    body = b"".join(data for _, data in response.segments)[:2000].decode("utf-8", "replace")
    status = response.http_status or 0
    if 300 <= status < 400:
        body = f"redirect to {response.headers.get('location')!r} refused; put the final address into the endpoint"
    outcome.fail("http_error", f"HTTP {status}: {body}")


def send_stream(connection: Connection, request: bytes, timeout_s: float, outcome: StreamOutcome) -> None:
    """Send one request and take its response into `outcome`, which finish_outcome() reads later. Only GreenletExit is raised on.

    A response that is complete stays so, even if the timeout or a stop comes before the calling greenlet gets to know.
    """
    timeout = gevent.Timeout(timeout_s)
    timeout.start()
    outcome.request_head = request[: request.find(b"\r\n\r\n")]
    try:
        outcome.response.fold = outcome.reader.feed
        outcome.response.connect_ms = connection.ensure_open()
        connection.exchange(request, outcome.response)
    except gevent.Timeout as caught:
        if caught is not timeout:
            raise
        _unless_complete(outcome, "timeout", f"no complete response within {timeout_s:g} s")
    except StreamStopped:
        _unless_complete(outcome, "stopped", "the test was stopped while the request was open")
    except gevent.GreenletExit:
        _unless_complete(outcome, "stopped", "the user was stopped while its request was open")
        raise
    except (OSError, httptools.HttpParserError, ResponseTooLarge) as error:
        _transport_failure(outcome, error)
    finally:
        timeout.close()
        if outcome.status != "ok" or outcome.response.http_status not in STREAMED:
            connection.close()


def stream_request(connection: Connection, request: bytes, timeout_s: float, outcome: StreamOutcome) -> None:
    """Send one request, and fill `outcome` with how it ended. Every way it can end is a status; only GreenletExit is raised on."""
    try:
        send_stream(connection, request, timeout_s, outcome)
    finally:
        finish_outcome(outcome)
        if outcome.status != "ok":
            connection.close()


def _unless_complete(outcome: StreamOutcome, status: str, error: str) -> None:
    if not outcome.response.complete:
        outcome.fail(status, error)


def _transport_failure(outcome: StreamOutcome, error: Exception) -> None:
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, ResponseTooLarge):
        outcome.fail("too_large", f"more than {MAX_RESPONSE_BYTES} bytes in one response")
    elif isinstance(error, TimeoutError) and outcome.response.sent_at_s:
        outcome.fail("timeout", str(error))
    elif isinstance(error, ConnectionRefusedError):
        outcome.fail("refused", what)
    elif isinstance(error, ssl.SSLError):
        outcome.fail("tls", what)
    elif isinstance(error, httptools.HttpParserError):
        outcome.fail("malformed", f"not HTTP: {what}")
    else:
        outcome.fail("reset" if outcome.response.sent_at_s else "connect", what)


def finish_outcome(outcome: StreamOutcome) -> None:
    """Parse what arrived; also of a failed request, since what it measured until then was real."""
    if outcome.response.http_status is None:
        if outcome.response.sent_at_s:
            outcome.fail("reset", "the connection closed before any response")
    elif outcome.response.http_status in STREAMED:
        parse_stream(outcome)
    else:
        _http_failure(outcome)
