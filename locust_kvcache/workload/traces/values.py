"""Checks single values of a trace's row: times, lengths and ids of blocks.

BadInput names file, line, key, value and what is allowed.
"""

from __future__ import annotations

import hashlib
from array import array
from datetime import UTC, datetime
from typing import Any

from locust_kvcache.contract.errors import BadInput

MOST_TOKENS = 10_000_000  # of one prompt or answer; longer ones no server takes
LATEST = 1e19  # nanoseconds since 1970 are below it until 2286
IDS = 2**64
A_DATE = "2023-11-16 18:15:46.68"


def time_value(value: Any, key: str, where: str) -> float:
    """A number, or a number as text."""
    if type(value) in (int, float) and 0 <= value < LATEST:  # nearly all of a million
        return float(value)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LATEST:
        raise BadInput(
            f"{where}: key {key!r} is {_shown(value)}; expected a number of seconds or ms (us, ns), at least 0 and below {LATEST:g}, "
            f"or a date such as {A_DATE}"
        )
    return float(value)


def is_date(value: Any) -> bool:
    return isinstance(value, str) and _date(value) is not None


def date_value(value: Any, key: str, where: str) -> float:
    """A date and time as seconds since 1970; without a zone it is UTC, which matters to no difference."""
    found = _date(value) if isinstance(value, str) else None
    if found is None:
        raise BadInput(f"{where}: key {key!r} is {_shown(value)}; expected a date and time such as {A_DATE}")
    return found


def _date(text: str) -> float | None:
    text = text.strip().upper()
    if text.replace(".", "", 1).isdigit():
        return None  # 20231116 is a number
    text = text.removesuffix(" UTC").removesuffix(" GMT")
    if text[4:5] == text[7:8] == "/":  # 2023/11/16 is the same day everywhere, 11/12/2023 is not
        text = text.replace("/", "-")
    day, _, fraction = text.partition(".")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    exact = f"{day}.{fraction[: min(digits, 6)]}{fraction[digits:]}" if digits else text  # datetime takes six digits at most
    try:
        found = datetime.fromisoformat(exact)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def length_value(value: Any, key: str, where: str, low: int) -> int:
    """A whole number of tokens; 500.0 and "500" are 500."""
    if type(value) is int and low <= value <= MOST_TOKENS:  # nearly all of a million
        return value
    number: Any = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = None
    counts = isinstance(number, int | float) and not isinstance(number, bool) and low <= number <= MOST_TOKENS
    if not counts or number != int(number):
        raise BadInput(
            f"{where}: key {key!r} is {_shown(value)}; expected a whole number of tokens from {low} to {MOST_TOKENS:,}"
        )
    return int(number)


def block_numbers(ids: Any, where: str) -> array[int]:
    """The ids of a row's blocks as 64-bit numbers: those that are such numbers stay, all others are hashed."""
    if not isinstance(ids, list):
        raise BadInput(f"{where}: key 'hash_ids' is {_shown(ids)}; expected a list of whole numbers or strings")
    kinds = set(map(type, ids))
    if not kinds <= {int, str}:
        odd = next(found for found in ids if type(found) not in (int, str))
        raise BadInput(f"{where}: key 'hash_ids' has {_shown(odd)}; expected whole numbers or strings")
    if kinds <= {int}:
        try:
            return array("Q", ids)
        except OverflowError:
            pass
    return array("Q", map(_number, ids))


def _number(block: int | str) -> int:
    return block if isinstance(block, int) and 0 <= block < IDS else hashed(f"{type(block).__name__} {block}")


def hashed(text: str) -> int:
    """The same 64-bit number for the same text, in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < IDS else "a number beyond 64 bits"
    return text if len(text) <= 60 else f"{text[:57]}..."
