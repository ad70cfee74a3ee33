"""Defines the Finding of a check: how severe it is, what was seen, why it matters, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

ERROR, WARNING, NOTE, OK = SEVERITIES = ("error", "warning", "note", "ok")


@dataclass(frozen=True)
class Finding:
    """`error`: do not use the result, or the deployment. `warning`: figures may mislead. `note`: worth knowing. `ok`: was looked at."""

    severity: str
    code: str  # a stable name of this kind of finding, for programs
    text: str
    what_to_do: str = ""
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; `why` only where there is one."""
        told = {"severity": self.severity, "code": self.code, "text": self.text, "what_to_do": self.what_to_do}
        return {**told, "why": self.why} if self.why else told


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Those of one severity stay in the order in which they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
