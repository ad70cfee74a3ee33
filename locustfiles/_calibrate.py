"""A way to count tokens on the server comes in, a Calibration goes out: what a piece of our text and the chat template cost there.

The texts counted here are made with a nonce of their own and are never measured.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

from scenarios.plan import Calibration, Message, header
from scenarios.spec import Scenario
from scenarios.text import make_text

Count = Callable[[list[Message]], int | None]
SAMPLE_PIECES = {"code": (30, 240)}
DEFAULT_SAMPLE_PIECES = (150, 1200)
ASSUMED = {"document": 1.25, "dialogue": 1.25, "question": 1.2, "instruction": 1.2, "code": 12.0}


def kinds_of(scenarios: Iterable[Scenario]) -> set[str]:
    """The kinds of text that these scenarios send."""
    kinds = set()
    for scenario in scenarios:
        kinds |= {scenario.prefix_text, scenario.turn_text}
        if scenario.turns > 1:
            kinds.add("dialogue")
    return kinds


def _prompt(nonce: str, kind: str, pieces: int) -> list[Message]:
    text = make_text(kind, pieces, f"{nonce}/{kind}/{pieces}")
    return [{"role": "system", "content": header(nonce, "calibration", 0)}, {"role": "user", "content": text}]


def _fit_kind(count: Count, kind: str) -> tuple[float, float] | None:
    """(tokens per piece, tokens of an empty prompt) from two lengths of a kind's text; None if the server does not count."""
    nonce = secrets.token_hex(4)
    short, long = SAMPLE_PIECES.get(kind, DEFAULT_SAMPLE_PIECES)
    few, many = count(_prompt(nonce, kind, short)), count(_prompt(secrets.token_hex(4), kind, long))
    if few is None or many is None or many <= few:
        return None
    per_piece = (many - few) / (long - short)
    return per_piece, max(0.0, few - per_piece * short)


def _exchange_tokens(count: Count, per_piece: float) -> float:
    """What an assistant and a user message cost beyond their text."""
    nonce, pieces = secrets.token_hex(4), 50
    plain = _prompt(nonce, "dialogue", pieces)
    longer = [*plain, {"role": "assistant", "content": make_text("dialogue", pieces, f"{nonce}/a")}]
    longer.append({"role": "user", "content": make_text("dialogue", pieces, f"{nonce}/u")})
    before, after = count(plain), count(longer)
    return max(0.0, after - before - 2 * pieces * per_piece) if before is not None and after is not None else 0.0


def calibrate(count: Count, source: str, scenarios: Iterable[Scenario]) -> Calibration:
    """Learn how the server counts; with a server that does not say, assume what common tokenizers do, and say so."""
    scenarios = list(scenarios)
    fits = {kind: _fit_kind(count, kind) for kind in sorted(kinds_of(scenarios))}
    known = {kind: fit for kind, fit in fits.items() if fit is not None}
    if len(known) < len(fits):
        return Calibration(dict(ASSUMED), 20.0, 8.0, "assumed")
    per_piece = {kind: fit[0] for kind, fit in known.items()}
    template = min(fit[1] for fit in known.values())
    conversations = any(scenario.turns > 1 for scenario in scenarios)
    exchange = _exchange_tokens(count, per_piece["dialogue"]) if conversations else 0.0
    return Calibration(per_piece, template, exchange, source)
