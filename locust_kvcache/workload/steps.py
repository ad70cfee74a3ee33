"""Splits long work into short steps, so that an event loop can run between them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Pause = Callable[[], object]
PIECE = 2000  # items between two pauses: a few milliseconds
Steps = Generator[None, None, T]  # yields after each step, returns the result


def no_pause() -> None:
    """Where no event loop waits."""


def in_pieces(items: Iterable[T], pause: Pause) -> Iterator[T]:
    """The items, with a pause after each PIECE of them."""
    source = iter(items)
    while piece := list(itertools.islice(source, PIECE)):
        yield from piece
        pause()


def finished(steps: Steps[T]) -> T:
    """The result, without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
