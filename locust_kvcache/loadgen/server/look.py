"""Looks at the server before any load: the preflight before a run, or everything that --preflight-only can find out."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass

from locust_kvcache.contract.deployment import Deployment, ModelInfo
from locust_kvcache.contract.finding import ERROR, WARNING, Finding
from locust_kvcache.contract.tier_capacity import tier_capacities
from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.options.resolve import Job
from locust_kvcache.loadgen.protocol.run_config import pause
from locust_kvcache.loadgen.server.canary import Canary
from locust_kvcache.loadgen.server.deployment_check import check, passive_findings
from locust_kvcache.loadgen.server.metrics_pages import scrape
from locust_kvcache.loadgen.server.name_addresses import several_addresses
from locust_kvcache.loadgen.server.nvml import Nvml
from locust_kvcache.loadgen.server.preflight import Preflight, Server
from locust_kvcache.loadgen.server.probe import Probe
from locust_kvcache.workload.footprint import largest_working_set_tokens
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.traces.loading import load_rows

log = logging.getLogger("kvcache")
detail = logging.getLogger("kvcache.detail")


@dataclass(frozen=True)
class Look:
    """A server as the preflight saw it, what models.yaml says of its model, and the deployment without pages that are of no one server."""

    server: Server
    model_info: ModelInfo | None
    deployment: Deployment

    @property
    def kv_bytes_per_token(self) -> int | None:
        return self.model_info.kv_bytes_per_token if self.model_info else None


def unchecked_certificate(deployment: Deployment) -> list[str]:
    """A warning where TLS is used and says nothing of who answers."""
    if deployment.transport.verify or not deployment.endpoint.startswith("https:"):
        return []
    return ["the server's certificate is not checked (tls.verify: false): others can read the key and the answers"]


def look_at_server(job: Job) -> Look:
    """Preflight and calibration; BadInput says what is wrong and what to do about it."""
    wanted, info = job.model()
    console().phase("calibrating")
    detail.info("preflight of %s", job.deployment.endpoint)
    if job.options.nvml:
        Nvml()  # before any load: it may be missing
    for note in (note for scenario in job.scenarios for note in scenario.file_notes):
        log.info(note)
    server = Preflight(job.deployment, job.options.request_timeout_s).run(wanted, job.scenarios)
    server.warnings += [*unchecked_certificate(job.deployment), *several_addresses(job.deployment)]
    server.warnings += [text for scenario in job.scenarios if scenario.trace and (text := load_rows(scenario.trace).warning)]
    return Look(server, info or job.served(server.model), server.balanced.left_out_of(job.deployment))


def make_canary(job: Job, server: Server) -> Canary:
    probe = Probe(job.deployment, job.options.request_timeout_s)
    probe.model, probe.parameters = server.model, server.parameters
    return Canary(job.deployment, probe, server.api)


def working_set(scenarios: tuple[Scenario, ...], server: Server, seed: int) -> int:
    """Tokens of the largest scenario's working set; they do not depend on the nonce."""
    return largest_working_set_tokens(make_plan(scenario, server.calibration, "", seed, pause) for scenario in scenarios)


def passive_warnings(job: Job, look: Look, scenarios: tuple[Scenario, ...]) -> list[str]:
    """What the metrics pages say against a run of these scenarios."""
    # a retention study overflows the caches on purpose
    tokens = None if job.options.study.returns else working_set(scenarios, look.server, job.options.seed)
    store_arm = "store_hit" in job.options.arms
    pages = scrape(job.deployment.metrics, job.deployment.access)
    found = passive_findings(job.deployment, pages, tokens, look.kv_bytes_per_token, store_arm)
    return [f"{f.text}. {f.why} {f.what_to_do}" for f in found if f.severity in (WARNING, ERROR)]


def control_comes_last(job: Job, look: Look, scenarios: tuple[Scenario, ...]) -> bool:
    """Whether a tier is known to hold one working set and not two: a control's prompts would put out those that are to be hit."""
    tokens = working_set(scenarios, look.server, job.options.seed)
    held = tier_capacities(
        scrape(job.deployment.metrics, job.deployment.access), look.kv_bytes_per_token, job.deployment.capacity
    )
    small = [tier for tier, capacity in held.items() if tokens <= capacity < 2 * tokens]
    if small:
        log.warning(
            "the control runs last: the %s tier holds the working set of %s tokens once and not twice",
            small[0],
            f"{tokens:,}",
        )
    return bool(small)


def preflight_only(job: Job) -> list[Finding]:
    """Everything that can be found out about a deployment without a run."""
    look = look_at_server(job)
    job = dataclasses.replace(job, deployment=look.deployment)
    canary = make_canary(job, look.server)
    try:
        tokens = working_set(job.scenarios, look.server, job.options.seed)
        return check(job.deployment, look.server, canary, tokens, look.kv_bytes_per_token, job.options.settle_timeout_s)
    finally:
        canary.close()
