"""Seeded text of a wanted length: a key comes in, the same words come out on every worker, run and platform.

Lengths are counted in pieces (whitespace-separated words, or lines of code) here; calibration turns pieces into the server's tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

NOUNS = """
    engineer report river garden market bridge teacher window letter kitchen mountain village doctor station morning
    library project factory ocean forest winter summer paper machine network number record student picture building
    company problem story system training weather animal paint border country island tower valley captain driver farmer
    guest hotel journey lesson manager message office parent question result sample signal table team theory ticket
    train visitor voice water week worker year
""".split()
VERBS = """
    opened watched carried measured followed changed finished reached described repaired visited moved noticed answered
    counted covered crossed entered filled helped joined kept learned left needed offered passed planned played pointed
    pulled pushed raised saved served showed started stopped studied tested touched turned used wanted checked
""".split()
ADJECTIVES = """
    small large quiet early late green blue old new local public heavy light simple common certain clear cold warm dark
    deep dry empty fair final first free full general great high important long main natural open original possible
    private quick rich short slow strong total whole wide young
""".split()
PLACES = """
    near behind before after inside beside under above across around without against beyond between within
""".split()
JOINERS = """
    and but because while although until since when where so
""".split()
QUESTIONS = (
    "What does the text say about the",
    "Why did the",
    "Please describe how the",
    "Please list what changed for the",
    "Which part of the story explains the",
    "Compare what is written about the",
)
ORDERS = (
    "Read the following item and",
    "Always answer in one short sentence and",
    "Use only plain words and",
    "If something is missing then say so and",
    "Keep the order of the items and",
    "Check every number twice and",
)


def _clause(rng: random.Random) -> list[str]:
    pick = rng.choice
    return ["the", pick(ADJECTIVES), pick(NOUNS), pick(VERBS), "the", pick(NOUNS), pick(PLACES), "the", pick(NOUNS)]


def _sentence(rng: random.Random) -> list[str]:
    words = _clause(rng)
    if rng.random() < 0.4:
        words += [rng.choice(JOINERS), *_clause(rng)]
    words[0] = words[0].capitalize()
    words[-1] += "."
    return words


def _question(rng: random.Random) -> list[str]:
    words = f"{rng.choice(QUESTIONS)} {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} {rng.choice(PLACES)} the".split()
    return [*words, rng.choice(NOUNS) + "?"]


def _instruction(rng: random.Random) -> list[str]:
    words = rng.choice(ORDERS).split()
    return [*words, "then", *_clause(rng)[:-1], rng.choice(NOUNS) + "."]


def _function(rng: random.Random) -> list[str]:
    a, b, c = rng.sample(NOUNS, 3)
    verb, word = rng.choice(VERBS), rng.choice(ADJECTIVES)
    return [
        f"def {verb}_{a}({b}, {c}):\n",
        f"    # the {word} {a} is {verb} {rng.choice(PLACES)} the {b}\n",
        f"    {word} = {b}.{rng.choice(NOUNS)}({c})\n",
        f"    if {word} is None:\n",
        f"        return {rng.choice(NOUNS)}\n",
        f"    return {word} + {rng.choice(NOUNS)}[{c}]\n\n",
    ]


_UNITS: dict[str, tuple[Callable[[random.Random], list[str]], str]] = {
    "document": (_sentence, " "),
    "dialogue": (_sentence, " "),
    "question": (_question, " "),
    "instruction": (_instruction, " "),
    "code": (_function, ""),
}
KINDS = tuple(_UNITS)


def _pieces(kind: str, rng: random.Random) -> Iterator[str]:
    unit = _UNITS[kind][0]
    while True:
        yield from unit(rng)


def make_text(kind: str, pieces: int, seed_key: str) -> str:
    """`pieces` pieces of text of a kind: a pure function of its arguments (str seeds do not depend on PYTHONHASHSEED)."""
    if pieces <= 0:
        return ""
    stream = _pieces(kind, random.Random(seed_key))
    return _UNITS[kind][1].join(next(stream) for _ in range(pieces)).rstrip("\n")
