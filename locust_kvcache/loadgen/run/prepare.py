"""Options come in, a Run goes out, its server checked and calibrated; BadInput says what is wrong before any load is sent."""

from __future__ import annotations

import dataclasses
import logging
import math
import secrets
from collections.abc import Sequence

from locust.env import Environment

from locust_kvcache.contract.cache_tiers import check_arms
from locust_kvcache.contract.deployment import Deployment, ModelInfo, host_deployment, load_deployment, load_models
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.finding import ERROR, WARNING, Finding
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.run.folder import check_writable, create_run_folder
from locust_kvcache.loadgen.run.resume import load_resumed
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.loadgen.server.arms import Arms
from locust_kvcache.loadgen.server.canary import Canary
from locust_kvcache.loadgen.server.deployment_check import check, passive_findings
from locust_kvcache.loadgen.server.metrics_pages import scrape
from locust_kvcache.loadgen.server.preflight import Preflight, Server
from locust_kvcache.loadgen.server.probe import Probe
from locust_kvcache.workload.footprint import largest_working_set_tokens
from locust_kvcache.workload.plan import make_plan
from locust_kvcache.workload.spec import Scenario, load_scenario
from locust_kvcache.workload.trace_replay import TRACE_REPLAY, replay_scenario

log = logging.getLogger("kvcache")
STEP_REQUESTS = 200
Looked = tuple[Deployment, ModelInfo | None, Server]


def load_scenarios(options: Options, loaded: Sequence[str]) -> list[Scenario]:
    """The scenarios to run, in order: those named, else those of the loaded locustfiles."""
    names = options.scenarios or ((TRACE_REPLAY,) if options.trace else tuple(sorted({*loaded} - {"", TRACE_REPLAY})))
    if not names and TRACE_REPLAY not in loaded:
        raise BadInput("no scenario: load a locustfile of locustfiles/ (-f locustfiles), or name scenarios with --scenarios")
    scenarios = [
        replay_scenario(options.trace) if name == TRACE_REPLAY else load_scenario(name) for name in names or (TRACE_REPLAY,)
    ]
    repeated = {scenario.name for scenario in scenarios if sum(s.name == scenario.name for s in scenarios) > 1}
    if repeated:
        raise BadInput(f"--scenarios names {', '.join(sorted(repeated))} more than once")
    if options.study.capacity and options.requests and options.requests < (few := _fewest(options.study.capacity_share)):
        raise BadInput(f"--requests is {options.requests}; a step of --capacity needs at least {few} for its percentile")
    least = STEP_REQUESTS if options.study.capacity else 0  # a step needs as many for its p90 and its steady-state test
    return [s.with_requests(options.requests or max(s.requests, least)) if options.requests or least else s for s in scenarios]


def _fewest(share: float) -> int:
    """Samples that carry a percentile: two beyond it, so P90 from 20."""
    return math.ceil(2 / (1 - share) - 1e-9) if share < 1 else 1


def find_deployment(options: Options, host: str | None) -> Deployment:
    """The deployment file's description; --host takes the place of its endpoint, --slo of its objectives."""
    if options.deployment is None and not host:
        raise BadInput("no server: give --host http://HOST:PORT, or --deployment FILE")
    deployment = load_deployment(options.deployment) if options.deployment else host_deployment(str(host))
    endpoint = host_deployment(host).endpoint if host else deployment.endpoint
    return dataclasses.replace(deployment, endpoint=endpoint, slo=options.study.slo or deployment.slo)


def check_caches(options: Options, deployment: Deployment) -> None:
    """BadInput for what this deployment gives no means to do: cache states, a search without objectives; a dry run that would send."""
    if options.study.dry_run:
        raise BadInput(
            "--dry-run is for the command line: from the start form the test would be sent; start Locust with --dry-run"
        )
    if options.study.capacity and not deployment.slo:
        raise BadInput("--capacity needs objectives: --slo ttft_ms=2000 tpot_ms=50, or `slo` in the deployment file")
    check_arms(options.arms, deployment.caches, deployment.name)
    if options.empty_caches and not deployment.caches:
        raise BadInput(
            f"--empty-caches: deployment {deployment.name!r} does not say how; add `caches` to its file (configs/pd_disagg.yaml shows them)"
        )


def find_model(options: Options, deployment: Deployment) -> tuple[str | None, ModelInfo | None]:
    """(model name to ask for, what models.yaml says of it); (None, None) leaves the choice to the server's own list."""
    _, models = load_models()
    wanted = options.model or deployment.model_key
    if wanted is None:
        return None, None
    info = models.get(wanted) or next((info for info in models.values() if info.served_name == wanted), None)
    return (info.served_name if info else wanted), info


def make_canary(deployment: Deployment, server: Server, options: Options) -> Canary:
    probe = Probe(deployment, options.request_timeout_s)
    probe.model, probe.parameters = server.model, server.parameters
    return Canary(deployment, probe, server.api)


def make_arms(run: Run, options: Options) -> Arms:
    """What brings the caches into each round's state."""
    return Arms(run.deployment, options.arms, options.empty_caches, make_canary(run.deployment, run.server, options))


def _nonce(options: Options, users: int | None) -> str:
    """Fresh, or the one that was asked for; each level of a sweep has its own, as each has its own cold round."""
    if options.nonce is None:
        return secrets.token_hex(4)
    return options.nonce if users is None else f"{options.nonce}{users:04x}"


def look_at_server(environment: Environment, options: Options, scenarios: list[Scenario]) -> Looked:
    """The deployment, what is known of its model, and what the preflight learnt."""
    deployment = find_deployment(options, environment.host)
    check_caches(options, deployment)
    wanted, info = find_model(options, deployment)
    log.info("preflight of %s", deployment.endpoint)
    for scenario in scenarios:
        if scenario.corpus is not None and scenario.corpus.skipped:
            rows, file = scenario.corpus.skipped, scenario.corpus.files[0]
            log.warning("%s: %d rows of %s are no conversations and are skipped", scenario.name, rows, file)
    server = Preflight(deployment, options.request_timeout_s).run(wanted, scenarios)
    if info is None:
        info = next((entry for entry in load_models()[1].values() if entry.served_name == server.model), None)
    return deployment, info, server


def working_set(scenarios: list[Scenario], server: Server, seed: int) -> int:
    """Tokens of the largest scenario's working set; they do not depend on the nonce."""
    return largest_working_set_tokens(make_plan(scenario, server.calibration, "", seed) for scenario in scenarios)


def preflight_only(environment: Environment, options: Options, scenarios: list[Scenario]) -> list[Finding]:
    """Everything that can be found out about a deployment without a run."""
    deployment, info, server = look_at_server(environment, options, scenarios)
    canary = make_canary(deployment, server, options)
    try:
        return check(
            deployment, server, canary, working_set(scenarios, server, options.seed), info.kv_bytes_per_token if info else None
        )
    finally:
        canary.close()


def prepare_run(
    environment: Environment,
    options: Options,
    scenarios: list[Scenario],
    users: int | None,
    suffix: str = "",
    looked: Looked | None = None,
) -> Run:
    """Preflight and calibration; BadInput before any load is sent. Only then is the run's folder made.

    `users` is the level of a concurrency sweep, None without one. A study names its runs by `suffix`, and has `looked` once for all.
    """
    resumed = load_resumed(options.resume) if options.resume else None
    check_writable(options.output_dir)
    deployment, info, server = looked or look_at_server(environment, options, scenarios)
    tokens, kv_bytes = working_set(scenarios, server, options.seed), info.kv_bytes_per_token if info else None
    found = passive_findings(deployment, scrape(deployment.metrics), tokens, kv_bytes, store_arm="store_hit" in options.arms)
    warnings = [f"{f.text}. {f.why} {f.what_to_do}" for f in found if f.severity in (WARNING, ERROR)]
    server = dataclasses.replace(server, warnings=list(dict.fromkeys([*server.warnings, *warnings])))
    for warning in server.warnings:
        log.warning("%s", warning)
    level = f"_c{users}" if users is not None else ""
    if resumed is not None:
        folder = resumed.folder
    else:
        folder = create_run_folder(options.output_dir, options.run_name, deployment.name, server.model, suffix or level)
    config = RunConfig(
        run_id=folder.name,
        deployment=deployment.name,
        endpoint=deployment.endpoint,
        api_key_env=deployment.api_key_env,
        model=server.model,
        nonce=resumed.nonce if resumed else _nonce(options, users),
        seed=options.seed,
        block_size_tokens=server.block_size_tokens,
        zero_cached_if_missing=server.zero_cached_if_missing,
        request_timeout_s=options.request_timeout_s,
        idle_timeout_s=options.idle_timeout_s,
        transport=deployment.transport,
        parameters=server.parameters,
        arrival=Arrival("trace" if options.replays else options.arrival, options.request_rate_per_s, options.burstiness),
        calibration=resumed.calibration if resumed else server.calibration,
        scenarios=tuple(scenarios),
    )
    return Run(environment, folder, config, deployment, info, server, options, resumed)
