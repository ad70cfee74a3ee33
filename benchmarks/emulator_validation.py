"""The same requests to the emulator and to a real vLLM: are the cached-token counts equal, request by request?

Prompts are token ids, so no tokenizer comes between. Start the real server with VLLM_SERVER_DEV_MODE=1 (for /reset_prefix_cache) and
--enable-prompt-tokens-details; the emulator is started here with the real one's block size, pool and batch limits.

    python -m benchmarks.emulator_validation --real http://127.0.0.1:8300 --blocks 320 --block-size 32 [--output docs/...md]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import random
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.emulator_speed import emulator

VOCABULARY = 8000
PUT_S = 0.4  # real puts are asynchronous


@dataclass(frozen=True)
class Request:
    part: str
    name: str
    ids: tuple[int, ...]
    output_tokens: int = 4


@dataclass(frozen=True)
class Outcome:
    request: Request
    cached_tokens: int
    prompt_tokens: int


def post(url: str, body: Any = None) -> Any:
    data = b"" if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.loads(answer.read())


def send(url: str, request: Request) -> tuple[Outcome, list[int]]:
    body = {
        "model": "tiny",
        "prompt": list(request.ids),
        "max_tokens": request.output_tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    answer = post(f"{url}/v1/completions", {**body, "return_token_ids": True})
    details = answer["usage"].get("prompt_tokens_details") or {}
    outcome = Outcome(request, details.get("cached_tokens") or 0, answer["usage"]["prompt_tokens"])
    return outcome, answer["choices"][0]["token_ids"]


def ids(name: str, count: int) -> tuple[int, ...]:
    draw = random.Random(name)
    return tuple(draw.randrange(10, VOCABULARY) for _ in range(count))


def one_by_one(part: str, named: Sequence[tuple[str, tuple[int, ...]]]) -> Callable[[str], list[Outcome]]:
    return lambda url: [send(url, Request(part, name, prompt))[0] for name, prompt in named]


def basics() -> Callable[[str], list[Outcome]]:
    """Cold, hit, half, and the edges of a block."""
    named = []
    for count in (31, 32, 33, 64, 1000, 1510, 4096):
        prompt = ids(f"b{count}", count)
        half = prompt[: count // 2] + ids(f"other half of {count}", count - count // 2)
        named += [
            (f"{count} cold", prompt),
            (f"{count} hit", prompt),
            (f"{count} half", half),
            (f"{count} longer", prompt + ids("more", 40)),
        ]
    return one_by_one("basics", named)


def stays_or_goes(count: int) -> Callable[[str], list[Outcome]]:
    """That many prompts of 1,510 tokens, twice in the same order: five fit, eight do not."""
    prompts = [(f"{number}", ids(f"s{count}-{number}", 1510)) for number in range(count)]
    return one_by_one(f"{count} prompts twice", [*prompts, *prompts])


def mixed(seed: int) -> Callable[[str], list[Outcome]]:
    """Random order over documents that share beginnings, more than the pool holds: every eviction shows in some later count."""
    draw = random.Random(seed)
    stems = [ids(f"stem{seed}-{number}", draw.randrange(200, 2500)) for number in range(6)]
    named = []
    for number in range(60):
        stem = draw.randrange(6)
        cut = stems[stem][: draw.choice((None, None, 500, 900))]
        named.append((f"{number}: stem {stem}", cut + ids(f"tail{seed}-{draw.randrange(8)}", draw.randrange(1, 600))))
    return one_by_one(f"mixed, seed {seed}", named)


def conversations(url: str) -> list[Outcome]:
    """Each turn carries the server's own answers: generated tokens are cached too, but for the last one."""
    outcomes = []
    for talk in range(3):
        history = ids(f"talk{talk}", 300)
        for turn in range(4):
            outcome, answer = send(url, Request("conversations", f"{talk} turn {turn + 1}", history, 70))
            outcomes.append(outcome)
            history = (*history, *answer, *ids(f"talk{talk} turn{turn}", 50))
    return outcomes


def in_flight(url: str) -> list[Outcome]:
    """Four equal prompts at once, three times; sorted, since their order is not ours."""
    outcomes = []
    for number in range(3):
        request = Request("in flight", f"{number}", ids(f"flight{number}", 1510))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            four = list(pool.map(lambda one: send(url, one)[0], [request] * 4))
        outcomes += sorted(four, key=lambda one: one.cached_tokens)
    return outcomes


def sources(url: str) -> dict[str, float]:
    """vLLM's own counters of where prompt tokens came from."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("vllm:prompt_tokens_by_source_total")]
    return {line.split('source="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def with_store(part: str, named: Sequence[tuple[str, tuple[int, ...] | None]]) -> Callable[[str], list[Outcome]]:
    """One by one, a moment for the put after each; None empties the GPU cache. Two outcomes each: from the GPU, from the store."""

    def run(url: str) -> list[Outcome]:
        outcomes = []
        for name, prompt in named:
            if prompt is None:
                post(f"{url}/reset_prefix_cache")
                continue
            before = sources(url)
            outcome, _ = send(url, Request(part, name, prompt))
            time.sleep(PUT_S)
            after = sources(url)
            for source in ("local_cache_hit", "external_kv_transfer"):
                request = Request(part, f"{name}, {source}", prompt)
                outcomes.append(Outcome(request, round(after[source] - before[source]), outcome.prompt_tokens))
        return outcomes

    return run


def tiers_basics() -> Callable[[str], list[Outcome]]:
    named: list[tuple[str, tuple[int, ...] | None]] = []
    for count in (33, 64, 256, 1000, 1024, 1510, 4096):
        prompt = ids(f"t{count}", count)
        half = prompt[: count // 2] + ids(f"t other half of {count}", count - count // 2)
        named += [(f"{count} cold", prompt), (f"{count} GPU hit", prompt), ("", None), (f"{count} store hit", prompt)]
        named += [("", None), (f"{count} half", half), (f"{count} longer", prompt + ids("more", 40))]
    return with_store("GPU and store", named)


def tiers_mixed(seed: int) -> Callable[[str], list[Outcome]]:
    """More than the GPU pool holds, all of it in the store: what the GPU lost comes back from below, often behind a shorter GPU hit."""
    draw = random.Random(seed)
    stems = [ids(f"tstem{seed}-{number}", draw.randrange(200, 2500)) for number in range(6)]
    named: list[tuple[str, tuple[int, ...] | None]] = []
    for number in range(40):
        stem = draw.randrange(6)
        named.append((f"{number}: stem {stem}", stems[stem] + ids(f"ttail{seed}-{draw.randrange(8)}", draw.randrange(1, 600))))
    return with_store(f"GPU and store, mixed, seed {seed}", named)


TIERS: dict[str, Callable[[str], list[Outcome]]] = {
    "GPU and store": tiers_basics(),
    "GPU and store, mixed with eviction": tiers_mixed(1),
}
PARTS: dict[str, Callable[[str], list[Outcome]]] = {
    "basics": basics(),
    "five prompts, twice": stays_or_goes(5),
    "eight prompts, twice": stays_or_goes(8),
    "mixed with eviction, seed 1": mixed(1),
    "mixed with eviction, seed 2": mixed(2),
    "conversations": conversations,
    "in flight": in_flight,
}


def profile_yaml(blocks: int, block_size: int, batched_tokens: int, store: bool) -> str:
    """A pool of that many blocks less the null block that vLLM keeps for itself; fast, since only counts matter here."""
    timing = {"frontend_s": 0.0005, "step_floor_s": 0.0005, "prefill_s_per_token": 2e-6, "attention_s_per_token2": 0.0}
    timing["step_s_per_decoding"] = 0.0
    server: dict[str, Any] = {"gpu_capacity_tokens": (blocks - 1) * block_size, "max_num_seqs": 16}
    server["max_num_batched_tokens"] = batched_tokens
    if store:  # vLLM's MooncakeStoreConnector: one key per block
        rates = {"capacity_bytes": 1e9, "read_bytes_per_s": 1e9, "write_bytes_per_s": 1e9}
        server["store"] = {"chunk_tokens": block_size, "whole_prompt_hit": "chunk", **rates}
    sizes = {"served_name": "tiny", "max_model_len": 8192, "block_size": block_size, "kv_bytes_per_token": 1}
    return json.dumps({**sizes, "servers": {"single": {**server, "timing": timing}}})


def compare(real_url: str, ours_url: str, parts: dict[str, Callable[[str], list[Outcome]]]) -> tuple[list[str], int]:
    """(a Markdown row per part with every difference below it, number of differences)."""
    rows, differences, wrong = [], [], 0
    for name, part in parts.items():
        counts = []
        for url in (real_url, ours_url):
            post(f"{url}/reset_prefix_cache?reset_external=true")
            counts.append(part(url))
        pairs = list(zip(*counts, strict=True))
        unequal = [(one, two) for one, two in pairs if one.cached_tokens != two.cached_tokens]
        wrong += len(unequal)
        total = [sum(one.cached_tokens for one in side) for side in counts]
        rows.append(f"| {name} | {len(pairs)} | {len(pairs) - len(unequal)} | {total[0]:,} | {total[1]:,} |")
        differences += [
            f"- {name}, {one.request.name} ({one.prompt_tokens} tokens): vLLM {one.cached_tokens}, emulator {two.cached_tokens}"
            for one, two in unequal
        ]
        print(rows[-1], flush=True)
    return [*rows, "", *differences], wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emulator_validation", description=__doc__.splitlines()[0])
    parser.add_argument("--real", required=True, metavar="URL", help="the real vLLM")
    parser.add_argument("--blocks", type=int, default=320, help="its --num-gpu-blocks-override (default: 320)")
    parser.add_argument("--block-size", type=int, default=32, help="its --block-size (default: 32)")
    parser.add_argument("--batched-tokens", type=int, default=2048, help="its --max-num-batched-tokens (default: 2048)")
    parser.add_argument("--store", action="store_true", help="it has a MooncakeStoreConnector: compare both tiers instead")
    parser.add_argument("--output", type=Path, help="write the table to this file too")
    options = parser.parse_args()
    with emulator(profile_yaml(options.blocks, options.block_size, options.batched_tokens, options.store), None) as ours:
        lines, wrong = compare(options.real.rstrip("/"), ours, TIERS if options.store else PARTS)
    head = ["| part | requests | equal | cached tokens, vLLM | cached tokens, emulator |", "|---|---|---|---|---|"]
    text = "\n".join([*head, *lines]) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
