"""What stands against a result: every check of the analysis gives Problems, and every output lists them in one order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Problem:
    """`error`: the numbers are not those of a whole run. `warning`: they may mislead. `note`: worth knowing."""

    severity: str
    code: str
    text: str
    what_to_do: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def sorted_problems(problems: Iterable[Problem]) -> list[Problem]:
    """The gravest first; those of one severity in the order in which they were found."""
    return sorted(problems, key=lambda problem: SEVERITIES.index(problem.severity))
