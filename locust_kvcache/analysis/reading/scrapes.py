"""Reads server_metrics.jsonl, and says which lines could not be read."""

from __future__ import annotations

import json
import lzma
import math
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.basics.plain_values import readable
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.contract.several_servers import several_servers

LARGEST = 1e18  # of a sample; counters of bytes and microseconds stay below it
TEXTS = ("role", "url", "scenario", "when")


def read_scrapes(path: Path) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Every scrape that can be read; one that failed or is torn is a note, as the client's figures don't need it.

    A file that was compressed for keeping (`xz server_metrics.jsonl`) is read as it is: without it nothing would show what hit.
    """
    packed = path.with_name(f"{path.name}.xz")
    if not path.is_file() and not packed.is_file():
        return [], []
    try:
        content = path.read_bytes() if path.is_file() else lzma.decompress(packed.read_bytes())
    except (OSError, EOFError, lzma.LZMAError) as error:
        return [], [Problem("note", "server_metrics_torn", f"The servers' metrics in {path.parent} cannot be read ({error}).")]
    lines = [line for line in content.splitlines() if line.strip()]
    found = [row for line in lines if (row := _scrape(line)) is not None]
    problems = []
    if bad := len(lines) - len(found):
        text = f"{bad} lines of {path.name} are not valid scrapes (not JSON, or values of another type) and were left out."
        problems.append(Problem("note", "server_metrics_torn", text))
    return found, problems + _failed(found)


def _failed(rows: list[dict[str, Any]]) -> list[Problem]:
    """Pages that could never be read, and those that could at other times."""
    failed, read = ({str(row.get("url")) for row in rows if bool(row.get("ok")) is ok} for ok in (False, True))
    never, sometimes = ", ".join(sorted(failed - read)), ", ".join(sorted(failed & read))
    problems = []
    if never:
        text = f"The servers' metrics could not be read at {never}."
        problems.append(Problem("note", "scrape_failed", text, "Check `metrics` in the deployment file."))
    if sometimes:
        text = f"The servers' metrics could not be read at all times at {sometimes}."
        problems.append(
            Problem("note", "scrape_failed", text, "Was the server stopped or started, or too busy to answer within 5 s?")
        )
    return problems


def without_balanced(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The rows without those of addresses at which several servers answer, and a warning for each such address."""
    found = several_servers(rows)
    todo = "Name each engine's own page under `engines` in the deployment file, or let its router name them (docs/routers.md)."
    problems = [
        Problem(
            "warning",
            "several_servers",
            f"Several servers answer at {url}: {how}. It is the address of a load balancer, so its counters are not used.",
            todo,
        )
        for url, how in found.items()
    ]
    return [row for row in rows if row.get("url") not in found], problems


def _scrape(line: bytes) -> dict[str, Any] | None:
    """A line as written, with the names of samples that are no finite numbers apart; None where it is no scrape."""
    try:
        row = readable(json.loads(line))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str | None) for name in TEXTS):
        return None
    number, at_s, samples = row.get("round"), row.get("at_s"), row.get("samples")
    if not _is_number(number, at_s) or isinstance(number, float) or not isinstance(samples, dict | None):
        return None
    if samples is None:
        return row
    found = {name: value for name, value in samples.items() if value is not None and _is_number(value)}
    told = row.get("no_numbers") or []
    none = [name for name in (*samples, *(told if isinstance(told, list) else [])) if isinstance(name, str) and name not in found]
    return {**row, "samples": found, "no_numbers": none}


def _is_number(*values: Any) -> bool:
    """Finite numbers of a size that counters have; None counts as one."""
    return all(
        value is None
        or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST and math.isfinite(value))
        for value in values
    )
