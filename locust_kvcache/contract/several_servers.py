"""Detects that a metrics page belongs to several servers behind a load balancer, which shows one engine at a time.

What such a page counts between two looks is the difference of two engines, and no evidence of anything.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STARTED = "process_start_time_seconds"
OF_ENGINE = re.compile(r"(?:vllm|sglang):(?:prompt_tokens|generation_tokens|request_success|num_requests)_total(?:[{ ]|$)")
CONFIG = "vllm:cache_config_info{"
SAME_S = 0.005  # a start time is told to the hundredth, and one process tells the same each time
AT_ONCE_S = 1.0  # no engine is started again within it
SOON_S = 10.0  # nor without a look that fails within it
LONG_UP_S = 60.0  # a server of that age was there before the first look, also by another clock
STARTS, COUNTS, CONFIGS = (
    "its start time changes to and fro",
    "its counters fall and rise again",
    "its configuration changes to and fro",
)
Row = Mapping[str, Any]  # of server_metrics.jsonl: at_s, url, ok, samples


@dataclass(frozen=True)
class _Look:
    at_s: float
    samples: Mapping[str, float]
    after_failure: bool  # the look before it got no page


def several_servers(rows: Iterable[Row]) -> dict[str, str]:
    """By address, how it shows that several servers answer there; rows in the order in which they were fetched."""
    by_url: dict[str, list[Row]] = {}
    for row in rows:
        by_url.setdefault(str(row.get("url")), []).append(row)
    return {url: how for url, mine in by_url.items() if (how := _how(list(_looks(mine))))}


def tells(line: str) -> bool:
    """Whether this line of a page is looked at here: a page of an engine has hundreds of others, which take long to parse."""
    return line.startswith((STARTED, CONFIG)) or bool(OF_ENGINE.match(line))


def shows_engine(samples: Mapping[str, float]) -> bool:
    """Whether this is an engine's page, whose counters would be taken for evidence."""
    return any(OF_ENGINE.match(name) for name in samples)


def _looks(rows: Sequence[Row]) -> Iterator[_Look]:
    failed = False
    for row in sorted(rows, key=lambda row: row.get("at_s") or 0.0):
        if row.get("ok") and row.get("samples"):
            yield _Look(row.get("at_s") or 0.0, row["samples"], failed)
        failed = not row.get("ok")


def _how(looks: Sequence[_Look]) -> str:
    """Empty where one server can have shown all of this, started again meanwhile or not."""
    if not any(shows_engine(look.samples) for look in looks):
        return ""
    starts = [(look.at_s, look.samples[STARTED]) for look in looks if STARTED in look.samples]
    if len({started_s for _, started_s in starts}) > 1:  # if not several servers, one that was started again: its counters fall
        return STARTS if _several_starts(starts) else ""
    if _returns([frozenset(name for name in look.samples if name.startswith(CONFIG)) for look in looks]):
        return CONFIGS
    return COUNTS if _falls_too_often(looks) else ""


def _several_starts(starts: Sequence[tuple[float, float]]) -> bool:
    """One that comes back, two that are older than the first look, or three in less time than a start takes."""
    changes = starts[:1]
    for at_s, started_s in starts[1:]:
        if abs(started_s - changes[-1][1]) > SAME_S:
            changes = [*changes, (at_s, started_s)]
    if len(changes) < 2:
        return False
    values = [started_s for _, started_s in changes]
    again = any(abs(one - other) <= SAME_S for place, one in enumerate(values) for other in values[place + 2 :])
    old = sum(started_s < starts[0][0] - LONG_UP_S for started_s in values)
    quick = any(third - first < SOON_S for (first, _), (third, _) in zip(changes, changes[2:], strict=False))
    return again or old > 1 or quick


def _returns(values: Sequence[frozenset[str]]) -> bool:
    """One comes back after another. A page without a value says nothing of that."""
    changes = [value for value, _ in itertools.groupby(filter(None, values))]
    return len(changes) > len(set(changes))


def _falls_too_often(looks: Sequence[_Look]) -> bool:
    """A counter that fell at once, or twice without a look that failed: a server that is started again is away for a while."""
    falls: dict[str, int] = {}
    for before, after in itertools.pairwise(looks):
        gap_s = after.at_s - before.at_s
        for name, value in after.samples.items():
            if value >= before.samples.get(name, value) or after.after_failure or not OF_ENGINE.match(name):
                continue
            if gap_s < AT_ONCE_S:
                return True
            falls[name] = falls.get(name, 0) + (gap_s < SOON_S or value > 0)
    return any(count > 1 for count in falls.values())
