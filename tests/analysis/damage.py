"""A small run that has a bit of everything, and what can happen to the files of a run: each damage is one change of one value or byte."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.analysis.synthetic import Truth, make_records, write_run

TRUTH = Truth(sessions=3, turns=2)
ODD: tuple[Any, ...] = (
    None, True, "x", "", "\ud800", -1, 0, 2.5, 1e308, 10**30, float("nan"), float("inf"), [], {}, [1], {"a": {"b": 1}},
)  # fmt: skip
CAPACITY = {
    "side": "cold",
    "kind": "poisson",
    "request_rate_per_s": 2.0,
    "users": None,
    "phase": "bisect",
    "verdict": "sustained",
}
COUNTERS = ("prompt_tokens_total", "generation_tokens_total", "prefix_cache_queries_total", "prefix_cache_hits_total")
Place = tuple[str | int, ...]


def rich_run(folder: Path) -> Path:
    """One scenario, a cold and a hit round of 6 requests, with arms, a canary, a study, objectives, targets and the server's counters."""
    records = make_records(TRUTH)
    rounds = [
        {"scenario": TRUTH.scenario, "round": number, "planned_requests": 6, "records": 6, "wall_s": 3.0,
         "started_at_s": 1.0, "complete": True,
         "kind": kind, "arm": arm, "users": 1, "lost_requests": 0, "client_limited": number == 2, "worker_chunks_per_s_max": 200.0,
         "certified_chunks_per_s_min": 100.0, "canary": {"gpu_tokens": 16, "external_tokens": 0, "computed_tokens": 4},
         "capacity": CAPACITY,
         "cache_actions": [{"tier": "gpu", "kind": "vllm_reset"}]}
        for number, kind, arm in ((1, "cold", "cold"), (2, "hit", "gpu_hit"))
    ]  # fmt: skip
    scenario = {"name": TRUTH.scenario, "requests": 6, "rounds": 2, "prefix_shared_by": 1, "documents": None, "ignore_eos": True,
                "corpus": None, "turn_tokens": [96], "api": "chat"}  # fmt: skip
    deployment = {"name": "single", "kind": "non_disagg", "endpoint": "http://127.0.0.1:8000", "gpus": 1, "link_gb_per_s": 63.0,
                  "slo": {"ttft_ms": 2000.0}, "capacity": {"gpu_tokens": 100_000, "cpu_gb": 10.0}, "targets": {},
                  "metrics": [{"role": "server", "url": "http://127.0.0.1:8000/metrics"}]}  # fmt: skip
    study = {"kind": "working_set", "working_set_tokens": 20_000, "capacities_tokens": {"gpu": 100_000}}
    model = {"key": "m", "kv_bytes_per_token": 9216, "active_parameters": 1e9, "attention_flop_per_token2": 1e5}
    write_run(folder, records, TRUTH, rounds=rounds, scenarios=[scenario], deployment=deployment, study=study, model_info=model,
              arms=["cold", "gpu_hit"], warnings=["something was seen"], max_failures="1%", nonce_given=False, cause="ok")  # fmt: skip
    scrapes = "".join(json.dumps(scrape) + "\n" for scrape in _scrapes())
    (folder / "server_metrics.jsonl").write_text(scrapes)
    return folder


def _scrapes() -> Iterator[dict[str, Any]]:
    for number in (1, 2):
        for place, when in enumerate(("before", "after")):
            grown = 24_000.0 * (number - 1 + place)
            samples = {f'vllm:{name}{{model_name="m"}}': grown for name in COUNTERS} | {"vllm:num_requests_running": 1.0}
            samples |= {'vllm:prompt_tokens_by_source_total{source="local_compute"}': grown,
                        'vllm:cache_config_info{block_size="16",num_gpu_blocks="1000"}': 1.0}  # fmt: skip
            yield {"at_s": 1000.0 + 10 * number + place, "role": "server", "url": "http://127.0.0.1:8000/metrics",
                   "scenario": TRUTH.scenario, "round": number, "when": when, "ok": True, "error": None, "samples": samples}  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """One value of one file replaced, in one line or in all; ... removes it."""

    file: str
    at: Place
    new: Any
    line: int | None = None  # None: each line, or the file

    def done_to(self, folder: Path) -> None:
        path = folder / self.file
        if path.suffix == ".json":
            path.write_text(json.dumps(replaced(json.loads(path.read_text()), self.at, self.new)))
            return
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if self.line in (None, number):
                lines[number] = json.dumps(replaced(json.loads(line), self.at, self.new))
        path.write_text("".join(line + "\n" for line in lines))


def damages(folder: Path) -> Iterator[Damage]:
    """Every value of every file of a run, made odd in each way."""
    for path in sorted(folder.iterdir()):
        whole = path.suffix == ".json"
        value = json.loads(path.read_text() if whole else path.read_text().splitlines()[1])
        for at in places(value):
            for new in (*ODD, ...):
                yield Damage(path.name, at, new)
                if not whole:
                    yield Damage(path.name, at, new, line=1)


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Every key and list entry inside a JSON value."""
    entries: Iterable[tuple[Any, Any]] = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield (*at, key)
        yield from places(entry, (*at, key))


def replaced(value: Any, at: Place, new: Any) -> Any:
    """The value with one place changed; as it was where an earlier damage has removed that place."""
    inside = value
    try:
        for key in at[:-1]:
            inside = inside[key]
        inside[at[-1]]
    except (KeyError, IndexError, TypeError):
        return value
    if isinstance(inside, dict | list):
        if new is ...:
            del inside[at[-1]]  # type: ignore[arg-type]
        else:
            inside[at[-1]] = new  # type: ignore[index]
    return value


def with_bytes_changed(content: bytes, dice: random.Random) -> bytes:
    """A byte flipped, a piece lost, doubled or overwritten with zeros, or the end cut off."""
    at, length = dice.randrange(len(content)), dice.choice((1, 1, 7, 400))
    before, piece, after = content[:at], content[at : at + length], content[at + length :]
    return dice.choice(
        (
            before + bytes([content[at] ^ 1 << dice.randrange(8)]) + content[at + 1 :],
            before + after,
            before + piece + piece + after,
            before + bytes(len(piece)) + after,
            before,
        )
    )
