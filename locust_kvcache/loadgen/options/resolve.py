"""Reads the files that the options name, once for a start: scenarios, the deployment, the list of models."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gevent

from locust_kvcache.contract.cache_tiers import check_arms
from locust_kvcache.contract.deployment import Deployment, ModelInfo, host_deployment, load_deployment, load_models
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.workload.apis import with_api
from locust_kvcache.workload.given_lengths import with_lengths
from locust_kvcache.workload.retention import RETENTION, retention_scenario
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.tenants import named, with_gaps, with_identity
from locust_kvcache.workload.traces.replay import TRACE_REPLAY, replay_scenario

STEP_REQUESTS = 400
log = logging.getLogger("kvcache")


@dataclass(frozen=True)
class Job:
    """What a test is to do: its scenarios in order, the deployment, and what models.yaml says of models."""

    options: Options
    host: str | None  # Locust's --host
    loaded: tuple[str, ...]  # scenarios of the loaded user classes
    scenarios: tuple[Scenario, ...]
    deployment: Deployment
    models: Mapping[str, ModelInfo]

    def model(self) -> tuple[str | None, ModelInfo | None]:
        """(model name to ask for, what models.yaml says of it); (None, None) leaves the choice to the server's own list."""
        wanted = self.options.model or self.deployment.model_key
        if wanted is None:
            return None, None
        info = self.models.get(wanted) or self.served(wanted)
        return (info.served_name if info else wanted), info

    def served(self, name: str) -> ModelInfo | None:
        """What models.yaml says of a model that is served by this name."""
        return next((info for info in self.models.values() if info.served_name == name), None)


def resolve(options: Options, loaded: Sequence[str], host: str | None, named_host: str | None) -> Job:
    """`loaded`: the scenarios of the loaded user classes; `named_host`: --host of the command line, which `host` may differ from."""
    scenarios = load_scenarios(options, loaded)
    if options.study.dry_run:
        raise BadInput(
            "--dry-run is for the command line: from the start form the test would be sent; start Locust with --dry-run"
        )
    deployment = find_deployment(options, host)
    if host and host != named_host and deployment.endpoint != _known_endpoint(options, named_host):
        deployment = without_secrets(deployment)
    if options.study.capacity and not deployment.slo:
        raise BadInput("--capacity needs objectives: --slo ttft_ms=2000 tpot_ms=50, or `slo` in the deployment file")
    check_arms(options.arms, deployment.caches, deployment.name, deployment.restart is not None)
    if options.empty_caches and not deployment.caches:
        raise BadInput(
            f"--empty-caches: deployment {deployment.name!r} does not say how; add `caches` to its file (configs/pd_disagg.yaml shows them)"
        )
    return Job(options, host, tuple(loaded), tuple(scenarios), deployment, load_models()[1])


def load_scenarios(options: Options, loaded: Sequence[str]) -> list[Scenario]:
    """The scenarios to run, in order: those named, else those of the loaded locustfiles."""
    of_files = {*loaded} - {""}
    if options.study.returns:
        return [with_api(retention_scenario(options.study.returns[0]), options.api)]
    of_files -= {RETENTION}
    names = options.scenarios or ((TRACE_REPLAY,) if options.trace else tuple(sorted(of_files - {TRACE_REPLAY})))
    if not names and TRACE_REPLAY not in of_files:
        raise BadInput("no scenario: load a locustfile of locustfiles/ (-f locustfiles), or name scenarios with --scenarios")
    if options.trace and not options.scenarios and of_files and TRACE_REPLAY not in of_files and len(of_files) == len({*loaded}):
        raise BadInput(
            f"--trace is replayed by locustfiles/trace_replay.py, and the locustfiles that are loaded run {', '.join(sorted(of_files))}; "
            "load that file (-f), or leave --trace out"
        )
    scenarios = [
        replay_scenario(options.trace, _pause) if name == TRACE_REPLAY else load_scenario(name)
        for name in names or (TRACE_REPLAY,)
    ]
    scenarios = [with_lengths(scenario, options.prompt_tokens, options.output_tokens) for scenario in scenarios]
    scenarios = [with_identity(scenario, options.cache_salt, options.echo_headers) for scenario in scenarios]
    scenarios = [with_gaps(with_api(scenario, options.api), options.gaps) for scenario in scenarios]
    for scenario in scenarios if options.study.noisy_neighbour else ():
        named(scenario, options.study.noisy_neighbour)
    repeated = {scenario.name for scenario in scenarios if sum(s.name == scenario.name for s in scenarios) > 1}
    if repeated:
        raise BadInput(f"--scenarios names {', '.join(sorted(repeated))} more than once")
    if options.study.capacity and options.requests and options.requests < (few := _fewest(options.study.capacity_share)):
        raise BadInput(f"--requests is {options.requests}; a step of --capacity needs at least {few} for its percentile")
    least = STEP_REQUESTS if options.study.capacity else 0  # a step needs as many for its p90 and its steady-state test
    return [s.with_requests(options.requests or max(s.requests, least)) if options.requests or least else s for s in scenarios]


def _pause() -> None:
    """A large trace takes a while to read: heartbeats go out meanwhile."""
    gevent.sleep(0)


def _fewest(share: float) -> int:
    """Samples that carry a percentile: two beyond it, so P90 from 20."""
    return math.ceil(2 / (1 - share) - 1e-9) if share < 1 else 1


def find_deployment(options: Options, host: str | None) -> Deployment:
    """The deployment file's description; --host takes the place of its endpoint, --slo of its objectives; --header, --extra-body and
    --targets are added."""
    if options.deployment is None and not host:
        raise BadInput("no server: give --host http://HOST:PORT, or --deployment FILE")
    deployment = load_deployment(options.deployment) if options.deployment else host_deployment(str(host))
    endpoint = host_deployment(host).endpoint if host else deployment.endpoint
    given = {name.lower() for name, _ in options.headers}
    gpu_price, store_price = options.study.gpu_hour_price, options.study.gb_month_price
    headers = (*(header for header in deployment.transport.headers if header[0].lower() not in given), *options.headers)
    return dataclasses.replace(
        deployment,
        endpoint=endpoint,
        slo=options.study.slo or deployment.slo,
        targets={**deployment.targets, **options.study.targets},
        price_per_gpu_hour=deployment.price_per_gpu_hour if gpu_price is None else gpu_price,
        price_per_gb_month=deployment.price_per_gb_month if store_price is None else store_price,
        transport=dataclasses.replace(deployment.transport, headers=headers),
        extra_body={**deployment.extra_body, **options.extra_body},
        fold_system=deployment.fold_system or options.fold_system,
    )


def _known_endpoint(options: Options, named_host: str | None) -> str | None:
    """The endpoint that whoever started the program chose."""
    return find_deployment(options, named_host).endpoint if options.deployment or named_host else None


def without_secrets(deployment: Deployment) -> Deployment:
    """For an address that came from the start form: whoever can open the page would else be sent the key of the environment."""
    log.warning("%s was given in the start form: no key and no header from the environment is sent there", deployment.endpoint)
    headers = tuple((name, text) for name, text in deployment.transport.headers if "${" not in text)
    return dataclasses.replace(deployment, api_key_env="", transport=dataclasses.replace(deployment.transport, headers=headers))


def plan_job(
    options: Options, loaded: Sequence[str], host: str | None
) -> tuple[list[Scenario], Deployment | None, ModelInfo | None]:
    """For a dry run: the deployment and its model are None where only scenarios are known."""
    scenarios = load_scenarios(options, loaded)
    if options.deployment is None and not host:
        return scenarios, None, None
    deployment = find_deployment(options, host)
    return scenarios, deployment, Job(options, host, tuple(loaded), tuple(scenarios), deployment, load_models()[1]).model()[1]
