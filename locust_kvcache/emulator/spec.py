"""Reads a profile's YAML: the servers of each role; all durations are simulated seconds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from locust_kvcache.emulator.tiers import TierSpec

FOLDER = Path(__file__).resolve().parent / "profiles"
ROLES = ("single", "pd", "prefiller", "decoder", "proxy", "store", "fleet")


@dataclass(frozen=True)
class Timing:
    """What a request and a step cost.

    A request first costs frontend(prompt tokens): receiving, tokenizing, hashing; a straight line between measured points.
    A step that computes u new tokens per prompt after p known ones, beside r decoding requests with c tokens of context in all, takes
    max(step_floor_s, sum(u * prefill_s_per_token + u * (u + 2 p) / 2 * attention_s_per_token2))
      + step_s_per_decoding * r + step_s_per_context_token * c
    and where prompts are computed at least the floor of prefill_floors_s: [new tokens of the step, seconds], the last that is reached
    (launching kernels one by one takes as long for one token as for many; graphs are captured up to a number of tokens).
    The floor is the reading of the weights; the quadratic term is attention (FLOPs of a prefill: 2 N u + c_att (n^2 - p^2) / 2).
    The tokens of one step leave one after another, output_s_per_token apart, as from a server's one output process.
    """

    frontend_s: tuple[tuple[float, float], ...]
    step_floor_s: float
    prefill_s_per_token: float
    attention_s_per_token2: float
    step_s_per_decoding: float
    step_s_per_context_token: float = 0.0
    output_s_per_token: float = 0.0
    prefill_floors_s: tuple[tuple[float, float], ...] = ()
    step_slowdown_while_putting: float = 0.0  # extra share of a decode step while a put into the shared store is under way

    def frontend(self, prompt_tokens: int) -> float:
        points = self.frontend_s
        at = bisect_right(points, (prompt_tokens, float("inf")))
        if at in (0, len(points)):
            return points[min(at, len(points) - 1)][1]
        (x0, y0), (x1, y1) = points[at - 1], points[at]
        return y0 + (y1 - y0) * (prompt_tokens - x0) / (x1 - x0)

    def prefill_s(self, chunks: Iterable[tuple[int, int]]) -> float:
        """Computing (new, known) tokens per prompt."""
        per_token, per_pair, computed = self.prefill_s_per_token, self.attention_s_per_token2, list(chunks)
        seconds = sum(new * per_token + new * (new + 2 * known) / 2 * per_pair for new, known in computed)
        new_tokens = sum(new for new, _ in computed)
        return max([seconds, *(floor_s for least, floor_s in self.prefill_floors_s if computed and new_tokens >= least)])

    def step_s(self, compute_s: float, decoding: int, context_tokens: int) -> float:
        return (
            max(self.step_floor_s, compute_s)
            + self.step_s_per_decoding * decoding
            + self.step_s_per_context_token * context_tokens
        )


@dataclass(frozen=True)
class ServerSpec:
    """One server: its GPU cache, its batch limits, its lower tiers (None: it has no such tier)."""

    timing: Timing
    gpu_capacity_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int
    prefix_caching: bool = True
    cpu: TierSpec | None = None
    disk: TierSpec | None = None
    store: TierSpec | None = None
    saves: bool = True  # a kv_consumer loads from the store and saves nothing
    by_priority: bool = (
        False  # waiting requests: the lowest `priority` first, then in order of arrival (vLLM's --scheduling-policy)
    )


@dataclass(frozen=True)
class HandOff:
    """Prefill to decode: through the shared store, or straight (p2p) over a link of its own. `proxy_s`: the proxy's own time."""

    through: str = "store"
    bytes_per_s: float = 1e9
    latency_s: float = 0.0
    proxy_s: float = 0.0


@dataclass(frozen=True)
class Profile:
    name: str
    served_name: str
    max_model_len: int
    block_size: int
    kv_bytes_per_token: float
    servers: dict[str, ServerSpec]  # single, prefiller, decoder
    hand_off: HandOff

    def server(self, role: str) -> ServerSpec:
        if role not in self.servers:
            raise ValueError(f"profile {self.name!r} has no {role!r}; it has {', '.join(self.servers)}")
        return self.servers[role]


def with_priority(profile: Profile) -> Profile:
    """The same servers, which take the waiting request of the lowest `priority` first."""
    servers = {name: replace(server, by_priority=True) for name, server in profile.servers.items()}
    return replace(profile, servers=servers)


def with_ttl(profile: Profile, ttl_s: float) -> Profile:
    """The same servers, whose store forgets a chunk so long after its last use."""
    servers = {
        name: replace(server, store=replace(server.store, ttl_s=ttl_s)) if server.store else server
        for name, server in profile.servers.items()
    }
    return replace(profile, servers=servers)


def available_profiles() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    """A dataclass from YAML (which reads 1e9 as text); ValueError names the key that is unknown or missing."""
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(known)}")
    needed = {name for name, field in known.items() if field.default is MISSING}
    if missing := sorted(needed - set(values)):
        raise ValueError(f"{where}: missing key {', '.join(missing)}")
    return kind(**{key: float(value) if known[key].type == "float" else value for key, value in values.items()})


def _tier(values: dict[str, Any] | None, block_size: int, where: str) -> TierSpec | None:
    if values is None:
        return None
    spec: TierSpec = _build(
        TierSpec, {key: float(v) if key.endswith(("_s", "_bytes")) else v for key, v in values.items()}, where
    )
    if spec.chunk_tokens % block_size:
        raise ValueError(f"{where}.chunk_tokens is {spec.chunk_tokens}; expected a multiple of the block size {block_size}")
    return spec


def _server(values: dict[str, Any], block_size: int, where: str) -> ServerSpec:
    timing = dict(values["timing"])
    frontend = timing.get("frontend_s", 0.0)
    points = frontend if isinstance(frontend, list) else [(0, frontend)]
    floors = timing.get("prefill_floors_s", [])
    timing["frontend_s"], timing["prefill_floors_s"] = (
        tuple((float(tokens), float(seconds)) for tokens, seconds in pairs) for pairs in (points, floors)
    )
    tiers = {name: _tier(values.get(name), block_size, f"{where}.{name}") for name in ("cpu", "disk", "store")}
    server: ServerSpec = _build(ServerSpec, {**values, "timing": _build(Timing, timing, f"{where}.timing"), **tiers}, where)
    return server


def load_profile(name: str) -> Profile:
    """The profile of that name, or YAML path; ValueError says what is wrong."""
    path = Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"profile {name!r} is unknown; available: {', '.join(available_profiles())}, or the path of a YAML file")
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        block_size = int(values["block_size"])
        servers = {role: _server(one, block_size, f"{path}: servers.{role}") for role, one in values["servers"].items()}
        return Profile(
            path.stem,
            values["served_name"],
            int(values["max_model_len"]),
            block_size,
            float(values["kv_bytes_per_token"]),
            servers,
            _build(HandOff, values.get("hand_off") or {}, f"{path}: hand_off"),
        )
    except KeyError as error:
        raise ValueError(f"{path}: missing key {error}") from error
