"""A deployment and what is to be sent come in, what the server can do goes out, before any load; BadInput says what to do about it.

Probes use texts with a nonce of their own, which no plan contains.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import requests

from locustfiles._calibrate import calibrate
from locustfiles._http import Connection, Target
from locustfiles._requests import PATHS, body_tail, chat_body, completion_body, encode_message
from locustfiles._server_metrics import label_value, scrape
from locustfiles._stream import StreamOutcome, stream_request
from scenarios.deployment import Deployment, Transport
from scenarios.errors import BadInput
from scenarios.plan import Calibration, Message
from scenarios.spec import Scenario
from scenarios.text import sample_text

DEFAULT_BLOCK_SIZE_TOKENS = 16
GET_TIMEOUT_S = 10.0
CANARY_PIECES = 600
PARAMETERS: dict[str, Any] = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 2,
    "temperature": 0.0,
    "ignore_eos": True,
}


@dataclass
class Server:
    """What the preflight learnt about a server; `warnings` is for the run's record and the console."""

    model: str
    models: list[str] | None
    version: str | None
    block_size_tokens: int
    block_size_known: bool
    reports_cached_tokens: bool
    zero_cached_if_missing: bool
    parameters: dict[str, Any]
    calibration: Calibration
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "models": self.models,
            "block_size_tokens": self.block_size_tokens,
            "block_size_known": self.block_size_known,
            "reports_cached_tokens": self.reports_cached_tokens,
            "request_parameters": self.parameters,
        }


def _without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def parameter_variants() -> list[dict[str, Any]]:
    """Request parameters to try, the fullest first: not every server knows ignore_eos, stream_options or max_tokens."""
    newer = {**_without(PARAMETERS, "ignore_eos", "max_tokens"), "max_completion_tokens": 2}
    return [
        PARAMETERS,
        _without(PARAMETERS, "ignore_eos"),
        newer,
        _without(newer, "temperature"),
        _without(PARAMETERS, "ignore_eos", "stream_options"),
    ]


def _session(transport: Transport) -> requests.Session:
    """A session for what is not measured, over the same proxy and certificates as what is."""
    session = requests.Session()
    session.trust_env = False
    session.verify = (transport.ca_file or True) if transport.verify else False
    if transport.client_cert:
        session.cert = (transport.client_cert, transport.client_key) if transport.client_key else transport.client_cert
    if transport.proxy:
        session.proxies = {"http": transport.proxy, "https": transport.proxy}
    return session


class Preflight:
    """One look at one server; `run` gives a Server or raises BadInput."""

    def __init__(self, deployment: Deployment, timeout_s: float) -> None:
        self.deployment = deployment
        self.api_key = os.environ.get(deployment.api_key_env) or None
        self.timeout_s = timeout_s
        try:
            self.target = Target.from_url(deployment.endpoint, deployment.transport)
        except OSError as error:  # ssl.SSLError is one
            raise BadInput(
                f"tls of deployment {deployment.name!r}: {error}; check its ca_file, client_cert and client_key"
            ) from error
        self.connection = Connection(self.target)
        self.session = _session(deployment.transport)
        self.warnings: list[str] = []
        self.model = ""
        self.parameters: dict[str, Any] = dict(PARAMETERS)

    def run(self, wanted_model: str | None, scenarios: Iterable[Scenario]) -> Server:
        scenarios = list(scenarios)
        models = self._served_models()
        self.model = self._choose_model(wanted_model, models)
        first = self._accepted_request("chat" if any(s.api == "chat" for s in scenarios) else "completions")
        reports, omits_zero = self._cached_tokens_reported(first)
        block_size = self._block_size()
        calibration = self._calibrate(scenarios)
        if calibration.source == "assumed":
            self._warn("the server counts no prompt tokens (/tokenize, usage): prompt sizes are assumed, not calibrated")
        self.connection.close()
        return Server(
            model=self.model,
            models=models,
            version=self._get_json("/version").get("version"),
            block_size_tokens=block_size or DEFAULT_BLOCK_SIZE_TOKENS,
            block_size_known=block_size is not None,
            reports_cached_tokens=reports,
            zero_cached_if_missing=omits_zero,
            parameters=self.parameters,
            calibration=calibration,
            warnings=self.warnings,
        )

    def _warn(self, text: str) -> None:
        self.warnings.append(text)

    # -- the server and its model

    def _get(self, path: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return self.session.get(self.deployment.endpoint + path, headers=headers, timeout=GET_TIMEOUT_S)

    def _get_json(self, path: str) -> dict[str, Any]:
        try:
            answer = self._get(path)
            found = answer.json() if answer.ok else {}
        except (requests.RequestException, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _served_models(self) -> list[str] | None:
        endpoint = self.deployment.endpoint
        try:
            answer = self._get("/v1/models")
        except requests.RequestException as error:
            what = f"TLS: {error}" if isinstance(error, requests.exceptions.SSLError) else type(error).__name__
            raise BadInput(
                f"{endpoint} cannot be reached ({what}). Is the server up? Check --host or the deployment's endpoint, tls and proxy"
            ) from error
        self._check_key(answer.status_code)
        if not answer.ok:
            self._warn(
                f"{endpoint}/v1/models answers {answer.status_code} (usual for PD proxies): the model is not checked there"
            )
            return None
        try:
            return [entry["id"] for entry in answer.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{endpoint}/v1/models is not an OpenAI model list; is this an OpenAI-compatible server?") from error

    def _check_key(self, status: int | None) -> None:
        if status not in (401, 403):
            return
        name = self.deployment.api_key_env
        state = "is refused" if self.api_key else "is not set"
        raise BadInput(
            f"{self.deployment.endpoint} wants an API key (HTTP {status}), and {name} {state}: export {name}=... on every worker"
        )

    def _choose_model(self, wanted: str | None, models: list[str] | None) -> str:
        served = ", ".join(models or [])
        if wanted and models is not None and wanted not in models:
            raise BadInput(
                f"model {wanted!r} is not served by {self.deployment.endpoint}; served: {served or 'none'}. Use --model"
            )
        if wanted:
            return wanted
        if models is not None and len(models) == 1:
            return models[0]
        raise BadInput(f"which model? {self.deployment.endpoint} serves: {served or 'unknown'}. Use --model")

    # -- one small request, as the measured ones will be

    def probe(self, messages: list[Message], api: str = "chat", max_tokens: int = 2) -> StreamOutcome:
        parameters = {key: max_tokens if key.startswith("max_") else value for key, value in self.parameters.items()}
        tail = body_tail(parameters)
        if api == "chat":
            body = chat_body(self.model, [encode_message(m["role"], m["content"]) for m in messages], tail)
        else:
            body = completion_body(self.model, "\n\n".join(m["content"] for m in messages), tail)
        outcome = StreamOutcome()
        head = self.target.request_head(PATHS[api], len(body), self.api_key)
        stream_request(self.connection, head + body, self.timeout_s, outcome)
        return outcome

    def _accepted_request(self, api: str) -> StreamOutcome:
        """The first canary request, with the fullest set of parameters that the server accepts."""
        self.canary = [
            {"role": "system", "content": f"{secrets.token_hex(8)} canary"},
            {"role": "user", "content": sample_text("document", CANARY_PIECES, secrets.token_hex(8))[0]},
        ]
        self.api = api
        for variant in parameter_variants():
            self.parameters = dict(variant)
            outcome = self.probe(self.canary, api)
            if outcome.response.http_status not in (400, 422):
                break
        self._check_key(outcome.response.http_status)
        if outcome.status != "ok":
            hint = " Use --model." if outcome.response.http_status == 404 else ""
            raise BadInput(
                f"a small streamed request to {self.deployment.endpoint}{PATHS[api]} for model {self.model!r} failed: "
                f"{outcome.status}: {outcome.error}.{hint}"
            )
        for key in PARAMETERS:
            if key not in self.parameters:
                self._warn(f"the server does not accept the request parameter {key!r}; it is left out")
        return outcome

    def _cached_tokens_reported(self, first: StreamOutcome) -> tuple[bool, bool]:
        """(cached tokens are reported, they are left out when 0): the same canary again must hit if there is a prefix cache."""
        again = self.probe(self.canary, self.api)
        reports = again.cached_tokens is not None
        if not reports:
            self._warn(
                "the server does not report cached tokens (vLLM: --enable-prompt-tokens-details, SGLang: --enable-cache-report): "
                "hits are known by round only"
            )
        elif again.cached_tokens == 0:
            self._warn(
                "a prompt sent twice hit nothing: prefix caching seems to be off, so later rounds may be as cold as round 1"
            )
        elif first.cached_tokens and first.prompt_tokens and first.cached_tokens > first.prompt_tokens / 2:
            self._warn(
                f"a never-seen prompt was reported as cached ({first.cached_tokens} of {first.prompt_tokens} tokens), as PD decoders "
                "do: the reported hit rate cannot be trusted"
            )
        return reports, reports and first.cached_tokens is None

    def _block_size(self) -> int | None:
        for row in scrape(self.deployment.metrics):
            value = label_value(row["samples"], "vllm:cache_config_info", "block_size")
            if value and value.isdigit():
                return int(value)
            if not row["ok"]:
                self._warn(f"metrics of {row['role']} at {row['url']} cannot be read: {row['error']}")
        return None

    # -- counting tokens

    def _calibrate(self, scenarios: list[Scenario]) -> Calibration:
        """Count by /tokenize where it counts chat messages, else by the usage of a one-token answer."""
        if self.api == "chat" and self._tokenize(messages=self.canary, add_generation_prompt=True) is not None:
            return calibrate(
                lambda messages: self._tokenize(messages=messages, add_generation_prompt=True),
                lambda text: self._tokenize(prompt=text),
                "tokenize",
                scenarios,
            )
        return calibrate(lambda messages: self.probe(messages, self.api, 1).prompt_tokens, None, "usage", scenarios)

    def _tokenize(self, **question: Any) -> int | None:
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        try:
            answer = self.session.post(
                self.deployment.endpoint + "/tokenize",
                json={"model": self.model, **question},
                headers=headers,
                timeout=GET_TIMEOUT_S,
            )
            count = answer.json().get("count") if answer.ok else None
        except (requests.RequestException, ValueError, AttributeError):
            return None
        return count if isinstance(count, int) else None
