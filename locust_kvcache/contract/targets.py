"""Names the targets that a run can be held to, and reads their thresholds from a file's `targets` or from --targets."""

from __future__ import annotations

from collections.abc import Sequence

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section

HIT_RATE, PD_HIT = "hit_rate_min", "pd_hit_ttft_ratio_max"
# What a user may set; nothing is judged that nobody set.
TARGETS = (
    HIT_RATE,
    "hit_ttft_reduction_min",
    "hit_throughput_gain_min",
    "hit_busy_throughput_gain_min",
    "pd_tpot_increase_max",
    PD_HIT,
)
TARGETS_HELP = "Targets of the run as shares, such as hit_rate_min=0.6 hit_ttft_reduction_min=0.5 (docs/metrics.md#targets)"


def read_targets(section: Section) -> dict[str, float]:
    """The section `targets` of a deployment or of a model."""
    chosen = {name: section.take(name, float, None) for name in TARGETS}
    section.done()
    found = {name: value for name, value in chosen.items() if value is not None}
    for name, value in found.items():
        _check(section.name(name), name, value)
    return found


def parse_targets(words: Sequence[str]) -> dict[str, float]:
    """hit_rate_min=0.6 hit_ttft_reduction_min=0.5 -> thresholds by name; BadInput names the word and what is allowed.

    A variable of the environment holds them in one word, by commas or spaces.
    """
    found: dict[str, float] = {}
    for word in [part for given in words for part in given.replace(",", " ").split() or [given]]:
        name, _, value = word.partition("=")
        if name not in TARGETS:
            raise BadInput(f"--targets is {word!r}; expected NAME=NUMBER with one of {', '.join(TARGETS)}, e.g. {HIT_RATE}=0.6")
        number = _number(value)
        if number is None:
            raise BadInput(f"--targets is {word!r}; expected a number behind {name}=, e.g. {name}=0.6")
        _check(f"--targets {name}", name, number)
        if found.get(name, number) != number:
            raise BadInput(f"--targets names {name} twice, as {found[name]:g} and {number:g}; expected it once")
        found[name] = number
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None  # neither infinite nor nan


def _check(where: str, name: str, value: float) -> None:
    """A hit rate is a share of the prompt tokens: 60 would never be met."""
    if name == HIT_RATE and not 0 <= value <= 1:
        raise BadInput(f"{where} is {value:g}; expected a share from 0 to 1, e.g. 0.6 for 60 % of the prompt tokens")
