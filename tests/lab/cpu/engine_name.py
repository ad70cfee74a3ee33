"""Names the engine in every response of a vLLM server: `vllm serve ... --middleware engine_name.EngineName`, name in ENGINE_NAME.

Routers pass the header on. With `router: {engine_header: x-engine}` the report then knows which engine answered each request.
This folder must be on PYTHONPATH of the server.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class EngineName:
    """ASGI middleware: header `x-engine` on every response."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.header = (b"x-engine", os.environ["ENGINE_NAME"].encode())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), self.header]
            await send(message)

        await self.app(scope, receive, named)
