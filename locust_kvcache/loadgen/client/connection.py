"""Does one HTTP/1.1 exchange over a gevent socket, and stamps each piece of the response body with its time of arrival.

While a response streams, nothing happens but receive, stamp, frame (llhttp, in C) and append: no JSON, no logging, no Locust.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket as std_socket
import time
from functools import partial

from gevent import socket
from gevent.monkey import get_original

from locust_kvcache.loadgen.client.framing import END_GRACE_S, Framing, Response
from locust_kvcache.loadgen.client.poller import RECEIVE_BYTES, SO_TIMESTAMPNS, poller
from locust_kvcache.loadgen.client.target import Target

MAX_IDLE_S = 3.0  # below uvicorn's keep-alive of 5 s: a connection about to be closed is not reused


def _tunnel(raw: socket.socket, target: Target) -> None:
    """Ask a proxy for a way through to a TLS server."""
    address = f"{target.host}:{target.port}"
    raw.sendall(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode("latin-1"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = raw.recv(4096)
        if not more:
            raise ConnectionError("the proxy closed the connection")
        answer += more
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    if " 200" not in status:
        raise ConnectionError(f"the proxy refused a tunnel to {address}: {status}")


def _connected(address: tuple[str, int], timeout_s: float) -> socket.socket:
    """A connection to `address`. A number needs no resolver, which would be asked in a thread for every connection."""
    try:
        family = std_socket.AF_INET6 if ipaddress.ip_address(address[0]).version == 6 else std_socket.AF_INET
    except ValueError:
        return socket.create_connection(address, timeout_s)
    raw = socket.socket(family, std_socket.SOCK_STREAM)
    try:
        raw.settimeout(timeout_s)
        raw.connect(address)
    except BaseException:
        raw.close()
        raise
    return raw


class Connection:
    """A keep-alive connection of one user. Not shared: a user has one request open at a time."""

    def __init__(self, target: Target, idle_timeout_s: float | None = None, connect_timeout_s: float = 10.0) -> None:
        """`idle_timeout_s`: a response that receives nothing for so long is given up with TimeoutError."""
        self._target = target
        self._idle_timeout_s = idle_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._socket: socket.socket | None = None
        self._kernel_stamps = False
        self._idle_since_s = 0.0
        self._keeps = True  # until the server has closed a kept connection without a word
        self._ends_bodies = True  # until the server has left an answer open after its [DONE]
        self._late_events = False  # until an event came between [DONE] and the end that did not

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _usable(self) -> bool:
        """Kept, idle for a moment only, and not readable: readable while idle means that the peer has closed it."""
        if self._socket is None or time.monotonic() - self._idle_since_s > MAX_IDLE_S:
            return False
        look = get_original("select", "poll")()  # gevent's would make a watcher, and select() itself takes no fd above 1,023
        look.register(self._socket.fileno(), select.POLLIN)
        return not look.poll(0)

    def ensure_open(self) -> float | None:
        """Connect unless a kept connection can be used; the time it took in ms, None if there was nothing to do."""
        if self._usable():
            return None
        self.close()
        started = time.monotonic()
        target = self._target
        raw = _connected(target.proxy or (target.host, target.port), self._connect_timeout_s)
        raw.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_NODELAY, 1)
        self._kernel_stamps = False
        if target.tls is not None:
            if target.proxy:
                _tunnel(raw, target)
            raw = target.tls.wrap_socket(raw, server_hostname=target.host)
        else:
            with contextlib.suppress(OSError):
                raw.setsockopt(std_socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                self._kernel_stamps = True
        raw.settimeout(self._idle_timeout_s)  # the total timeout of a request is its caller's gevent.Timeout
        self._socket = raw
        return (time.monotonic() - started) * 1000

    def exchange(self, request: bytes, response: Response) -> None:
        """Send `request` and fill `response` while it arrives; OSError or HttpParserError as they come.

        The caller keeps what `response` holds if this raises. A request is sent a second time only where a kept connection turns out
        to be closed: on a new one, once, and never after a byte of a response. Connections to such a server are not kept any more.
        """
        kept = response.connect_ms is None
        try:
            self._send_once(request, response)
        except TimeoutError:
            raise
        except OSError:
            if not kept or response.first_byte_at_s is not None:
                raise
        if kept and response.first_byte_at_s is None:
            self._keeps = False
            self.close()
            response.connect_ms = self.ensure_open()
            response.reconnected = True
            self._send_once(request, response)

    def _send_once(self, request: bytes, response: Response) -> None:
        assert self._socket is not None, "ensure_open first"
        framing = Framing(response)
        response.kernel_stamps = self._kernel_stamps
        keep = False
        try:
            response.sent_at_s = time.monotonic()
            self._socket.sendall(request)
            try:
                self._receive(framing)
            except OSError:  # TimeoutError is one
                if not framing.end_by_done():
                    raise
            if response.end_missing:
                self._ends_bodies = False
                self._late_events = self._late_events or framing.has_late_event
            keep = framing.keep_alive and not framing.surplus and self._keeps
        finally:
            framing.end()
            self._idle_since_s = time.monotonic()
            if not keep:
                self.close()

    def _receive(self, framing: Framing) -> None:
        """Take the response as it arrives: without TLS from the process's poller, with it from the socket itself."""
        sock = self._socket
        assert sock is not None
        waits = self._ends_bodies or self._late_events
        framing.late_event_ends = not self._ends_bodies
        if self._kernel_stamps:
            if waits:
                framing.on_done = partial(poller().limit, sock.fileno(), framing, END_GRACE_S)
            poller().wait(sock, framing, self._idle_timeout_s)
        else:
            if waits:
                framing.on_done = partial(sock.settimeout, END_GRACE_S)
            over = False
            while not over:
                data = sock.recv(RECEIVE_BYTES)
                over = framing.take(time.monotonic(), data)
            sock.settimeout(self._idle_timeout_s)  # for the next response: on_done may have made it short
