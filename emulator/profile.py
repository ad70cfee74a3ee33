"""A profile's YAML comes in, its frozen Timing per role goes out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent / "profiles"
ROLES = ("single", "pd")


@dataclass(frozen=True)
class Timing:
    """Simulated durations in s, before the time scale. A prompt with u uncached and c cached tokens is prefilled in
    prefill_fixed_s + u * prefill_s_per_token + u * (u + 2 c) / 2 * attention_s_per_token2 + c * load_s_per_token."""

    prefill_fixed_s: float
    prefill_s_per_token: float
    attention_s_per_token2: float
    load_s_per_token: float
    hand_off_s_per_token: float  # prefiller to decoder, every prompt token, hit or not (0 for a single server)
    decode_step_s: float
    decode_step_s_per_running: float
    decode_slowdown_while_prefilling: float  # extra share of a decode step while uncached tokens are computed

    def prefill_s(self, uncached: int, cached: int) -> float:
        attention = uncached * (uncached + 2 * cached) / 2 * self.attention_s_per_token2
        return self.prefill_fixed_s + uncached * self.prefill_s_per_token + attention + cached * self.load_s_per_token

    def decode_s(self, running: int, prefilling: bool) -> float:
        step = self.decode_step_s + self.decode_step_s_per_running * running
        return step * (1 + self.decode_slowdown_while_prefilling * prefilling)


@dataclass(frozen=True)
class Profile:
    name: str
    served_name: str
    max_model_len: int
    block_size: int
    capacity_tokens: int
    max_num_seqs: int
    timing: Timing


def available_profiles() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_profile(name: str, role: str) -> Profile:
    """The profile of that name (or YAML path) in a role; ValueError names what is wrong."""
    path = Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"profile {name!r} is unknown; available: {', '.join(available_profiles())}, or the path of a YAML file")
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    timing = values["timing"].get(role)
    if timing is None:
        raise ValueError(f"{path}: no timing for role {role!r}; it has {', '.join(values['timing'])}")
    if unknown := set(timing) - {field.name for field in fields(Timing)}:
        raise ValueError(f"{path}: timing.{role}: unknown key {', '.join(sorted(unknown))}")
    sizes = {key: values[key] for key in ("served_name", "max_model_len", "block_size", "capacity_tokens", "max_num_seqs")}
    return Profile(name=path.stem, timing=Timing(**timing), **sizes)
