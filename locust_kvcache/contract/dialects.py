"""Applies the dialect of a server, which another package adds, to what a deployment file says (docs/extending.md)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.extensions import DIALECTS, ServerDialect, extensions

CountsOf = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


@dataclass(frozen=True)
class NamedDialect:
    """Without a name: a server as all others."""

    name: str
    of: ServerDialect


def find_dialect(name: str, where: str) -> NamedDialect:
    """The dialect of that name; BadInput says that its package is not installed here."""
    if not name:
        return NamedDialect("", ServerDialect(""))
    known = extensions(DIALECTS)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"installed: {', '.join(known) or 'none'}."
        raise BadInput(f"{where} is {name!r}, which no package on this host adds; {hint} `locust-kvcache plugins` lists them")
    return NamedDialect(name, known[name].loaded)


def counts_of(name: str) -> CountsOf | None:
    """What reads counts by the dialect of that name; BadInput for what it raises, before the load and in it."""
    counts = find_dialect(name, "the deployment's dialect").of.counts
    if counts is None:
        return None

    def told(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        try:
            return counts(event)
        except Exception as error:
            raise BadInput(
                f"the dialect {name!r} failed at an event: {type(error).__name__}: {error}; mend its package"
            ) from error

    return told


def with_headers(dialect: NamedDialect, given: Mapping[Any, Any]) -> dict[Any, Any]:
    """The dialect's headers and those of the deployment file, which take the place of equal ones."""
    own = {str(name).lower() for name in given}
    return {**{name: value for name, value in dialect.of.headers.items() if name.lower() not in own}, **given}


def reset_entries(dialect: NamedDialect, endpoint: str) -> list[dict[str, str]]:
    """What `caches` of the deployment file would say."""
    return [{"tier": tier, "kind": kind, "target": endpoint} for tier, kind in dialect.of.reset.items()]
