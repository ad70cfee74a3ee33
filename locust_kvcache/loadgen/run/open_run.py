"""Opens a run: makes its folder and its nonce, and writes its first run.json."""

from __future__ import annotations

import dataclasses
import logging
import secrets

from locust.env import Environment

from locust_kvcache.loadgen.options.resolve import Job
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.run.folder import check_writable, create_run_folder
from locust_kvcache.loadgen.run.resume import load_resumed
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.loadgen.server.arms import Arms
from locust_kvcache.loadgen.server.look import Look, control_comes_last, make_canary, passive_warnings
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache")


def make_arms(run: Run, job: Job) -> Arms:
    """What brings the caches into each round's state."""
    canary, limit_s = make_canary(job, run.server), job.options.settle_timeout_s
    return Arms(job.deployment, run.arms, job.options.empty_caches, canary, limit_s, bool(run.server.balanced.resets))


def open_run(
    environment: Environment, job: Job, look: Look, scenarios: tuple[Scenario, ...], suffix: str = "", nonce_end: str = ""
) -> Run:
    """BadInput before any load is sent. `suffix` and `nonce_end` tell the runs of a study apart: each has its own cold round."""
    options, deployment = job.options, job.deployment
    resumed = load_resumed(options.resume) if options.resume else None
    check_writable(options.output_dir)
    warnings = [*look.server.warnings, *passive_warnings(job, look, scenarios)]
    server = dataclasses.replace(look.server, warnings=list(dict.fromkeys(warnings)))
    for warning in server.warnings:
        log.warning("%s", warning)
    if resumed is not None:
        folder = resumed.folder
    else:
        folder = create_run_folder(options.output_dir, options.run_name, deployment.name, server.model, suffix)
    before = resumed.facts.get("control_last") if resumed is not None else None
    control_last = before if before is not None else options.control and control_comes_last(job, look, scenarios)
    nonce = secrets.token_hex(4) if options.nonce is None else options.nonce + nonce_end
    config = RunConfig(
        run_id=folder.name,
        deployment=deployment.name,
        endpoint=deployment.endpoint,
        api_key_env=deployment.api_key_env,
        model=server.model,
        nonce=resumed.nonce if resumed else nonce,
        seed=options.seed,
        block_size_tokens=server.block_size_tokens,
        zero_cached_if_missing=server.zero_cached_if_missing,
        request_timeout_s=options.request_timeout_s,
        idle_timeout_s=options.idle_timeout_s,
        outage_limit_s=options.outage_limit_s,
        transport=deployment.transport,
        fold_system=deployment.fold_system,
        parameters=server.parameters,
        arrival=Arrival("trace" if options.replays else options.arrival, options.request_rate_per_s, options.burstiness),
        calibration=resumed.calibration if resumed else server.calibration,
        scenarios=scenarios,
    )
    return Run(environment, folder, config, deployment, look.model_info, server, options, control_last, resumed)
