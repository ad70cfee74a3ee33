"""Defines an entry of a data file, one line or one item of an array, and reads it as text or JSON; an error names its place."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import orjson

from locust_kvcache.contract.errors import BadInput

AS_ZEROS, LONG_NUMBER = bytes.maketrans(b"123456789", b"0" * 9), b"0" * 19  # 19 digits may be beyond 64 bits
SHOWN = 60  # characters of a line in a message


class Entry(NamedTuple):
    """One line, or one item of an array; `value` is what a JSON array's item was read as. `before`: bytes of its line that stand before
    it."""

    where: str  # file and line
    raw: bytes
    value: Any = None
    parsed: bool = False
    before: int = 0

    def text(self) -> str:
        try:
            return self.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{self.where}: byte {self.before + error.start + 1} is 0x{self.raw[error.start]:02x}, which is not UTF-8; expected UTF-8 "
                "text (iconv -f LATIN1 -t UTF-8 converts Latin-1)"
            ) from error

    def json(self, expected: str) -> Any:
        """BadInput where it is no JSON; `expected` says what should stand there."""
        if self.parsed:
            return self.value
        if LONG_NUMBER not in self.raw.translate(AS_ZEROS):  # orjson reads such numbers as floats
            try:
                return orjson.loads(self.raw)
            except ValueError:
                pass  # json takes more (NaN, halves of surrogate pairs), and says where it is wrong
        return parse_json(self.text(), self.where, expected)


def parse_json(text: str, where: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BadInput(f"{where} is nested too deeply; expected {expected}") from error
    except ValueError as error:
        raise BadInput(f"{where} is not JSON ({error}): {text.strip()[:SHOWN]!r}; expected {expected}") from error


def lone_surrogate(text: str) -> str | None:
    """The first half of a pair that stands alone: it is no character, and cannot be sent. None where there is none."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x} at character {error.start + 1}"
    return None
