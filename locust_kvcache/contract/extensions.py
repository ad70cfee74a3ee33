"""Finds what other packages add: scenarios, metrics of a request, cache actions, server dialects, report sections (docs/extending.md).

A package names its additions as entry points in its pyproject.toml, in one group per kind. They are loaded when they are needed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput

SCENARIOS = "locust_kvcache.scenarios"
METRICS = "locust_kvcache.metrics"
CACHE_ACTIONS = "locust_kvcache.cache_actions"
DIALECTS = "locust_kvcache.dialects"
REPORT_SECTIONS = "locust_kvcache.report_sections"
GROUPS = {
    SCENARIOS: "a scenario: a function that returns the keys of a scenario file, or the path of one",
    METRICS: "a metric of a request: a RequestMetric",
    CACHE_ACTIONS: "a way to empty a cache tier, for `caches` of a deployment file: a CacheActionKind",
    DIALECTS: "what a server says or wants in another way, for `dialect` of a deployment file: a ServerDialect",
    REPORT_SECTIONS: "a section of the report of a run: a ReportSection",
}
METRIC_KEY = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class RequestMetric:
    """A value of each request, which the analysis describes and compares as it does its own.

    The entry point's name is the metric's key: the column of the records, and `metric` in stats.json.
    """

    name: str  # in tables
    unit: str
    definition: str  # its formula in words
    compute: Callable[[Any], Any]  # the records as a DataFrame -> a Series of numbers, missing where the request has none
    compared: bool = False  # cold against hit, and runs against one another: with an interval, and without a verdict
    side_by_side: tuple[str, ...] = ("mean", "median")  # statistics in the table of all runs of a comparison


@dataclass(frozen=True)
class CacheActionKind:
    """A `kind` of an entry of `caches`; the entry point's name is the kind's."""

    about: str
    empty: Callable[
        [str, float], tuple[bool, str]
    ]  # (target, timeout in s) -> (whether nothing contradicts success, what happened)


@dataclass(frozen=True)
class ServerDialect:
    """What a server says or wants in a way of its own; the entry point's name is the value of `dialect` in a deployment file.

    What the deployment file says itself comes first.
    """

    about: str
    # an event of a stream -> token counts that stand in it: `prompt`, `output`, `cached`; None or {}: none do
    counts: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  # of every request; ${NAME} is read from the environment
    extra_body: Mapping[str, Any] = field(default_factory=dict)  # fields of every request's body
    engine_header: str = ""  # of a response, with the engine's name
    reset: Mapping[str, str] = field(default_factory=dict)  # tier -> kind of the cache action that empties it at the endpoint


@dataclass(frozen=True)
class ReportSection:
    """A section of the report of a run, before its conditions."""

    heading: str
    blocks: Callable[[Any], Iterable[Any]]  # the Analysis -> Tables (locust_kvcache.analysis.tables.table) and paragraphs


@dataclass(frozen=True)
class Extension:
    """One addition: its name, the package that has it, and what was loaded."""

    name: str
    package: str
    version: str
    loaded: Any


KINDS: Mapping[str, type] = {
    METRICS: RequestMetric,
    CACHE_ACTIONS: CacheActionKind,
    DIALECTS: ServerDialect,
    REPORT_SECTIONS: ReportSection,
}


@functools.cache
def _points() -> dict[str, list[EntryPoint]]:
    """Of our groups. Looking through all installed packages takes 10 ms."""
    found = entry_points()
    return {group: list(found.select(group=group)) for group in GROUPS}


@functools.cache
def extensions(group: str) -> dict[str, Extension]:
    """Every addition of a group by its name; BadInput for one that cannot be loaded, or that two packages have."""
    found: dict[str, Extension] = {}
    for point in sorted(_points()[group], key=lambda point: (point.name, _package(point))):
        if point.name in found:
            raise BadInput(
                f"{found[point.name].package} and {_package(point)} both have the entry point {point.name!r} of {group}; uninstall one"
            )
        found[point.name] = Extension(point.name, _package(point), point.dist.version if point.dist else "", _load(point))
    return found


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "a package without a name"


def _load(point: EntryPoint) -> Any:
    where = f"{_package(point)}: entry point {point.name!r} of {point.group}"
    way_out = f"mend it, or: pip uninstall {_package(point)}"
    try:
        loaded = point.load()
    except Exception as error:  # whatever a package of somebody else's raises while it is imported
        raise BadInput(f"{where} cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}; {way_out}") from error
    kind = KINDS.get(point.group)
    if kind is not None and not isinstance(loaded, kind):
        raise BadInput(f"{where} is {type(loaded).__name__}; expected {kind.__name__} of {__name__}; {way_out}")
    if point.group == METRICS and not METRIC_KEY.fullmatch(point.name):
        raise BadInput(
            f"{where}: the name is the metric's key in stats.json; expected lower-case letters, digits and _; {way_out}"
        )
    return loaded


def scenario_values(name: str) -> dict[str, Any] | Path | None:
    """What a package has under a scenario's name: the keys of a scenario file, or a file; None where no package has it."""
    found = extensions(SCENARIOS).get(name)
    if found is None:
        return None
    try:
        given = found.loaded() if callable(found.loaded) else found.loaded
    except Exception as error:  # whatever a package of somebody else's raises
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise BadInput(
            f"{found.package}: scenario {name!r} failed: {what}; mend it, or: pip uninstall {found.package}"
        ) from error
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, str | Path):
        return Path(given)
    raise BadInput(
        f"{found.package}: scenario {name!r} is {type(given).__name__}; expected a mapping (the keys of a scenario file) or a path"
    )


def packages() -> dict[str, str]:
    """The packages that add something, with their versions, without loading anything."""
    points = [point for found in _points().values() for point in found]
    return {point.dist.name: point.dist.version for point in points if point.dist}
