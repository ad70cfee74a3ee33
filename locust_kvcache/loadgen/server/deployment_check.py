"""Checks a deployment for --preflight-only: what can be tried is tried, with canaries that no plan contains."""

from __future__ import annotations

from collections.abc import Mapping

import requests

from locust_kvcache.contract.cache_tiers import TIERS, CacheAction
from locust_kvcache.contract.deployment import Access, Deployment
from locust_kvcache.contract.finding import ERROR, NOTE, OK, SEVERITIES, WARNING, Finding
from locust_kvcache.contract.language import told
from locust_kvcache.contract.text_width import left
from locust_kvcache.loadgen.server.cache_actions import carry_out
from locust_kvcache.loadgen.server.canary import Canary
from locust_kvcache.loadgen.server.findings import (
    Rows,
    after_reset,
    limit_findings,
    looks_below,
    metrics_findings,
    store_findings,
    working_set_findings,
)
from locust_kvcache.loadgen.server.metrics_pages import scrape
from locust_kvcache.loadgen.server.pages import ask_page
from locust_kvcache.loadgen.server.preflight import Server
from locust_kvcache.loadgen.server.settling import settle

GET_TIMEOUT_S = 5.0


def server_findings(deployment: Deployment, server: Server) -> list[Finding]:
    """What the preflight has seen already: it would have ended with an error otherwise."""
    version = f", version {server.version}" if server.version else ""
    block = f"{server.block_size_tokens} tokens" + ("" if server.block_size_known else " (assumed: no metrics page tells)")
    found = [
        Finding(OK, "streams", f"{deployment.endpoint} streams answers of {server.model}{version}"),
        Finding(OK, "block_size", f"block size {block}; prompt sizes calibrated by {server.calibration.source}"),
    ]
    if server.reports_cached_tokens:
        found.append(Finding(OK, "cached_tokens_reported", "cached tokens are reported with each request"))
    return found + [Finding(WARNING, "preflight", text) for text in server.warnings]


def passive_findings(
    deployment: Deployment,
    rows: Rows,
    tokens: int | None,
    kv_bytes_per_token: int | None,
    store_arm: bool,
    left_out: bool = False,
) -> list[Finding]:
    """What costs nothing but a look at the metrics pages; before every run. `tokens`: the working set, None where it need not fit."""
    given = deployment.capacity
    fits = [] if tokens is None else working_set_findings(tokens, rows, kv_bytes_per_token, store_arm, given)
    return [*metrics_findings(rows, left_out), *store_findings(rows), *fits]


def active_findings(
    deployment: Deployment, canary: Canary, kv_bytes_per_token: int | None, settle_limit_s: float, resets: Mapping[str, str]
) -> list[Finding]:
    """Store a canary and ask again; then empty tier by tier from above, and ask after each which tier is left to answer."""
    first = canary.store()
    findings = limit_findings(first, kv_bytes_per_token, deployment.link_gb_per_s)
    if not deployment.caches:
        return [*findings, _reset_exists(deployment)]
    if resets:  # a canary that is computed anew afterwards may have come to an engine that never had it
        return [*findings, *(_resets_one(target, how) for target, how in resets.items())]
    roles = [role for role, _ in deployment.metrics]
    canary.ask()
    settle(deployment, settle_limit_s)
    above: list[CacheAction] = []
    for tier in TIERS:
        own = [action for action in deployment.caches if action.tier == tier]
        if not own:
            continue
        carry_out(above, deployment.access)  # the canary was asked meanwhile, and lies in them again
        if _try(own, deployment.access, findings):
            return findings
        above += own
        has_lower = any(action not in above for action in deployment.caches) or _has_store(roles, tier)
        answer = canary.ask()
        findings += after_reset(
            answer,
            tier,
            has_lower,
            tier != "store" and looks_below(scrape(deployment.metrics, deployment.access)),
            answered_below=any(finding.code == "tier_below" for finding in findings),
        )
    return findings


def _resets_one(target: str, how: str) -> Finding:
    return Finding(
        ERROR,
        "resets_one_engine",
        f"several servers answer at {target}: {how}; a reset there reaches one of them",
        "Give an entry under `caches` for each engine, with its own address as target.",
        "The caches of the others stay as they are, and the reset answers success.",
    )


def _has_store(roles: list[str], tier: str) -> bool:
    """A store is below this tier, by the metrics pages that the deployment names."""
    return tier != "store" and any("mooncake" in role or (tier == "gpu" and "lmcache" in role) for role in roles)


def _try(actions: list[CacheAction], access: Access, findings: list[Finding]) -> int:
    """Carry actions out and note the result of each: the number that failed."""
    results = carry_out(actions, access)
    for result in results:
        what = f"{result.tier} cache, {result.kind} at {result.target}: {result.detail}"
        if result.ok:
            findings.append(Finding(OK, "emptied", what))
        else:
            findings.append(
                Finding(
                    ERROR, "not_emptied", what, "Correct the action under `caches`, or remove it.", "This tier cannot be emptied."
                )
            )
    return sum(not result.ok for result in results)


def _reset_exists(deployment: Deployment) -> Finding:
    """Whether vLLM's reset is there: a GET is answered by 405 (wrong method) where it is, and empties nothing."""
    try:
        status = ask_page(deployment.access, "GET", f"{deployment.endpoint}/reset_prefix_cache").status_code
    except requests.RequestException:
        status = 0
    if status == 405:
        return Finding(
            NOTE,
            "reset_unused",
            "the server can reset its prefix cache (development mode), and the deployment file does not use it",
            "For --arms add `caches: [{tier: gpu, kind: vllm_reset, target: URL}]`.",
        )
    return Finding(
        NOTE,
        "no_reset",
        "no way to empty a cache is known",
        "vLLM: start it with VLLM_SERVER_DEV_MODE=1 and add `caches` to the deployment file.",
        "Round 1 is cold because of its fresh nonce; a store cannot be distinguished from the GPU cache.",
    )


def check(
    deployment: Deployment, server: Server, canary: Canary, tokens: int, kv_bytes_per_token: int | None, settle_limit_s: float
) -> list[Finding]:
    """Everything, in the order in which a person would ask."""
    rows = scrape(deployment.metrics, deployment.access)
    return [
        *server_findings(deployment, server),
        *passive_findings(deployment, rows, tokens, kv_bytes_per_token, store_arm=True, left_out=bool(server.balanced.pages)),
        *active_findings(deployment, canary, kv_bytes_per_token, settle_limit_s, server.balanced.resets),
    ]


def report(findings: list[Finding]) -> str:
    """For the console: a paragraph for each finding, and how many there are of each severity."""
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in SEVERITIES}
    last = ", ".join(
        f"{count} {severity}{'s' if count > 1 and severity != OK else ''}" for severity, count in counts.items() if count
    )
    return "\n".join([*map(_paragraph, findings), told(f"Preflight: {last}.")])


def _paragraph(finding: Finding) -> str:
    more = " ".join(told(part) for part in (finding.why, finding.what_to_do) if part)
    return left(told(finding.severity.upper()), 8) + told(finding.text) + (f"\n        {more}" if more else "")
