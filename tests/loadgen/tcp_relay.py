"""python tests/loadgen/tcp_relay.py LISTEN_PORT PORT...: relays to a local port, of several to each in turn, connection by connection.

Stopped (SIGSTOP) it is a network that carries nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
    writer.close()


async def serve(listen_port: int, *ports: int) -> None:
    turns = itertools.cycle(ports)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", next(turns))
        await asyncio.gather(carry(reader, there_writer), carry(there_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", listen_port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:])))
