"""Finds out what the server can do, before any load: its model, the parameters it takes, its block size, how it counts.

Probes use texts with a nonce of their own, which no plan contains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.client.request_bodies import PATHS, as_sent
from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.loadgen.server.accepted_parameters import PARAMETERS, refused_in_stream, try_parameters
from locust_kvcache.loadgen.server.balanced_pages import Balanced, find_balanced
from locust_kvcache.loadgen.server.calibration import CountsRefused, TextRefused, assumed, calibrate
from locust_kvcache.loadgen.server.canary import PIECES, new_canary
from locust_kvcache.loadgen.server.findings import no_hit
from locust_kvcache.loadgen.server.identity_check import check_identity
from locust_kvcache.loadgen.server.metrics_pages import block_size, scrape
from locust_kvcache.loadgen.server.model_list import ModelList, ask_models, choose_model
from locust_kvcache.loadgen.server.patience import patiently
from locust_kvcache.loadgen.server.probe import Probe
from locust_kvcache.loadgen.server.refusals import advice, key_refused, switched_off
from locust_kvcache.loadgen.server.sized_canary import ask_largest, check_context, check_refused, sized_warnings
from locust_kvcache.workload.apis import CHAT, COMPLETIONS, CONVERSING, GENERATE, MESSAGES, RESPONSES
from locust_kvcache.workload.plan import Calibration, Message
from locust_kvcache.workload.spec import Scenario

DEFAULT_BLOCK_SIZE_TOKENS = 16
MORE_TOKENS = (16, 64)  # some servers take no fewer than 16; gpt-oss's first three tokens are not shown, others think for longer
FEW_PIECES = 120
PROBED_FIRST = (CHAT, RESPONSES, MESSAGES, COMPLETIONS, GENERATE)  # of several: the one by which prompts are counted
CANARY_TIMEOUT_S = 120.0  # some 800 tokens take a large model seconds: longer is broken


@dataclass
class Server:
    """What the preflight learnt about a server; `warnings` is for the run's record and the console."""

    model: str
    api: str  # of the probes
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
    balanced: Balanced = field(default_factory=Balanced)

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "models": self.models,
            "block_size_tokens": self.block_size_tokens,
            "block_size_known": self.block_size_known,
            "reports_cached_tokens": self.reports_cached_tokens,
            "request_parameters": as_sent(self.parameters, self.api),
            "largest_request": self.largest_request,
        }


class Preflight:
    """One look at one server; `run` gives a Server or raises BadInput."""

    def __init__(self, deployment: Deployment, timeout_s: float) -> None:
        self.deployment = deployment
        self.probe = Probe(deployment, min(timeout_s, CANARY_TIMEOUT_S))
        self.warnings: list[str] = []
        self.canary_pieces = PIECES

    def run(self, wanted_model: str | None, scenarios: Iterable[Scenario]) -> Server:
        scenarios = list(scenarios)
        models = ask_models(self.probe.get, self.deployment.endpoint)
        if not wanted_model and models.http_status in (401, 403):
            raise key_refused(self.deployment, self.probe.api_key, models.said)
        self.probe.model, doubt = choose_model(wanted_model, models, self._address("/v1/models"))
        self.warnings += [doubt] if doubt else []
        apis = sorted({scenario.api for scenario in scenarios}, key=PROBED_FIRST.index)
        first = self._accepted_request(apis[0], models)
        self._check_others(apis[1:], models)
        self.balanced = find_balanced(self.deployment)  # their counters differ by now, if only by the canary
        self.warnings += self.balanced.warnings()
        reports, omits_zero = self._cached_tokens_reported(first)
        self.warnings += check_identity(self.probe, self.api, scenarios, self.canary_pieces)
        size = block_size(scrape(self.deployment.metrics, self.deployment.access))
        calibration = self._calibrate(scenarios, first.reader.prompt_tokens)
        check_context(self.probe.model, models.context_tokens, scenarios, calibration)
        sized = ask_largest(self.probe, scenarios, calibration)
        check_refused(sized, self.deployment.endpoint, self.probe.least_tokens)
        self.warnings += sized_warnings(
            sized, calibration.source != "assumed", lambda: ask_largest(self.probe, scenarios, calibration)
        )
        version = self.probe.get_json("/version").get("version")
        self.probe.close()
        return Server(
            model=self.probe.model,
            api=self.api,
            models=None if models.names is None else list(models.names),
            version=version,
            block_size_tokens=size or DEFAULT_BLOCK_SIZE_TOKENS,
            block_size_known=size is not None,
            reports_cached_tokens=reports,
            zero_cached_if_missing=omits_zero,
            parameters=self.probe.parameters,
            calibration=calibration,
            warnings=self.warnings,
            largest_request=sized.facts,
            balanced=self.balanced,
        )

    def _address(self, path: str) -> str:
        """Of one of the API's pages, without the query, which may hold a key."""
        own = path if not path.startswith("/v1/") else f"{self.deployment.transport.api_path}{path.removeprefix('/v1')}"
        return f"{self.deployment.endpoint}{own}"

    def _warn(self, text: str) -> None:
        self.warnings.append(text)

    # -- one small request, as the measured ones will be

    def _accepted_request(self, api: str, models: ModelList) -> StreamOutcome:
        """The first canary request, with the fullest set of parameters that the server accepts."""
        self.api = api
        outcome = self._try_parameters()
        for tokens in MORE_TOKENS:
            if outcome.status == "no_output" or outcome.response.http_status in (400, 422) or refused_in_stream(outcome):
                self.probe.least_tokens = tokens
                outcome = self._try_parameters()
        if outcome.response.http_status in (400, 413, 422) or outcome.too_long:  # a very short context?
            self.probe.least_tokens, self.canary_pieces = 1, FEW_PIECES
            shorter = self._try_parameters()
            outcome = shorter if shorter.status == "ok" else outcome
        self._unless_answered(outcome, api, models)
        for key in PARAMETERS:
            if key not in self.probe.parameters:
                self._warn(f"the server does not accept the request parameter {key!r}; it is left out")
        return outcome

    def _unless_answered(self, outcome: StreamOutcome, api: str, models: ModelList) -> None:
        if outcome.response.http_status in (401, 403) and not switched_off(outcome):
            raise key_refused(self.deployment, self.probe.api_key, outcome.error)
        if outcome.status != "ok":
            raise BadInput(
                f"a small streamed request to {self._address(PATHS[api])} for model {self.probe.model!r} failed: "
                f"{outcome.status}: {(outcome.error or '').rstrip('.')}.{advice(outcome, models, api)}"
            )

    def _check_others(self, apis: list[str], models: ModelList) -> None:
        """Scenarios of one run may use several APIs: the others are asked once each."""
        for api in apis:
            self._unless_answered(patiently(partial(self.probe.stream, self.canary, api)), api, models)

    def _try_parameters(self) -> StreamOutcome:
        """The outcome with the first set of parameters that is not refused, else with the fullest."""

        def ask(values: dict[str, Any]) -> StreamOutcome:
            self.probe.parameters = {**values, **self.probe.extra_body}
            return patiently(self._never_seen)

        values, outcome = try_parameters(ask, self.api)
        self.probe.parameters = {**values, **self.probe.extra_body}
        return outcome

    def _never_seen(self) -> StreamOutcome:
        self.canary = new_canary(self.canary_pieces)
        return self.probe.stream(self.canary, self.api)

    def _cached_tokens_reported(self, first: StreamOutcome) -> tuple[bool, bool]:
        """(cached tokens are reported, they are left out when 0): the same canary again must hit if there is a prefix cache."""
        again = patiently(lambda: self.probe.stream(self.canary, self.api))
        cached = again.reader.cached_tokens
        reports = cached is not None
        if not reports and "cached_tokens" in (again.reader.counts.rejected or ""):
            self._warn("the reported cached tokens are impossible: hits are known by round only")
        elif not reports:
            self._warn(
                "the server does not report cached tokens (vLLM: --enable-prompt-tokens-details, SGLang: --enable-cache-report): "
                "hits are known by round only"
            )
        elif cached == 0:
            self._warn(no_hit(scrape(self.deployment.metrics, self.deployment.access), bool(self.balanced.pages)))
        elif (claimed := first.reader.cached_tokens or 0) > (prompt := first.reader.prompt_tokens or 0) / 2:
            self._warn(
                f"a never-seen prompt was reported as cached ({claimed} of {prompt} tokens), as PD decoders "
                "do: the reported hit rate cannot be trusted"
            )
        if (name := first.reader.response_id) and name == again.reader.response_id != self._never_seen().reader.response_id:
            self._warn(
                f"a prompt sent twice got the same answer twice, with the id {name!r}: something in front of the model caches whole "
                "responses. "
                "Later rounds then measure that cache, not the KV cache; switch it off, or send directly to the servers"
            )
        return reports, bool(cached) and first.reader.cached_tokens is None

    # -- counting tokens

    def _calibrate(self, scenarios: list[Scenario], canary_tokens: int | None) -> Calibration:
        """Count by /tokenize where it counts chat messages as the model does, else by the usage of a one-token answer.

        `canary_tokens`: the last canary's prompt tokens by usage. Counts that cannot be those of a text are refused by name.
        """
        probe = self.probe
        told = probe.tokenize(messages=self.canary, add_generation_prompt=True) if self.api in CONVERSING else None
        if told is None and probe.impossible_count:
            self._warn(
                f"/tokenize counts {probe.impossible_count} tokens in a prompt, which is impossible: prompt sizes are calibrated by the "
                "model's own count"
            )
        elif told is not None and canary_tokens is not None and abs(told - canary_tokens) > max(0.05 * canary_tokens, 8):
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
        try:
            found = calibrate(self._count_by_usage, None, "usage", scenarios)
        except CountsRefused as error:
            self._warn(f"the server's prompt_tokens are refused: {error}. Prompt sizes are assumed, not calibrated")
            return assumed()
        except TextRefused as error:
            self._warn(f"the requests that calibrate prompt sizes failed: {error}. Prompt sizes are assumed, not calibrated")
            return assumed()
        if found.source == "assumed":
            self._warn("the server counts no prompt tokens (/tokenize, usage): prompt sizes are assumed, not calibrated")
        return found

    def _count_by_usage(self, messages: list[Message]) -> int | None:
        outcome = patiently(lambda: self.probe.stream(messages, self.api, 1))
        if outcome.reader.prompt_tokens is None and outcome.status not in ("ok", "no_output"):
            raise TextRefused(f"{outcome.status}: {outcome.error}")
        if outcome.reader.prompt_tokens is None and outcome.reader.counts.rejected:
            raise CountsRefused(outcome.reader.counts.rejected)
        return outcome.reader.prompt_tokens
