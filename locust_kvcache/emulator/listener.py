"""Provides a listening socket that can refuse for a while, and runs the process until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
from collections.abc import Callable

import uvloop

from locust_kvcache.emulator.wire import Connection, HttpRequest

Handler = Callable[[HttpRequest, Connection], None]
BACKLOG = 4096


def listen(host: str, port: int, option: str) -> socket.socket:
    """A socket that accepts connections at once; OSError or ValueError with the option that names the port, and the way out."""
    if not 0 <= port <= 65_535:
        raise ValueError(f"{option} is {port}; expected 0 to 65535 (0 takes a port that is free)")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(
                f"{option} {port}: another process listens there. Give another port; 0 takes one that is free"
            ) from error
        said = str(error.strerror or error).partition(" (while")[0]
        raise OSError(f"cannot listen at --host {host}, {option} {port}: {said}") from error


class Listener:
    def __init__(self, listening: socket.socket, handle: Handler) -> None:
        self._address, self._family = listening.getsockname(), listening.family
        self._socket: socket.socket | None = listening
        self._handle = handle
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._socket is None:
            self._socket = socket.socket(self._family)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(self._address)
        self._server = await loop.create_server(lambda: Connection(self._handle), sock=self._socket, backlog=BACKLOG)

    async def refuse(self, seconds: float) -> None:
        """New connections are refused for so long; open ones go on."""
        assert self._server
        self._server.close()
        self._socket = None
        await asyncio.sleep(seconds)
        await self.open()


async def until_stopped() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def run(main: Callable[[], object]) -> None:
    gc.collect()
    gc.freeze()  # what is loaded by now stays: collections look at young objects only
    gc.set_threshold(50_000, 20, 100)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())  # type: ignore[arg-type]
