"""Makes seeded text of a wanted length, the same on every worker, run and platform.

Text is made of pieces (words, or lines of code) until their cost in the server's tokens reaches the wanted length.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.steps import Steps, finished

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
STEP_PIECES = 100  # about 0.1 ms
MOST_PIECES_PER_TOKEN = 4  # words, or lines of code: no tokenizer takes half of a token for one


_WORD = re.compile(r"[A-Za-z]+")


def vocabulary() -> list[str]:
    """Every word that a text can hold, in lower case: what a calibration may ask the server about."""
    words = {*NOUNS, *VERBS, *ADJECTIVES, *PLACES, *JOINERS}
    for text in (*QUESTIONS, *ORDERS, "the then def is return if none"):
        words |= {word.lower() for word in _WORD.findall(text)}
    return sorted(words)


def piece_cost(tokens_per_piece: float, word_tokens: Mapping[str, float], other_word_tokens: float) -> Callable[[str], float]:
    """What a piece costs in tokens: a constant for its punctuation and layout, and what each of its words costs."""
    costs: dict[str, float] = {}

    def cost(piece: str) -> float:
        found = costs.get(piece)
        if found is None:
            words = _WORD.findall(piece)
            found = costs[piece] = tokens_per_piece + sum(word_tokens.get(word.lower(), other_word_tokens) for word in words)
        return found

    return cost


def _pieces(kind: str, rng: random.Random) -> Iterator[str]:
    unit = _UNITS[kind][0]
    while True:
        yield from unit(rng)


def _joined(kind: str, pieces: Iterable[str]) -> str:
    return _UNITS[kind][1].join(pieces).rstrip("\n")


def sample_text(kind: str, pieces: int, seed_key: str) -> tuple[str, list[str]]:
    """A text of so many pieces, and the pieces: for calibration, where costs are not known yet."""
    taken = list(itertools.islice(_pieces(kind, random.Random(seed_key)), pieces))
    return _joined(kind, taken), taken


def make_text(kind: str, tokens: float, cost: Callable[[str], float], seed_key: str) -> str:
    """Text of a kind that costs about `tokens` tokens, at least one piece: a pure function of its arguments.

    str seeds do not depend on PYTHONHASHSEED, so every process makes the same text.
    """
    return finished(text_steps(kind, tokens, cost, seed_key))


def text_steps(kind: str, tokens: float, cost: Callable[[str], float], seed_key: str) -> Steps[str]:
    """The same in steps of STEP_PIECES. BadInput where the costs would make it endless: a server's counts that are wrong."""
    taken: list[str] = []
    most = int(MOST_PIECES_PER_TOKEN * tokens) + STEP_PIECES
    left = tokens
    for piece in _pieces(kind, random.Random(seed_key)):
        price = cost(piece)
        if taken and left < price / 2:
            break
        taken.append(piece)
        left -= price
        if len(taken) % STEP_PIECES == 0:
            if len(taken) > most:
                raise BadInput(
                    f"{len(taken):,} words or lines of {kind} text cost {tokens - left:,.0f} of {tokens:,.0f} tokens by the server's "
                    "counts, which cannot be: check its /tokenize and its usage"
                )
            yield
    return _joined(kind, taken)
