"""A PD proxy that hands a request to the decoder only when the prefiller's KV is in the Mooncake store, or that says where NIXL finds it.

The proxies that come with Mooncake forward as soon as the prefiller has answered, while its put is still under way: the decoder then
computes the prompt again. This one knows from the prefiller's usage how many whole blocks it computed (a key each) and waits until the
master has counted the end of as many puts; its key count grows with the beginning of a put.
With `--hand-off nixl` it passes the prefiller's transfer parameters on instead, and the decoder reads the blocks from the prefiller.

With `--hand-off none` there is no prefiller: replicas answer in turn, behind the same proxy as a PD deployment beside them.
Several addresses, separated by commas, are asked in turn.

    python waiting_proxy.py --port 9000 --prefiller http://127.0.0.1:8100 --decoder http://127.0.0.1:8200 --master http://127.0.0.1:9013/metrics
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import sys
import time
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

NIXL = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}
POLL_S, GIVE_UP_S = 0.005, 15.0


class Proxy:
    def __init__(self, options: argparse.Namespace, session: ClientSession) -> None:
        self.options, self.session = options, session
        self.prefillers = itertools.cycle(options.prefiller.split(","))
        self.decoders = itertools.cycle(options.decoder.split(","))

    async def puts_done(self) -> float:
        async with self.session.get(self.options.master) as answer:
            found = re.findall(r"^master_(?:batch_put_end_items|put_end_requests)_total (\S+)", await answer.text(), re.MULTILINE)
            return sum(map(float, found))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        path = request.path
        if self.options.hand_off == "none":
            return await self.decode(path, body, request)
        if self.options.hand_off == "nixl":
            answer = await self.prefill(path, body | {"kv_transfer_params": NIXL})
            return await self.decode(path, body | {"kv_transfer_params": answer["kv_transfer_params"]}, request)
        before = await self.puts_done()
        usage = (await self.prefill(path, body))["usage"]
        started_s = time.monotonic()
        new = self.whole_blocks(usage["prompt_tokens"]) - self.whole_blocks(
            (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        )
        await self.wait_for(before + max(0, new))
        print(
            f"{usage['prompt_tokens']} tokens, {new} new blocks, waited {time.monotonic() - started_s:.3f} s",
            file=sys.stderr,
            flush=True,
        )
        return await self.decode(path, body, request)

    def whole_blocks(self, tokens: int) -> int:
        return tokens // self.options.block

    async def prefill(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        short = {
            key: value for key, value in body.items() if key not in ("stream_options", "min_tokens", "max_completion_tokens")
        }
        async with self.session.post(next(self.prefillers) + path, json=short | {"max_tokens": 1, "stream": False}) as answer:
            answer.raise_for_status()
            answered: dict[str, Any] = await answer.json()
            return answered

    async def wait_for(self, wanted: float) -> None:
        """Not for ever: a put that failed never comes, and the decoder can still compute the prompt (its counters will tell)."""
        deadline_s = time.monotonic() + GIVE_UP_S
        while await self.puts_done() < wanted and time.monotonic() < deadline_s:
            await asyncio.sleep(POLL_S)

    async def decode(self, path: str, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        async with self.session.post(next(self.decoders) + path, json=body) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response


async def make_app(options: argparse.Namespace) -> web.Application:
    session = ClientSession(timeout=ClientTimeout(total=600))
    proxy = Proxy(options, session)
    app = web.Application(client_max_size=64 << 20)
    for path in ("/v1/completions", "/v1/chat/completions"):
        app.router.add_post(path, proxy.handle)

    async def models(_: web.Request) -> web.Response:
        async with session.get(f"{options.decoder.split(',')[0]}/v1/models") as answer:
            return web.Response(body=await answer.read(), content_type="application/json")

    app.router.add_get("/v1/models", models)

    async def close(_: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("prefiller", "http://127.0.0.1:8100"),
        ("decoder", "http://127.0.0.1:8200"),
        ("master", "http://127.0.0.1:9013/metrics"),
    ):
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument(
        "--hand-off",
        choices=("store", "nixl", "none"),
        default="store",
        help="how the KV gets to the decoder; none: the decoders are replicas that compute whole requests (default: store)",
    )
    parser.add_argument("--block", type=int, default=16, help="tokens of the engine's KV block: one key each")
    options = parser.parse_args()
    web.run_app(make_app(options), host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
