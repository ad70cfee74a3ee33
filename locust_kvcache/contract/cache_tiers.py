"""Reads the `caches` part of a deployment file: how each tier of the KV cache is emptied.

A tier is where KV blocks lie: gpu (the engine's prefix cache), cpu (host memory, as LMCache's), disk (a local SSD, as LMCache's), store
(Mooncake, or any shared store).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.extensions import CACHE_ACTIONS, extensions
from locust_kvcache.contract.restart import AFTER_RESTART
from locust_kvcache.contract.schema import Section

TIERS = ("gpu", "cpu", "disk", "store")  # from the fastest to the slowest: a tier is seen only when all above it are empty
KINDS = {
    "vllm_reset": "POST URL/reset_prefix_cache (VLLM_SERVER_DEV_MODE=1), retried while blocks are held",
    "vllm_reset_external": "the same with ?reset_external=true: the tiers below the engine as well, where its connector can do that",
    "lmcache_clear": "DELETE URL/cache/clear of LMCache's in-process API (local tiers only)",
    "lmcache_mp_clear": "POST URL/cache/clear of an lmcache server (its L1 only)",
    "mooncake_remove_all": "remove_all(force) by Mooncake's own Python client; master_key_count is checked on `metrics`",
    "sglang_flush": "POST URL/flush_cache",
    "command": "a command of yours, by the shell; exit code 0 means done",
}
ARMS = {
    "cold": (),
    "control": (),
    "gpu_hit": (),
    "cpu_hit": ("gpu",),
    "disk_hit": ("gpu", "cpu"),
    "store_hit": ("gpu", "cpu", "disk"),
    AFTER_RESTART: (),  # the restart empties what does not live on
}  # arm -> tiers to empty before it


@dataclass(frozen=True)
class CacheAction:
    """One way to empty one tier of one server. `target` is a URL, a Mooncake master's host:port, or a shell command."""

    tier: str
    kind: str
    target: str
    metrics: str | None = None  # mooncake_remove_all: the master's metrics page
    python: str | None = None  # mooncake_remove_all: an interpreter that has the mooncake package
    timeout_s: float = 30.0


def parse_caches(entries: Any, source: str) -> tuple[CacheAction, ...]:
    """The list under `caches`, in its order; BadInput names file, key, value and what is allowed."""
    if not isinstance(entries, list):
        raise BadInput(f"{source}: key 'caches' is {entries!r}; expected a list of {{tier, kind, target}}")
    actions = []
    for number, entry in enumerate(entries):
        section = Section(entry, source, f"caches[{number}].")
        kind = section.take("kind", str, choices=(*KINDS, *extensions(CACHE_ACTIONS)))
        target = section.take("target", str)
        if kind in KINDS and kind not in ("command", "mooncake_remove_all") and not target.startswith(("http://", "https://")):
            raise BadInput(f"{section.name('target')} is {target!r}; {kind} expects http://host:port")
        actions.append(
            CacheAction(
                tier=section.take("tier", str, choices=TIERS),
                kind=kind,
                target=target.rstrip("/"),
                metrics=section.take("metrics", str, None),
                python=section.take("python", str, None),
                timeout_s=section.take("timeout_s", float, 30.0, low=0.1),
            )
        )
        section.done()
    return tuple(actions)


def check_arms(arms: tuple[str, ...], actions: tuple[CacheAction, ...], deployment: str, restarts: bool = False) -> None:
    """BadInput for arms that this deployment gives no means for."""
    if arms and arms[0] != "cold":
        raise BadInput(f"--arms starts with {arms[0]!r}; the first arm must be cold: the others repeat its requests")
    for once in ("cold", "control"):
        if arms.count(once) > 1:
            raise BadInput(f"--arms names {once} twice; a run has one such round")
    if AFTER_RESTART in arms and not restarts:
        raise BadInput(
            f"--arms {AFTER_RESTART} needs a way to start the engine again, and deployment {deployment!r} does not say how: add to its "
            'file restart: {command: "docker restart vllm", wait_for: "http://host:8000/health"}'
        )
    able = {action.tier for action in actions}
    for arm in arms:
        needed = [tier for tier in ARMS[arm] if tier == "gpu" or arm == "disk_hit"]
        if missing := [tier for tier in needed if tier not in able]:
            raise BadInput(
                f"--arms {arm} needs the {', '.join(missing)} tier emptied, and deployment {deployment!r} does not say how: add `caches` "
                'entries to its file, e.g. {tier: gpu, kind: vllm_reset, target: "http://host:8000"}'
            )


def actions_before(arm: str, actions: tuple[CacheAction, ...]) -> tuple[CacheAction, ...]:
    """What empties the tiers above the one that this arm is to measure; cpu and disk only where the deployment has that tier."""
    return tuple(action for action in actions if action.tier in ARMS[arm])
