"""HTTP requests come in, OpenAI-compatible answers go out, streamed as vLLM streams them."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from emulator import tokenizer
from emulator.engine import Engine
from emulator.metrics import metrics_page

WORDS = " the report says that nothing has changed near the old bridge since last winter and work goes on".split(" ")


class Refused(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Api:
    engine: Engine
    model: str
    role: str
    api_key: str | None

    # -- pages

    async def models(self, _: Request) -> Response:
        entry = {"id": self.model, "object": "model", "owned_by": "emulator", "max_model_len": self.engine.profile.max_model_len}
        return JSONResponse({"object": "list", "data": [entry]})

    async def health(self, _: Request) -> Response:
        return Response()

    async def version(self, _: Request) -> Response:
        return JSONResponse(
            {"version": f"emulator ({self.engine.profile.name}, {self.role}, time scale {self.engine.time_scale:g})"}
        )

    async def metrics(self, _: Request) -> Response:
        return Response(metrics_page(self.engine, self.model), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def reset_prefix_cache(self, _: Request) -> Response:
        self.engine.cache.reset()
        return JSONResponse({"success": True})

    async def tokenize(self, request: Request) -> Response:
        body = await self._body(request)
        text = (
            tokenizer.chat_text(body["messages"], body.get("add_generation_prompt", True))
            if "messages" in body
            else body.get("prompt")
        )
        if not isinstance(text, str):
            raise Refused(400, "BadRequestError", "expected 'prompt' (text) or 'messages'")
        ids = tokenizer.encode(text)
        strings = tokenizer.tokens_of(text) if body.get("return_token_strs") else None
        return JSONResponse(
            {"count": len(ids), "max_model_len": self.engine.profile.max_model_len, "tokens": ids, "token_strs": strings}
        )

    # -- completions

    async def chat_completions(self, request: Request) -> Response:
        body = await self._body(request)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise Refused(400, "BadRequestError", "'messages' must be a non-empty list")
        return await self._answer(body, tokenizer.encode(tokenizer.chat_text(messages)), chat=True)

    async def completions(self, request: Request) -> Response:
        body = await self._body(request)
        prompt = body.get("prompt")
        ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        if not isinstance(ids, list) or not ids or not all(isinstance(token, int) and 0 <= token < 2**32 for token in ids):
            raise Refused(400, "BadRequestError", "'prompt' must be text or a non-empty list of token ids")
        return await self._answer(body, ids, chat=False)

    async def _body(self, request: Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.body())
        except ValueError as error:
            raise Refused(400, "BadRequestError", f"not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refused(400, "BadRequestError", "expected a JSON object")
        if body.get("model", self.model) != self.model:
            raise Refused(404, "NotFoundError", f"The model `{body['model']}` does not exist.")
        return body

    async def _answer(self, body: dict[str, Any], ids: list[int], chat: bool) -> Response:
        wanted = body.get("max_completion_tokens") or body.get("max_tokens") or 16
        limit = self.engine.profile.max_model_len
        if not isinstance(wanted, int) or wanted < 1:
            raise Refused(400, "BadRequestError", f"max_tokens must be at least 1, got {wanted!r}")
        if len(ids) + wanted > limit:
            raise Refused(400, "BadRequestError", f"maximum context length is {limit} tokens, got {len(ids)} + {wanted}")
        reply = _Reply(self, body, len(ids), wanted, chat)
        if body.get("stream"):
            return StreamingResponse(reply.stream(ids), media_type="text/event-stream")
        async for admitted in self.engine.generate(ids, wanted):
            reply.cached_tokens = admitted.cached_tokens
        return JSONResponse(reply.whole())


class _Reply:
    """One answer: a fixed text of whole words, one token each."""

    def __init__(self, api: Api, body: dict[str, Any], prompt_tokens: int, output_tokens: int, chat: bool) -> None:
        self.prompt_tokens, self.output_tokens, self.chat = prompt_tokens, output_tokens, chat
        self.cached_tokens = 0
        options = body.get("stream_options") or {}
        self.include_usage = bool(options.get("include_usage"))
        self.continuous_usage = bool(options.get("continuous_usage_stats"))
        kind = "chat.completion" if chat else "text_completion"
        self.base = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(16)}",
            "object": kind,
            "created": int(time.time()),
        }
        self.base["model"] = api.model
        self.api = api

    def word(self, number: int) -> str:
        return f" {WORDS[1 + number % (len(WORDS) - 1)]}"

    def usage(self, completion_tokens: int) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def whole(self) -> dict[str, Any]:
        text = "".join(self.word(number) for number in range(self.output_tokens))
        content = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choice = {"index": 0, **content, "finish_reason": "length"}
        return {**self.base, "choices": [choice], "usage": self.usage(self.output_tokens)}

    def _event(self, content: dict[str, Any] | None, finish: str | None, tokens: int) -> bytes:
        choices = [] if content is None else [{"index": 0, **content, "logprobs": None, "finish_reason": finish}]
        event: dict[str, Any] = {
            **self.base,
            "object": "chat.completion.chunk" if self.chat else "text_completion",
            "choices": choices,
        }
        if self.continuous_usage or content is None:
            event["usage"] = self.usage(tokens)
        return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"

    async def stream(self, ids: list[int]) -> AsyncIterator[bytes]:
        number = 0
        async for admitted in self.api.engine.generate(ids, self.output_tokens):
            self.cached_tokens = admitted.cached_tokens
            role = self._event({"delta": {"role": "assistant", "content": ""}}, None, 0) if self.chat and not number else b""
            text = self.word(number)
            number += 1
            finish = "length" if number == self.output_tokens else None
            yield role + self._event({"delta": {"content": text}} if self.chat else {"text": text}, finish, number)
        if self.include_usage:
            yield self._event(None, None, self.output_tokens)
        yield b"data: [DONE]\n\n"


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({"error": {"message": str(error), "type": error.kind, "param": None, "code": error.status}}, error.status)


class _RequireKey:
    """Bearer keys as vLLM's --api-key checks them: only below /v1."""

    def __init__(self, app: Any, api_key: str | None) -> None:
        self.app, self.api_key = app, api_key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.api_key and scope["type"] == "http" and scope["path"].startswith("/v1"):
            sent = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            if not secrets.compare_digest(sent, f"Bearer {self.api_key}"):
                await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def make_app(engine: Engine, model: str, role: str, api_key: str | None) -> Any:
    api = Api(engine, model, role, api_key)
    routes = [
        Route("/v1/models", api.models),
        Route("/v1/chat/completions", api.chat_completions, methods=["POST"]),
        Route("/v1/completions", api.completions, methods=["POST"]),
        Route("/tokenize", api.tokenize, methods=["POST"]),
        Route("/health", api.health),
        Route("/version", api.version),
        Route("/metrics", api.metrics),
        Route("/reset_prefix_cache", api.reset_prefix_cache, methods=["POST"]),
    ]
    return _RequireKey(Starlette(routes=routes, exception_handlers={Refused: _refused}), api_key)
