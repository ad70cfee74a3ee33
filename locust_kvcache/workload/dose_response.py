"""Plans the cells of a dose-response study: hit shares and prompt lengths in a seeded random order.

A cell is one session: its first turn puts the shared part into the cache, its second carries that part and new text, so that its prompt has
the wanted length and the wanted share of it is cached. A hit fraction of 0 is one turn that nothing has sent before.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section

SMALLEST_TURN_TOKENS = 16  # below it a chat template's own tokens leave no room for text


@dataclass(frozen=True)
class Doses:
    """Every hit fraction with every prompt length, `repeats` times."""

    hit_fractions: tuple[float, ...]
    prompt_tokens: tuple[int, ...]
    repeats: int

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> Doses | None:
        if values is None:
            return None
        return cls(tuple(values["hit_fractions"]), tuple(values["prompt_tokens"]), values["repeats"])

    @property
    def requests(self) -> int:
        """Two for each cell, one where nothing is to be hit."""
        turns = sum(2 if fraction > 0 else 1 for fraction in self.hit_fractions)
        return turns * len(self.prompt_tokens) * self.repeats

    def covering(self, requests: int) -> Doses:
        """As many repeats as so many requests need; the plan cuts the last one short."""
        return replace(self, repeats=math.ceil(requests / replace(self, repeats=1).requests))


@dataclass(frozen=True)
class Cell:
    """What one session is to achieve with its last turn."""

    hit_fraction: float
    prompt_tokens: int


def cells(doses: Doses, seed_key: str) -> list[Cell]:
    """By session id. Each repeat is a whole grid in an order of its own, so that a drift of the server falls on all cells alike."""
    rng = random.Random(seed_key)
    one_of_each = [Cell(fraction, tokens) for fraction, tokens in itertools.product(doses.hit_fractions, doses.prompt_tokens)]
    found: list[Cell] = []
    for _ in range(doses.repeats):
        grid = list(one_of_each)
        rng.shuffle(grid)
        found += grid
    return found


def turn_sizes(cell: Cell, prefix_tokens: int, output_tokens: int) -> tuple[int, ...]:
    """User tokens of each turn; with the prefix, and the answer between them, they add up to the cell's prompt."""
    if cell.hit_fraction == 0:
        return (cell.prompt_tokens - prefix_tokens,)
    shared = round(cell.hit_fraction * cell.prompt_tokens)
    return (shared - prefix_tokens, cell.prompt_tokens - shared - output_tokens)


def _numbers(section: Section, key: str, kind: type, low: float, below: float) -> tuple[Any, ...]:
    values: Any = section.raw(key)
    good = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    if not good or not all(type(v) in (int, kind) and low <= v < below for v in values):
        limit = f"at least {low:g}" + (f" and below {below:g}" if below < float("inf") else "")
        raise BadInput(f"{section.name(key)} is {values!r}; expected a list of numbers, each {limit}")
    if len(set(values)) < len(values):
        raise BadInput(f"{section.name(key)} is {values!r}; a value stands there twice: use `repeats`")
    return tuple(kind(value) for value in values)


def parse_doses(section: Section, prefix_tokens: int, output_tokens: int) -> Doses:
    """The `doses` of a scenario's YAML; BadInput for a cell that cannot be made."""
    doses = Doses(
        _numbers(section, "hit_fractions", float, 0, 1),
        _numbers(section, "prompt_tokens", int, 1, float("inf")),
        section.take("repeats", int, 1, low=1),
    )
    section.done()
    for cell in cells(doses, ""):
        if min(turn_sizes(cell, prefix_tokens, output_tokens)) < SMALLEST_TURN_TOKENS:
            raise BadInput(
                f"{section.name('hit_fractions')}: {cell.hit_fraction:g} of {cell.prompt_tokens} tokens leaves a turn under "
                f"{SMALLEST_TURN_TOKENS} tokens beside the prefix ({prefix_tokens}) and the answer ({output_tokens}); "
                "use longer prompts, a shorter prefix or another fraction. A whole hit is round 2"
            )
    return doses
