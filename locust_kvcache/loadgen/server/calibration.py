"""Learns how the server counts tokens: what our words, pieces of text and its chat template cost.

The texts counted here are made with a nonce of their own and are never measured.
"""

from __future__ import annotations

import collections
import secrets
from collections.abc import Callable, Iterable

import gevent
import gevent.pool

from locust_kvcache.workload.plan import Calibration, Message, header
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.text import piece_cost, sample_text, vocabulary

LEAST_PER_PIECE = 0.5  # tokens of a word of text, or of a line of code: no tokenizer takes fewer

CountMessages = Callable[[list[Message]], int | None]
CountText = Callable[[str], int | None]
SAMPLE_PIECES = {"code": (30, 240)}
DEFAULT_SAMPLE_PIECES = (150, 1200)
FEWER_PIECES = ((40, 320), (10, 80))  # for servers with a short context
FEWER_LINES = ((8, 48), (4, 16))  # of code
ASSUMED_PER_PIECE = {"document": 1.25, "dialogue": 1.25, "question": 1.2, "instruction": 1.2, "code": 12.0}
WORD_REPEATS = 8
PARALLEL_COUNTS = 8
COUNTING_S = 20.0  # of all words: a server that needs longer is asked by usage, a few times


class TextRefused(Exception):
    """The server would not count a text; the message says what it answered."""


class CountsRefused(Exception):
    """The server's counts cannot be those of the texts that it was given; the message says why."""


def kinds_of(scenarios: Iterable[Scenario]) -> set[str]:
    """The kinds of text that these scenarios send."""
    kinds = set()
    for scenario in (part for mix in scenarios for part in mix.parts):
        kinds |= {scenario.prefix_text, scenario.turn_text}
        if scenario.chunks is not None:
            kinds.add(scenario.chunks.text)
        if scenario.shape is not None and scenario.shape.tools is not None:
            kinds |= {"code", scenario.shape.tools.result_text}
        if scenario.turns > 1:
            kinds.add("dialogue")
    return kinds


def _in_time(count: CountText, texts: list[str]) -> list[int | None]:
    """Of each text, several at once. CountsRefused where the server takes too long for all of them."""
    pool, limit = gevent.pool.Pool(PARALLEL_COUNTS), gevent.Timeout(COUNTING_S)
    try:
        with limit:
            counts: list[int | None] = pool.map(count, texts)
            return counts
    except gevent.Timeout as caught:
        if caught is not limit:
            raise
        pool.kill()
        raise CountsRefused(f"counting {len(texts)} words took longer than {COUNTING_S:g} s") from None


def _word_tokens(count_text: CountText) -> dict[str, float] | None:
    """Tokens of each word in running text, from its repetition after another word; None if the server does not tell."""
    base = count_text("the")
    words = vocabulary()
    if base is None or count_text("the river") is None:
        return None
    counts = _in_time(lambda word: count_text("the" + f" {word}" * WORD_REPEATS), words)
    known = [count for count in counts if count is not None]
    if len(known) < len(words):
        return None
    found = {word: (count - base) / WORD_REPEATS for word, count in zip(words, known, strict=True)}
    if min(found.values()) < LEAST_PER_PIECE:
        least = min(found, key=lambda word: found[word])
        raise CountsRefused(f"the word {least!r} adds {found[least]:g} tokens each time that it stands in a text")
    return found


def _sample(kind: str, pieces: int) -> tuple[list[Message], list[str]]:
    nonce = secrets.token_hex(4)
    text, taken = sample_text(kind, pieces, f"{nonce}/{kind}")
    return [{"role": "system", "content": header(nonce, "calibration", 0)}, {"role": "user", "content": text}], taken


def _fit_kind(count: CountMessages, kind: str, words: dict[str, float]) -> tuple[float, float] | None:
    """As _fit_sizes, with shorter texts where the server refuses the usual ones."""
    usual, fewer = SAMPLE_PIECES.get(kind, DEFAULT_SAMPLE_PIECES), FEWER_LINES if kind == "code" else FEWER_PIECES
    for sizes in (usual, *fewer[:-1]):
        try:
            return _fit_sizes(count, kind, words, sizes)
        except TextRefused:
            continue
    return _fit_sizes(count, kind, words, fewer[-1])


def _fit_sizes(count: CountMessages, kind: str, words: dict[str, float], sizes: tuple[int, int]) -> tuple[float, float] | None:
    """(tokens per piece beside its words, tokens of an empty prompt) from two lengths of a kind's text; None if not counted."""
    cost = piece_cost(0.0, words, 0.0)
    rest, counts = [], []
    for size in sizes:
        messages, taken = _sample(kind, size)
        counted = count(messages)
        if counted is None:
            return None
        counts.append(counted)
        rest.append(counted - sum(map(cost, taken)))
    if counts[1] - counts[0] < LEAST_PER_PIECE * (sizes[1] - sizes[0]):
        what = "lines of code" if kind == "code" else "pieces of text"
        raise CountsRefused(f"{sizes[0]} and {sizes[1]} {what} were counted as {counts[0]} and {counts[1]} tokens")
    per_piece = (rest[1] - rest[0]) / (sizes[1] - sizes[0])
    return per_piece, max(0.0, rest[0] - per_piece * sizes[0])


def _exchange_tokens(count: CountMessages) -> float:
    """What an assistant and a user message cost beyond their text: one long message against the same text in three."""
    messages, taken = _sample("dialogue", 90)
    parts = [" ".join(taken[start : start + 30]) for start in (0, 30, 60)]
    split = [messages[0]] + [
        {"role": role, "content": part} for role, part in zip(("user", "assistant", "user"), parts, strict=True)
    ]
    together, apart = count(messages), count(split)
    return float(max(0, apart - together)) if together is not None and apart is not None else 0.0


def assumed() -> Calibration:
    """What common tokenizers do, for a server that does not say."""
    return Calibration(dict(ASSUMED_PER_PIECE), {}, 0.0, 20.0, 8.0, "assumed")


def calibrate(count: CountMessages, count_text: CountText | None, source: str, scenarios: Iterable[Scenario]) -> Calibration:
    """Learn how the server counts; with one that does not say, assume what common tokenizers do, and say so in `source`.

    CountsRefused where it says what cannot be.
    """
    scenarios = list(scenarios)
    words = (_word_tokens(count_text) if count_text else None) or {}
    fits = {kind: _fit_kind(count, kind, words) for kind in sorted(kinds_of(scenarios))}
    known = {kind: fit for kind, fit in fits.items() if fit is not None}
    if len(known) < len(fits):
        return assumed()
    usual = collections.Counter(words.values()).most_common(1)[0][0] if words else 0.0
    parts = [part for scenario in scenarios for part in scenario.parts]
    conversations = any(part.turns > 1 or part.corpus is not None or part.chunks is not None for part in parts)
    return Calibration(
        tokens_per_piece={kind: fit[0] for kind, fit in known.items()},
        word_tokens={word: tokens for word, tokens in words.items() if tokens != usual},
        other_word_tokens=usual,
        template_tokens=min(fit[1] for fit in known.values()),
        exchange_tokens=_exchange_tokens(count) if conversations else 0.0,
        source=source,
    )
