"""Replaces verdicts that the evidence of their scenario does not support."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from locust_kvcache.analysis.cache.claims import Claim
from locust_kvcache.analysis.cache.round_evidence import ELSEWHERE, HIT, LESS, NOTHING, UNKNOWN

ROUND, EVIDENCE, ARM, CONTROL, AGAINST_CONTROL = "round", "evidence", "arm", "control", "against control"
CREDITING = ("better", "worse")  # verdicts that a reader takes for the cache's doing
WITHOUT_CACHE = {"better": "faster", "worse": "slower"}  # what order and warm-up do is no merit
UNSERVED = {NOTHING: "nothing hit", ELSEWHERE: "nothing hit", LESS: "hit less than planned", UNKNOWN: "no sign of a hit"}


def with_claims(effects: pd.DataFrame, claims: Mapping[str, Claim]) -> pd.DataFrame:
    """`effects` with the column `verdict` as far as the claims allow.

    Where figures are not valid no verdict stands. Where the later rounds were not served from the cache, better and worse give way to what
    was seen instead; requests that hit by their own evidence keep theirs. A control says nothing of the cache: it is faster or slower.
    """
    if effects.empty or "verdict" not in effects:
        return effects
    rounds = effects["round"] if "round" in effects else pd.Series(None, index=effects.index, dtype=object)
    rows = zip(effects["scenario"], effects["split"], rounds, effects["verdict"], strict=True)
    return effects.assign(verdict=[_verdict(claims.get(str(scenario)), *row) for scenario, *row in rows])


def _verdict(claim: Claim | None, split: str, number: Any, verdict: Any) -> Any:
    if claim is None or verdict is None or pd.isna(verdict):
        return verdict
    if not claim.valid:
        return claim.verdict or "not valid"
    if split == CONTROL:
        return WITHOUT_CACHE.get(verdict, verdict)
    if verdict not in CREDITING or split == EVIDENCE:
        return verdict
    if split == ARM:
        return UNSERVED.get(served(claim, number), verdict)
    return verdict if claim.credited else claim.verdict or verdict


def served(claim: Claim, number: Any) -> str:
    """How one of the later rounds was served; HIT for a round that none is known of."""
    return next((how for known, how, _ in claim.rounds if known == number), HIT)


def why_not_judged(claim: Claim | None, number: int | None = None) -> str:
    """Why a target on hits is not judged, of one round where `number` is given; empty where it is."""
    if claim is None:
        return ""
    unserved = served(claim, number) if number is not None else HIT
    if number is None or not claim.valid or claim.cause not in ("nothing hit", "nothing could be judged"):
        return claim.why_not_judged
    return UNSERVED.get(unserved, "")
