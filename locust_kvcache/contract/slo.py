"""Reads limits such as ttft_ms=2000: service-level objectives, and the expected times of a dry run."""

from __future__ import annotations

from collections.abc import Sequence

from locust_kvcache.contract.deployment import OBJECTIVES
from locust_kvcache.contract.errors import BadInput

OBJECTIVES_HELP = (
    "Objectives in ms: ttft_ms=2000 tpot_ms=50 e2e_ms=..., or as vLLM's benchmark writes them: ttft:2000 tpot:50 e2el:..."
)
OTHER_NAMES = {"ttft": "ttft_ms", "tpot": "tpot_ms", "e2el": "e2e_ms"}  # of vLLM's --goodput
EXPECTED = ("cold_ttft_ms", "hit_ttft_ms", "tpot_ms")


def parse_times(option: str, words: Sequence[str], allowed: Sequence[str]) -> dict[str, float]:
    """NAME=MS words as a mapping; BadInput names the option, the word and what is allowed."""
    found: dict[str, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if name not in allowed or not value > 0:
            raise BadInput(f"{option} is {word!r}; expected NAME=MS with one of {', '.join(allowed)}, e.g. {allowed[0]}=2000")
        if found.setdefault(name, value) != value:
            raise BadInput(f"{option} names {name} twice, as {found[name]:g} and {value:g}; expected it once")
    return found


def parse_slo(words: Sequence[str]) -> dict[str, float]:
    """ttft_ms=2000 tpot_ms=50, or ttft:2000 tpot:50 -> limits in ms; BadInput names the word and what is allowed."""
    return parse_times("--slo", [_own_form(word) for word in words], OBJECTIVES)


def _own_form(word: str) -> str:
    """NAME=MS for a word of vLLM's form NAME:MS."""
    name, colon, value = word.partition(":")
    return f"{OTHER_NAMES[name]}={value}" if colon and name in OTHER_NAMES else word
