"""Judges what the servers' metrics pages and canaries say: what was found, why it matters, what to do about it.

Pure: nothing here sends a request. `deployment_check` asks the servers, and tries what can be tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from locust_kvcache.contract.finding import ERROR, NOTE, OK, WARNING, Finding
from locust_kvcache.contract.tier_capacity import store_bytes, tier_capacities

DEGRADED_TTFT_MS = 2900.0  # LMCache that failed to start makes each lookup wait 3 s
Rows = Sequence[dict[str, Any]]


def metrics_findings(rows: Rows, left_out: bool = False) -> list[Finding]:
    """Each metrics page: readable or not. `left_out`: pages were named, and are those of several servers at once."""
    if not rows and left_out:
        return []  # that is said already, with the way out
    if not rows:
        return [
            Finding(
                NOTE,
                "no_metrics",
                "no metrics pages are listed",
                "Add `metrics` to the deployment file.",
                "There is no proof of which tier answered.",
            )
        ]
    return [
        Finding(OK, "metrics_page", f"metrics of {row['role']}: {len(row['samples'])} samples at {row['url']}")
        if row["ok"]
        else Finding(
            WARNING,
            "metrics_unreadable",
            f"metrics of {row['role']} at {row['url']} cannot be read: {row['error']}",
            "Check `metrics` in the deployment file, and the port. Behind a gateway name the engines' own pages under `engines`.",
            "Its share of the TTFT and its cache hits will be missing.",
        )
        for row in rows
    ]


def no_hit(rows: Rows, balanced: bool = False) -> str:
    """Why a prompt that was sent twice hit nothing the second time, as far as the engines' pages tell; `balanced`: one of them is that of
    several engines."""
    what = "a prompt sent twice hit nothing"
    if balanced:
        return (
            f"{what}: a load balancer sent the second request to another engine than the first. Later rounds hit only partly, unless a "
            "router sends each request to the engine that holds its prefix"
        )
    configs = [
        name for row in rows if row["role"] != "decoder" for name in row["samples"] if name.startswith("vllm:cache_config_info")
    ]
    if len(configs) > 1 and not any('enable_prefix_caching="False"' in name for name in configs):
        return (
            f"{what}: {len(configs)} engines share the requests, and the second request went to another engine than the first. "
            "Later rounds hit only partly, unless a router sends each request to the engine that holds its prefix"
        )
    return f"{what}: prefix caching seems to be off, so later rounds may be as cold as round 1"


def total(rows: Rows, metric: str) -> float | None:
    """A metric added up over pages and labels; None where no page has it."""
    found = [value for row in rows for name, value in row["samples"].items() if name.split("{")[0] == metric]
    return sum(found) if found else None


def store_findings(rows: Rows) -> list[Finding]:
    """The Mooncake store by its master's page."""
    keys, capacity = total(rows, "master_key_count"), store_bytes(rows)
    if keys is None:
        return []
    if not capacity:
        return [
            Finding(
                ERROR,
                "store_empty",
                "the Mooncake store has no segment: its capacity is 0",
                "Check the clients' master address and global_segment_size (old keys are ignored in silence).",
                "Every put fails, and the servers look healthy.",
            )
        ]
    return [Finding(OK, "store", f"Mooncake store: {keys:,.0f} keys, capacity {capacity / 1e9:,.1f} GB")]


def working_set_findings(
    tokens: int, rows: Rows, kv_bytes_per_token: int | None, store_arm: bool, given: Mapping[str, float]
) -> list[Finding]:
    """The plan's working set against what each tier holds; `given` is `capacity` of the deployment file."""
    held, findings = tier_capacities(rows, kv_bytes_per_token, given), []
    has_store = bool(store_bytes(rows) or given.get("store_gb"))
    if "gpu" in held:
        what = f"working set of a round: {tokens:,} tokens; GPU KV cache: {held['gpu']:,} tokens"
        findings.append(_gpu_finding(what, tokens <= held["gpu"], has_store, store_arm))
    if "store" in held and kv_bytes_per_token:
        need_gb, has_gb = (count * kv_bytes_per_token / 1e9 for count in (tokens, held["store"]))
        what = f"working set in the store: {need_gb:,.1f} GB of {has_gb:,.1f} GB"
        if tokens > held["store"]:
            way_out = "Send less (--requests), or give the store larger segments."
            findings.append(Finding(WARNING, "beyond_the_store", what, way_out, "It cannot fit in the store."))
        else:
            findings.append(Finding(OK, "fits_the_store", what))
    return findings


def _gpu_finding(what: str, fits: bool, has_store: bool, store_arm: bool) -> Finding:
    if not fits and not has_store:
        return Finding(
            WARNING,
            "beyond_the_gpu",
            what,
            "Send less (--requests), or read the hit rate before the TTFT.",
            "It does not fit: the oldest prompts are evicted before they are sent again, so later rounds are partly cold.",
        )
    if fits and has_store and not store_arm:
        return Finding(
            WARNING,
            "all_on_the_gpu",
            what,
            "Use --arms cold gpu_hit store_hit, or a working set beyond the GPU cache.",
            "Round 2 measures only the GPU's prefix cache and not the store, because the whole working set stays on the GPU.",
        )
    return Finding(OK, "working_set", what)


def limit_findings(canary: dict[str, Any], kv_bytes_per_token: int | None, link_gb_per_s: float | None) -> list[Finding]:
    """The most that a hit gains: loading pays above B = kv bytes per token x prefill rate; 1 - B / link is the ceiling.

    The prefill rate is that of one small canary, so it is an estimate, and a low one (a fixed share of its TTFT is no prefill).
    """
    prompt, ttft_ms = canary.get("prompt_tokens"), canary.get("ttft_ms")
    if not kv_bytes_per_token or not prompt or not ttft_ms:
        return []
    rate = prompt / (ttft_ms / 1000)
    need = rate * kv_bytes_per_token / 1e9
    what = f"loading KV is faster than computing it above about {need:.2g} GB/s (estimate: one canary was computed at {rate:,.0f} tokens/s)"
    if link_gb_per_s is None:
        return [Finding(NOTE, "break_even", what, "Set `link_gb_per_s` in the deployment file to compare it with the link.")]
    if link_gb_per_s <= need:
        return [
            Finding(
                WARNING,
                "link_too_slow",
                f"{what}; the link carries {link_gb_per_s:g} GB/s",
                "Use RDMA or a faster link, or quantised KV.",
                "A hit from the store will be slower than computing again.",
            )
        ]
    return [
        Finding(
            OK,
            "break_even",
            f"{what}; the link carries {link_gb_per_s:g} GB/s: a full hit cuts TTFT by {1 - need / link_gb_per_s:.0%} at best",
        )
    ]


def canary_source(canary: dict[str, Any]) -> tuple[float, float, bool]:
    """(tokens from the GPU cache, from tiers below, whether counters say so); without counters all reported ones count as GPU."""
    if canary["gpu_tokens"] is None:
        return float(canary["cached_tokens"] or 0), 0.0, False
    return canary["gpu_tokens"], canary["external_tokens"] or 0.0, True


def looks_below(rows: Rows) -> bool:
    """The role that looks prompts up asked a connector for tokens that were not on the GPU: something is meant to be below."""
    role = "prefiller" if any(row["role"] == "prefiller" for row in rows) else "server"
    return bool(total([row for row in rows if row["role"] == role], "vllm:external_prefix_cache_queries_total"))


def _dead_cache(canary: dict[str, Any], tier: str, named: bool) -> Finding:
    """`named`: the deployment file names a tier below; else the engine was only seen to look for one, as for a direct hand-off too."""
    slow = " Its TTFT was over 3 s, as in LMCache's degraded mode." if (canary["ttft_ms"] or 0) > DEGRADED_TTFT_MS else ""
    what = f"no tier below {tier} had the canary: that cache does not work.{slow}"
    if not named:
        what = (
            f"the engine looks for KV below {tier}, and no lower tier had the canary: that cache does not work, unless it only "
            f"transfers KV.{slow}"
        )
    return Finding(
        ERROR if named else WARNING,
        "dead_cache",
        what,
        "Check the keys of its config (locust-kvcache check-configs), its log (LMCache: degraded mode), and the master's key count.",
        "The server looks healthy, and every hit there will be a miss.",
    )


def after_reset(
    canary: dict[str, Any], tier: str, has_lower_tier: bool, looks_lower: bool = False, answered_below: bool = False
) -> list[Finding]:
    """A canary was stored, this tier and those above it were emptied, and it was asked again.

    `answered_below`: a tier below one of those above has answered before, so the connector of the engine is alive.
    """
    gpu, below, counted = canary_source(canary)
    prompt, by = canary["prompt_tokens"] or 0, "by the servers' counters" if counted else "by cached_tokens alone"
    if gpu > 0 and counted:
        return [
            Finding(
                ERROR,
                "reset_resets_nothing",
                f"the gpu cache was emptied and still served {gpu:.0f} of a canary's {prompt} tokens ({by})",
                "Restart the engine between arms, or leave store arms out.",
                "The reset reports success but clears nothing: a store_hit arm would measure the GPU cache.",
            )
        ]
    if gpu + below > 0 and (has_lower_tier or looks_lower):
        return [
            Finding(
                OK,
                "tier_below",
                f"the {tier} cache can be emptied; a tier below it answers: {gpu + below:.0f} of {prompt} tokens ({by})",
            )
        ]
    if gpu + below > 0:
        return [
            Finding(
                WARNING,
                "still_cached",
                f"after all `caches` actions {gpu + below:.0f} tokens of a canary were still served from a cache ({by})",
                "See which tier is left, and add an action for it.",
                "These actions do not make a warm prompt cold; a fresh nonce still does.",
            )
        ]
    if (has_lower_tier or (looks_lower and not answered_below)) and counted:
        return [_dead_cache(canary, tier, has_lower_tier)]
    return [
        Finding(OK, "can_be_emptied", f"the {tier} cache can be emptied: a stored canary was computed again afterwards ({by})")
    ]
