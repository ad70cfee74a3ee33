"""Keeps the output chunks of one stream compactly: stamp, visibility and tokens of each."""

from __future__ import annotations

import itertools
from array import array
from functools import partial

from locust_kvcache.contract.stream_times import OutputChunk

_new_chunk = partial(tuple.__new__, OutputChunk)


class ChunkLog:
    """The output chunks of one stream in 13 bytes each; -1 stands for an unknown number of tokens."""

    def __init__(self) -> None:
        self._stamps_s = array("d")
        self._tokens = array("i")
        self._visible = bytearray()

    def add(self, stamp_s: float, visible: bool, tokens: int | None) -> None:
        self._stamps_s.append(stamp_s)
        self._tokens.append(-1 if tokens is None else tokens)
        self._visible.append(visible)

    def extend(self, stamps_s: list[float], visible: bool) -> None:
        """Chunks of an unknown number of tokens each."""
        self._stamps_s.extend(stamps_s)
        self._tokens.extend([-1] * len(stamps_s))
        self._visible.extend([visible] * len(stamps_s))

    def __len__(self) -> int:
        return len(self._stamps_s)

    def chunks(self) -> list[OutputChunk]:
        if max(self._tokens, default=-1) < 0:
            unknown: zip[tuple[float, bool, None]] = zip(
                self._stamps_s, map(bool, self._visible), itertools.repeat(None), strict=False
            )
            return list(map(_new_chunk, unknown))  # without the Python code of a named tuple: a stream has hundreds
        rows = zip(self._stamps_s, self._visible, self._tokens, strict=True)
        return [OutputChunk(stamp_s, bool(visible), None if tokens < 0 else tokens) for stamp_s, visible, tokens in rows]
