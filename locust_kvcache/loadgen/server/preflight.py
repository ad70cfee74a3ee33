"""Finds out what the server can do, before any load: its model, the parameters it takes, its block size, how it counts.

Probes use texts with a nonce of their own, which no plan contains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import requests

from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.client.request_bodies import PATHS
from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.loadgen.server.calibration import CountsRefused, assumed, calibrate
from locust_kvcache.loadgen.server.canary import new_canary
from locust_kvcache.loadgen.server.findings import no_hit
from locust_kvcache.loadgen.server.metrics_pages import label_value, scrape
from locust_kvcache.loadgen.server.probe import PARAMETERS, Probe, parameter_variants
from locust_kvcache.loadgen.server.sized_canary import ask_largest, check_refused, sized_warnings
from locust_kvcache.workload.plan import Calibration
from locust_kvcache.workload.spec import Scenario

DEFAULT_BLOCK_SIZE_TOKENS = 16
FLAKY_TRIES = 3
MORE_TOKENS = 16  # some servers take no fewer; gpt-oss's first three tokens are not shown
CANARY_TIMEOUT_S = 120.0  # some 800 tokens take a large model seconds: longer is broken


@dataclass
class Server:
    """What the preflight learnt about a server; `warnings` is for the run's record and the console."""

    model: str
    api: str  # of the probes: chat | completions
    models: list[str] | None
    version: str | None
    block_size_tokens: int
    block_size_known: bool
    reports_cached_tokens: bool
    zero_cached_if_missing: bool
    parameters: dict[str, Any]
    calibration: Calibration
    warnings: list[str] = field(default_factory=list)
    largest_request: dict[str, Any] = field(default_factory=dict)  # planned and counted tokens of the largest planned request

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "models": self.models,
            "block_size_tokens": self.block_size_tokens,
            "block_size_known": self.block_size_known,
            "reports_cached_tokens": self.reports_cached_tokens,
            "request_parameters": self.parameters,
            "largest_request": self.largest_request,
        }


class Preflight:
    """One look at one server; `run` gives a Server or raises BadInput."""

    def __init__(self, deployment: Deployment, timeout_s: float) -> None:
        self.deployment = deployment
        self.probe = Probe(deployment, min(timeout_s, CANARY_TIMEOUT_S))
        self.warnings: list[str] = []

    def run(self, wanted_model: str | None, scenarios: Iterable[Scenario]) -> Server:
        scenarios = list(scenarios)
        models = self._served_models()
        self.probe.model = self._choose_model(wanted_model, models)
        first = self._accepted_request("chat" if any(s.api == "chat" for s in scenarios) else "completions")
        reports, omits_zero = self._cached_tokens_reported(first)
        block_size = self._block_size()
        calibration = self._calibrate(scenarios, first.reader.prompt_tokens)
        sized = ask_largest(self.probe, scenarios, calibration)
        check_refused(sized, self.deployment.endpoint)
        self.warnings += sized_warnings(
            sized, calibration.source != "assumed", lambda: ask_largest(self.probe, scenarios, calibration)
        )
        version = self.probe.get_json("/version").get("version")
        self.probe.close()
        return Server(
            model=self.probe.model,
            api=self.api,
            models=models,
            version=version,
            block_size_tokens=block_size or DEFAULT_BLOCK_SIZE_TOKENS,
            block_size_known=block_size is not None,
            reports_cached_tokens=reports,
            zero_cached_if_missing=omits_zero,
            parameters=self.probe.parameters,
            calibration=calibration,
            warnings=self.warnings,
            largest_request=sized.facts,
        )

    def _warn(self, text: str) -> None:
        self.warnings.append(text)

    # -- the server and its model

    def _served_models(self) -> list[str] | None:
        endpoint = self.deployment.endpoint
        try:
            answer = self.probe.get("/v1/models")
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
        if not name:
            raise BadInput(
                f"{self.deployment.endpoint} wants an API key (HTTP {status}), and none is sent to an address from the start form: "
                "start Locust with --host or --deployment for it"
            )
        state = "is refused" if self.probe.api_key else "is not set"
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

    def _accepted_request(self, api: str) -> StreamOutcome:
        """The first canary request, with the fullest set of parameters that the server accepts."""
        self.api = api
        outcome = self._try_parameters()
        if outcome.status == "no_output" or outcome.response.http_status in (400, 422):
            self.probe.least_tokens = MORE_TOKENS
            outcome = self._try_parameters()
        self._check_key(outcome.response.http_status)
        if outcome.status != "ok":
            hint = " Use --model." if outcome.response.http_status == 404 else ""
            raise BadInput(
                f"a small streamed request to {self.deployment.endpoint}{PATHS[api]} for model {self.probe.model!r} failed: "
                f"{outcome.status}: {outcome.error}.{hint}"
            )
        for key in PARAMETERS:
            if key not in self.probe.parameters:
                self._warn(f"the server does not accept the request parameter {key!r}; it is left out")
        return outcome

    def _try_parameters(self) -> StreamOutcome:
        """The outcome with the first set of parameters that is not refused, or with the last one."""
        for variant in parameter_variants():
            self.probe.parameters = {**variant, **self.probe.extra_body}
            outcome = self._answer(fresh=True)
            if outcome.response.http_status not in (400, 422):
                break
        return outcome

    def _answer(self, fresh: bool) -> StreamOutcome:
        """The outcome of a canary, a never-seen one or the last again; a server that fails now and then gets another try: that is for
        the load to show."""
        for _ in range(FLAKY_TRIES):
            if fresh:
                self.canary = new_canary()
            outcome = self.probe.stream(self.canary, self.api)
            status = outcome.response.http_status
            refused = status is not None and 400 <= status < 500 and status != 429
            if outcome.status in ("ok", "timeout") or refused:
                break
        return outcome

    def _cached_tokens_reported(self, first: StreamOutcome) -> tuple[bool, bool]:
        """(cached tokens are reported, they are left out when 0): the same canary again must hit if there is a prefix cache."""
        again = self._answer(fresh=False)
        reports = again.reader.cached_tokens is not None
        if not reports and "cached_tokens" in (again.reader.counts.rejected or ""):
            self._warn("the cached tokens that the server reports cannot be true: hits are known by round only")
        elif not reports:
            self._warn(
                "the server does not report cached tokens (vLLM: --enable-prompt-tokens-details, SGLang: --enable-cache-report): "
                "hits are known by round only"
            )
        elif again.reader.cached_tokens == 0:
            self._warn(no_hit(scrape(self.deployment.metrics, self.deployment.access)))
        elif (cached := first.reader.cached_tokens or 0) > (prompt := first.reader.prompt_tokens or 0) / 2:
            self._warn(
                f"a never-seen prompt was reported as cached ({cached} of {prompt} tokens), as PD decoders "
                "do: the reported hit rate cannot be trusted"
            )
        return reports, reports and first.reader.cached_tokens is None

    def _block_size(self) -> int | None:
        for row in scrape(self.deployment.metrics, self.deployment.access):
            value = label_value(row["samples"], "vllm:cache_config_info", "block_size")
            if value and value.isdigit():
                return int(value)
        return None

    # -- counting tokens

    def _calibrate(self, scenarios: list[Scenario], canary_tokens: int | None) -> Calibration:
        """Count by /tokenize where it counts chat messages as the model does, else by the usage of a one-token answer.

        `canary_tokens`: the last canary's prompt tokens by usage. Counts that cannot be those of a text are refused by name.
        """
        probe = self.probe
        told = probe.tokenize(messages=self.canary, add_generation_prompt=True) if self.api == "chat" else None
        if told is not None and canary_tokens is not None and abs(told - canary_tokens) > max(0.05 * canary_tokens, 8):
            self._warn(
                f"/tokenize counts {told} tokens in a prompt that the model counts as {canary_tokens}: another tokenizer. Prompt sizes "
                "are calibrated by the model's own count"
            )
        elif told is not None:
            try:
                return calibrate(
                    lambda messages: probe.tokenize(messages=messages, add_generation_prompt=True),
                    lambda text: probe.tokenize(prompt=text),
                    "tokenize",
                    scenarios,
                )
            except CountsRefused as error:
                self._warn(f"the counts of /tokenize are refused: {error}")
        return self._calibrate_by_usage(scenarios)

    def _calibrate_by_usage(self, scenarios: list[Scenario]) -> Calibration:
        probe = self.probe
        try:
            found = calibrate(lambda messages: probe.stream(messages, self.api, 1).reader.prompt_tokens, None, "usage", scenarios)
        except CountsRefused as error:
            self._warn(f"the server's prompt_tokens are refused: {error}. Prompt sizes are assumed, not calibrated")
            return assumed()
        if found.source == "assumed":
            self._warn("the server counts no prompt tokens (/tokenize, usage): prompt sizes are assumed, not calibrated")
        return found
