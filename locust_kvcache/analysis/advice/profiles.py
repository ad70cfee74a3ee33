"""Reads a profile of the emulator as the costs of a server (locust_kvcache/emulator/profiles/*.yaml, or a file of that form)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from locust_kvcache.analysis.advice.sources import Link, Source
from locust_kvcache.analysis.model.engine_queue import EngineCosts
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import load_yaml

FOLDER = Path(__file__).resolve().parents[2] / "emulator" / "profiles"
TIERS = ("cpu", "disk", "store")


def profile_file(name: str) -> Path:
    path = Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise BadInput(f"--profile {name}: is unknown; expected one of {known}, or the path of a YAML file")
    return path


def from_profile(name: str) -> Source:
    """Its single server, with the tiers of whichever of its servers has them."""
    path = profile_file(name)
    values = load_yaml(path)
    try:
        return _source(values, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"--profile {path}: key {error} is missing or of another kind; expected a profile of the emulator"
        ) from error


def _source(values: Mapping[str, Any], path: Path) -> Source:
    server, timing = values["servers"]["single"], values["servers"]["single"]["timing"]
    front_end = timing.get("frontend_s", 0.0)
    kv_bytes = float(values["kv_bytes_per_token"])
    tiers = {tier: one[tier] for one in values["servers"].values() for tier in TIERS if one.get(tier)}
    floor_s, slots = float(timing["step_floor_s"]), int(server["max_num_seqs"])
    batch = np.array([1.0, float(slots)])
    costs = EngineCosts(
        float(timing["prefill_s_per_token"]),
        float(timing["attention_s_per_token2"]),
        floor_s,
        batch,
        floor_s + float(timing["step_s_per_decoding"]) * batch,
        int(server["max_num_batched_tokens"]),
        slots,
    )
    capacities = {"gpu": float(server["gpu_capacity_tokens"])}
    capacities |= {tier: float(one["capacity_bytes"]) / kv_bytes for tier, one in tiers.items()}
    said = [f"Times are those of the emulator's profile {path.stem}."]
    if timing.get("step_s_per_context_token"):
        said.append("The effect of the context length on the decode step is not included.")
    return Source(
        path.stem,
        costs,
        tuple((float(tokens), float(s)) for tokens, s in front_end)
        if isinstance(front_end, list)
        else ((0.0, float(front_end)),),
        kv_bytes_per_token=kv_bytes,
        capacities=capacities,
        links={tier: Link(float(one["read_bytes_per_s"]) / 1e9, float(one.get("latency_s", 0.0))) for tier, one in tiers.items()},
        hand_off=_hand_off(values.get("hand_off") or {}, tiers.get("store")),
        block_tokens=int(values["block_size"]),
        notes=tuple(said),
    )


def _hand_off(values: Mapping[str, Any], store: Mapping[str, Any] | None) -> Link | None:
    """Straight to the decoder; through the store it is written and read."""
    proxy_s = float(values.get("proxy_s", 0.0))
    if values.get("through") == "p2p":
        return Link(float(values["bytes_per_s"]) / 1e9, float(values.get("latency_s", 0.0)) + proxy_s)
    if store is None:
        return None
    both = 1 / (1 / float(store["read_bytes_per_s"]) + 1 / float(store["write_bytes_per_s"]))
    return Link(both / 1e9, 2 * float(store.get("latency_s", 0.0)) + proxy_s)
