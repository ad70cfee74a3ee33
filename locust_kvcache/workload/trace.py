"""A trace file comes in, the requests to replay go out: when each is sent, how long it is, and which blocks it shares with others.

Format of the Mooncake traces, one JSON object per line: timestamp (ms), input_length and output_length (tokens), hash_ids (one per block
of 512 tokens, the last one may be cut; equal ids are equal blocks, everything before them included).
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput

BLOCK_TOKENS = 512
TOKEN_IDS = range(1000, 5000)  # plain words in every vocabulary of 8,000 and more: no bytes, no special tokens
TIME_UNITS = {"ms": 1.0, "s": 1000.0}  # ms in each
SHORT_S, FAST_PER_S = 10.0, 50.0  # a recorded trace is longer, and slower
KEYS = ("timestamp", "input_length", "output_length", "hash_ids")


@dataclass(frozen=True)
class TraceSource:
    """Which part of which file, and how it is changed. Seconds are of the trace's own clock."""

    path: str
    sha256: str = ""  # of the file as the master read it; workers refuse another
    speed: float = 1.0  # 2: twice as fast
    start_s: float = 0.0
    stop_s: float | None = None
    sample: float = 1.0  # share of the prompt families that is kept
    keep_bursts: bool = False
    block_tokens: int = BLOCK_TOKENS  # less scales all lengths down, sharing as it is
    time_unit: str = "ms"  # of its timestamps; a key of TIME_UNITS

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> TraceSource | None:
        return cls(**values) if values else None


@dataclass(frozen=True)
class Row:
    """One request: due time after the first one's, tokens, and the ids of its blocks."""

    due_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Shared:
    """The longest prefix of a row that an earlier row has sent."""

    tokens: int
    source: int | None  # the first row that sent it


def read_trace(path: str | Path) -> tuple[list[dict[str, Any]], str]:
    """(rows as they stand in the file, its sha256); BadInput names file, line, key, value and what is expected."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); --trace expects a file of the Mooncake trace format"
        ) from error
    rows = [_checked(line, f"{path}: line {number}") for number, line in enumerate(data.splitlines(), 1) if line.strip()]
    if not rows:
        raise BadInput(f"{path}: holds no request; expected one JSON object per line with {', '.join(KEYS)}")
    return rows, hashlib.sha256(data).hexdigest()


def _checked(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{where} is not JSON ({error}); expected an object with {', '.join(KEYS)}") from error
    if not isinstance(row, dict) or any(key not in row for key in KEYS):
        raise BadInput(f"{where} is {line[:60]!r}; expected an object with {', '.join(KEYS)}")
    for key, low in (("timestamp", 0), ("input_length", 1), ("output_length", 1)):
        if not isinstance(row[key], int | float) or isinstance(row[key], bool) or not low <= row[key] < math.inf:
            raise BadInput(f"{where}: key {key!r} is {row[key]!r}; expected a number of at least {low}")
    ids = row["hash_ids"]
    wanted = math.ceil(row["input_length"] / BLOCK_TOKENS)
    if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids) or len(ids) != wanted:
        found = len(ids) if isinstance(ids, list) else repr(ids)
        raise BadInput(f"{where}: key 'hash_ids' has {found} ids; expected {wanted}, one per {BLOCK_TOKENS} tokens")
    return row


def load_rows(source: TraceSource) -> tuple[Row, ...]:
    """The rows to replay, in the order of their due times."""
    raw, sha256 = read_trace(source.path)
    if source.sha256 and sha256 != source.sha256:
        raise BadInput(
            f"{source.path}: its sha256 is {sha256[:12]}..., the master read {source.sha256[:12]}...; every host needs the same file"
        )
    timed = sorted(
        zip(_times_s(raw, source.keep_bursts, TIME_UNITS[source.time_unit]), raw, strict=True), key=lambda pair: pair[0]
    )
    stop_s = math.inf if source.stop_s is None else source.stop_s
    kept = [(at_s, row) for at_s, row in timed if source.start_s <= at_s < stop_s and _sampled(row["hash_ids"], source.sample)]
    if not kept:
        last_s = timed[-1][0]
        raise BadInput(
            f"{source.path}: no request between {source.start_s:g} and {stop_s:g} s is left; the trace ends at {last_s:g} s"
        )
    first_s = kept[0][0]
    return tuple(_row((at_s - first_s) / source.speed, row, source.block_tokens) for at_s, row in kept)


def _row(due_s: float, row: dict[str, Any], block_tokens: int) -> Row:
    scale = block_tokens / BLOCK_TOKENS
    tokens = max(1, round(row["input_length"] * scale))
    return Row(
        due_s, tokens, max(1, round(row["output_length"] * scale)), tuple(row["hash_ids"][: math.ceil(tokens / block_tokens)])
    )


def unit_warning(source: TraceSource) -> str | None:
    """Why the timestamps of a file that is read in ms look like seconds: its whole span, or None where nothing is odd."""
    raw, _ = read_trace(source.path)
    times = [row["timestamp"] for row in raw]
    span_s, broken = (max(times) - min(times)) / 1000, any(at != int(at) for at in times)
    if source.time_unit != "ms" or len(raw) < 2 or not (broken or span_s < SHORT_S or len(raw) / span_s > FAST_PER_S):
        return None
    return (
        f"{source.path}: {len(raw):,} requests span {span_s:,.3g} s if its timestamps are ms, as in the Mooncake traces; if they are "
        "seconds, say --trace-time-unit s"
    )


def _times_s(raw: Sequence[dict[str, Any]], keep_bursts: bool, unit_ms: float = 1.0) -> list[float]:
    """Times in s. The published traces count in steps of 3 s, an artefact of their making: rows of one step are spread evenly over it."""
    times = [round(row["timestamp"] * unit_ms) for row in raw]
    if keep_bursts:
        return [at_ms / 1000 for at_ms in times]
    step_ms = math.gcd(*(at_ms - times[0] for at_ms in times)) if len(times) > 1 else 0
    spread: list[float] = []
    for at_ms, same in groupby(times):
        count = len(list(same))
        spread += [(at_ms + step_ms * number / count) / 1000 for number in range(count)]
    return spread


def _sampled(blocks: Sequence[int], share: float) -> bool:
    """By family, its first two blocks (nearly all share the first one, a system prompt): sharing within a family stays whole."""
    if share >= 1:
        return True
    digest = hashlib.sha256(repr(tuple(blocks[:2])).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def shared_prefixes(rows: Iterable[Row], block_tokens: int = BLOCK_TOKENS) -> list[Shared]:
    """Per row, what an infinite cache would hold of it. An id stands for its block and all before it, so a set of ids is enough."""
    first: dict[int, int] = {}
    found = []
    for number, row in enumerate(rows):
        known = list(takewhile(first.__contains__, row.blocks))
        found.append(Shared(min(len(known) * block_tokens, row.input_tokens), first[known[-1]] if known else None))
        for block in row.blocks:
            first.setdefault(block, number)
    return found


def block_ids(nonce: str, seed: int, block: int, block_tokens: int = BLOCK_TOKENS) -> list[int]:
    """The token ids of one block: a pure function of its arguments, different in each run by its nonce."""
    return random.Random(f"{nonce}/{seed}/block/{block}").choices(TOKEN_IDS, k=block_tokens)
