"""Brings the caches into the state that a round's arm needs (gpu_hit, disk_hit, after_restart, ...), and notes the result.

An arm is an intention. Which tier answered is for the counters to say: the facts made here stand in run.json beside each round.
"""

from __future__ import annotations

import logging
from typing import Any

from locust_kvcache.contract.cache_tiers import CacheAction, actions_before
from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.contract.restart import AFTER_RESTART
from locust_kvcache.contract.round_kinds import CONTROL
from locust_kvcache.loadgen.server.cache_actions import carry_out
from locust_kvcache.loadgen.server.canary import Canary
from locust_kvcache.loadgen.server.restart import restart_engine
from locust_kvcache.loadgen.server.settling import settle

log = logging.getLogger("kvcache")


class Arms:
    """Prepares each round of a scenario. Without arms and without --empty-caches it does nothing."""

    def __init__(
        self,
        deployment: Deployment,
        arms: tuple[str, ...],
        empty_first: bool,
        canary: Canary,
        settle_limit_s: float,
        balanced: bool = False,
    ) -> None:
        """`balanced`: a reset reaches one of several engines, and a canary any of them: asked again it says nothing."""
        self._deployment = deployment
        self._arms = arms
        self._empty_first = empty_first
        self._canary = canary
        self._settle_limit_s = settle_limit_s
        self._stored = False
        self._balanced = balanced

    def before(self, number: int) -> dict[str, Any]:
        """What is to be known of a round's caches, for its entry in run.json; empty where nothing was done."""
        arm = self._arms[number - 1] if self._arms else None
        actions: tuple[CacheAction, ...] = ()
        if number == 1 and self._empty_first:
            actions = self._deployment.caches
        elif arm is not None and number > 1:
            actions = actions_before(arm, self._deployment.caches)
        if arm is None and not actions:
            return {}
        if arm == CONTROL:
            return {"arm": arm}
        facts: dict[str, Any] = {"arm": arm, "cache_actions": [], "canary": None, "settled_s": 0.0}
        if number == 1 and not self._balanced:
            self._canary.store()
            self._stored = True
        if actions or number > 1:
            facts |= self._settle()
        if actions:
            facts["cache_actions"] = [result.to_dict() for result in carry_out(actions, self._deployment.access)]
        if arm == AFTER_RESTART and self._deployment.restart is not None:
            facts["restart"] = restart_engine(self._deployment.restart, self._deployment.access)
        if self._stored and (actions or number > 1):
            facts["canary"] = self._canary.ask()
        for line in describe(facts):
            log.info("%s", line)
        return facts

    def reach(self, arm: str) -> list[dict[str, Any]]:
        """Empty what lies above the tier of an arm, in a warm-up; the result of each action, nothing where the arm needs none."""
        actions = actions_before(arm, self._deployment.caches)
        if not actions:
            return []
        settle(self._deployment, self._settle_limit_s)
        return [result.to_dict() for result in carry_out(actions, self._deployment.access)]

    def close(self) -> None:
        self._canary.close()

    def _settle(self) -> dict[str, Any]:
        settled = settle(self._deployment, self._settle_limit_s)
        return {"settled_s": settled.waited_s, **({"still_storing": True} if settled.growing else {})}


def describe(facts: dict[str, Any]) -> list[str]:
    """The console's lines: what was done, and what the canary says of it."""
    lines = [
        f"{result['tier']} cache, {result['kind']}: {'done' if result['ok'] else 'FAILED'} ({result['detail']})"
        for result in facts.get("cache_actions", ())
    ]
    if restart := facts.get("restart"):
        said = "done" if restart["ok"] else "FAILED"
        lines.append(f"engine restarted in {restart['seconds']:.1f} s: {said} ({restart['detail']})")
    if canary := facts.get("canary"):
        parts = [
            f"{canary[key]:.0f} {key.removesuffix('_tokens')}"
            for key in ("gpu_tokens", "external_tokens", "computed_tokens")
            if canary[key] is not None
        ]
        told = ", ".join(parts) or f"cached tokens reported: {canary['cached_tokens']}"
        lines.append(f"canary of {canary['prompt_tokens']} tokens, asked again: {told}; TTFT {canary['ttft_ms']} ms")
    return lines


def warnings_of(facts: dict[str, Any]) -> list[str]:
    """What the run should keep as warnings: an arm whose caches are not in the state that it needs."""
    texts = [
        f"the {result['tier']} cache could not be emptied by {result['kind']} ({result['detail']}): the round measures what is left in it"
        for result in facts.get("cache_actions", ())
        if not result["ok"]
    ]
    restart = facts.get("restart")
    if restart and not restart["ok"]:
        texts.append(
            f"the engine was not restarted ({restart['detail']}): the round after_restart does not measure what outlives one. Try the "
            f"deployment's restart.command by hand: {restart['command']}"
        )
    if "settled_s" in facts and facts["settled_s"] is None:
        texts.append(
            "the store's page could not be read: whether its puts were done before this round is not known. Check the mooncake and "
            "lmcache entries under `metrics` in the deployment file"
        )
    if facts.get("still_storing"):
        texts.append(
            f"the store was still taking puts after {facts['settled_s']:.0f} s: this round ran at the same time, may find only a part "
            "of its "
            "prompts in the store, and a reset may have been refused. Increase --settle-timeout, or send less (docs/servers.md, a slow "
            "store)"
        )
    emptied = {result["tier"] for result in facts.get("cache_actions", ())}
    canary = facts.get("canary")
    if canary and "gpu" in emptied and (canary["gpu_tokens"] or 0) > 0:
        texts.append(
            f"the gpu cache was emptied, as it seems, and still served {canary['gpu_tokens']:.0f} of a canary's "
            f"{canary['prompt_tokens']} tokens: the reset does not reset"
        )
    if canary and facts.get("arm") in ("cpu_hit", "disk_hit", "store_hit") and canary["external_tokens"] == 0:
        texts.append(
            f"no tier below the GPU knew the canary: the {facts['arm']} arm will be as cold as the first. Is the store connected "
            "(keys of its config file), and are its puts done?"
        )
    return texts
