"""Defines the faults by name: which are switched on, how often each strikes, and which strike a request."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.emulator.connector import Lies


@dataclass(frozen=True)
class Fault:
    name: str
    group: str  # cache: switched on for the whole server; answer: strikes single requests; listener: once
    help: str
    default: float | None = None  # what its value is if none is given; None: it takes no value


def _catalogue() -> dict[str, Fault]:
    rows: list[tuple[str, str, float | None, str]] = [
        ("reset_clears_nothing", "cache", None, "/reset_prefix_cache answers success and clears nothing"),
        ("reset_clears_gpu_only", "cache", None, "/reset_prefix_cache?reset_external=true clears the GPU cache only, and answers success"),
        ("reset_refused_while_putting", "cache", None, "/reset_prefix_cache answers success: false while puts are under way"),
        ("slow_put", "cache", 20, "a put takes N times as long: slower than a sequential proxy, so that the decoder recomputes"),
        ("put_slows_prefill", "cache", 0.8, "computing new prompt tokens takes the share N longer, because they are put into the store"),
        ("put_fails", "cache", None, "puts into the store fail after their time; nothing is kept there"),
        ("lmcache_degraded", "cache", 3, "healthy, but no hit below the GPU, and N simulated seconds more for each request"),
        ("decoder_reports_all_cached", "answer", None, "usage says cached_tokens = prompt_tokens - 1, cold or not"),
        ("empty_stream", "answer", None, "200 and a stream without a single event"),
        ("usage_without_details", "answer", None, "usage has no prompt_tokens_details"),
        ("no_usage", "answer", None, "no usage, though asked for"),
        ("usage_on_finish_chunk", "answer", None, "usage comes with the finish_reason, not in a chunk of its own"),
        ("no_done", "answer", None, "the stream ends without data: [DONE]"),
        ("no_finish_reason", "answer", None, "no chunk has a finish_reason"),
        ("cut", "answer", 2, "the connection is closed after N tokens, without the end of the body"),
        ("error_in_stream", "answer", 2, "after N tokens an error object, then [DONE]"),
        ("status", "answer", 503, "HTTP N instead of an answer (429, 500, 503, ...)"),
        ("stall", "answer", 5, "N real seconds of silence after the second token"),
        ("slow_headers", "answer", 1, "the headers come N real seconds late"),
        ("reset_connection", "answer", 0, "the connection is reset (RST) after N tokens"),
        ("crlf", "answer", None, "events are framed with CR LF instead of LF"),
        ("no_chunked", "answer", None, "no chunked encoding: the body ends with the connection (Connection: close)"),
        ("tokens_per_chunk", "answer", 4, "N tokens per chunk (vLLM's --stream-interval)"),
        ("no_role_chunk", "answer", None, "no role-only first chunk; the role comes with the first token"),
        ("early_role_chunk", "answer", None, "the role-only chunk comes at once, before the prefill"),
        ("null_content", "answer", None, "the role-only chunk has content: null"),
        ("reasoning", "answer", 2, "the first N tokens come as delta.reasoning"),
        ("reasoning_content", "answer", 2, "the first N tokens come as delta.reasoning_content, the old name"),
        ("tool_call", "answer", 2, "the first N tokens come as the arguments of a tool call"),
        ("keep_alive_comments", "answer", 0.05, "a comment line every N real seconds until the first token"),
        ("tiny_segments", "answer", 7, "every write is cut into TCP segments of N bytes"),
        ("sse_as_json", "answer", None, "the stream says Content-Type: application/json, as some proxies do"),
        ("wrong_model", "answer", None, "the answer names another model than asked for"),
        ("malformed_json", "answer", 1, "the event after N tokens is not JSON"),
        ("refuse_connections", "listener", 1, "the port is closed for N real seconds: new connections are refused"),
    ]  # fmt: skip
    return {name: Fault(name, group, text, default) for name, group, default, text in rows}


CATALOGUE = _catalogue()


@dataclass
class Rule:
    """One fault that is on: `share` of the requests (drawn from its own seeded generator), at most `times`."""

    name: str
    value: float | None
    share: float = 1.0
    seed: int = 0
    times: int | None = None
    struck: int = 0
    generator: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        self.generator = random.Random(f"{self.seed}/{self.name}")

    def strikes(self) -> bool:
        if (self.times is not None and self.struck >= self.times) or self.generator.random() >= self.share:
            return False
        self.struck += 1
        return True

    def as_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("name", "value", "share", "seed", "times", "struck")}


def make_rule(name: str, value: Any = None, share: Any = 1.0, seed: Any = 0, times: Any = None) -> Rule:
    """ValueError names what is unknown or impossible."""
    fault = CATALOGUE.get(name)
    if fault is None:
        raise ValueError(f"fault {name!r} is unknown; known: {', '.join(CATALOGUE)}")
    try:
        share, seed, times = float(share), int(seed), None if times is None else int(times)
        value = fault.default if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"fault {name}: {error}") from error
    if fault.default is None and value is not None:
        raise ValueError(f"fault {name} takes no value, got {value}")
    if not 0 <= share <= 1:
        raise ValueError(f"fault {name}: share is {share}; expected 0 to 1")
    if value is not None and value < 0:
        raise ValueError(f"fault {name}: value is {value}; expected at least 0")
    return Rule(name, value, share, seed, times)


def parse_rule(text: str) -> Rule:
    """NAME[=VALUE][@SHARE], as on the command line and in the x-fault header."""
    text, _, share = text.strip().partition("@")
    name, _, value = text.partition("=")
    return make_rule(name.strip(), value or None, share or 1.0)


class Faults:
    def __init__(self, rules: list[Rule], lies: Lies) -> None:
        self.rules: list[Rule] = []
        self._lies = lies
        self.replace(rules)

    def replace(self, rules: list[Rule]) -> None:
        self.rules = rules
        on = {rule.name: rule.value for rule in rules if CATALOGUE[rule.name].group == "cache"}
        lies = self._lies
        lies.reset_noop = "reset_clears_nothing" in on
        lies.reset_gpu_only = "reset_clears_gpu_only" in on
        lies.reset_refused_while_puts = "reset_refused_while_putting" in on
        lies.put_slowness = on.get("slow_put") or 1.0
        lies.put_slows_prefill = on.get("put_slows_prefill") or 0.0
        lies.puts_fail = "put_fails" in on
        lies.degraded_s = on.get("lmcache_degraded")

    def strike(self, header: str | None) -> dict[str, float | None]:
        """The faults of one request: those of its x-fault header, else those drawn from the rules."""
        if header is not None:
            asked = [parse_rule(part) for part in header.split(",") if part.strip()]
            if wrong := [rule.name for rule in asked if CATALOGUE[rule.name].group != "answer"]:
                raise ValueError(f"x-fault: {', '.join(wrong)} is for the whole server: --fault, or POST /faults")
            return {rule.name: rule.value for rule in asked if rule.strikes()}
        return {rule.name: rule.value for rule in self.rules if CATALOGUE[rule.name].group == "answer" and rule.strikes()}

    def as_dict(self) -> dict[str, Any]:
        known = [{"name": one.name, "group": one.group, "default": one.default, "help": one.help} for one in CATALOGUE.values()]
        return {"faults": [rule.as_dict() for rule in self.rules], "known": known}


def help_text() -> str:
    lines = []
    for group, title in (("cache", "for the whole server"), ("answer", "per request"), ("listener", "once")):
        lines.append(f"faults, {title}:")
        for one in CATALOGUE.values():
            if one.group == group:
                label = one.name + ("" if one.default is None else f"={one.default:g}")
                lines.append(f"  {label:<30} {one.help}")
    return "\n".join(lines)
