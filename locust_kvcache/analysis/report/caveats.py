"""Chooses the problems for the first screen of a report: errors and warnings, most severe first, without repetition; the others fold.

A study lists the problems of several runs. One that several runs have is said once, with the runs' names before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from locust_kvcache.analysis.basics.number_text import listed, plural
from locust_kvcache.analysis.basics.problems import SEVERITIES

SHOWN = 4  # on the first screen; errors beyond that are shown too
Row = dict[str, Any]


@dataclass(frozen=True)
class Caveats:
    shown: tuple[Row, ...]
    folded: tuple[Row, ...]
    kinds: tuple[Row, ...]  # the first of each kind, notes too: what a page without folds shows

    @property
    def summary(self) -> str:
        """Also: 2 warnings, 1 note; without `Also` where nothing stands above."""
        warnings = sum(row["severity"] != "note" for row in self.folded)
        notes = len(self.folded) - warnings
        counted = [plural(count, noun) for count, noun in ((warnings, "warning"), (notes, "note")) if count]
        return f"Also: {', '.join(counted)}" if self.shown else ", ".join(counted)


def caveats(problems: Iterable[Row]) -> Caveats:
    """Each text once, in the order given (gravest first); of several of one kind the first is shown, with how many `more` there are."""
    rows = list({(row["severity"], row["text"]): row for row in problems}.values())
    kinds: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row["severity"], row["code"]), []).append(row)
    firsts = tuple({**same[0], "more": len(same) - 1} for same in kinds.values())
    grave = [row for row in firsts if row["severity"] in ("error", "warning")]
    errors = sum(row["severity"] == "error" for row in grave)
    shown = grave[: max(SHOWN, errors)]
    said = [row["text"] for row in shown]
    return Caveats(tuple(shown), tuple(row for row in rows if row["text"] not in said), firsts)


def merged(by_name: Iterable[tuple[str, Iterable[Row]]]) -> tuple[Row, ...]:
    """Problems of several runs, each said once: `single and PD: ...`."""
    names: dict[tuple[str, str], list[str]] = {}
    rows: dict[tuple[str, str], Row] = {}
    for name, problems in by_name:
        for row in problems:
            key = (row["severity"], row["text"])
            rows.setdefault(key, row)
            names.setdefault(key, [])
            names[key] += [name] if name not in names[key] else []
    said = [{**row, "text": f"{listed(names[key])}: {row['text']}"} for key, row in rows.items()]
    return tuple(sorted(said, key=lambda row: SEVERITIES.index(row["severity"])))
