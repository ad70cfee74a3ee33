"""Who may import whom (docs/architecture.md), read from the sources: a package imports only what stands below it."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "locust_kvcache"
# A package's own modules may import one another; beside them what is listed here, and nothing else of ours.
BELOW: dict[str, set[str]] = {
    "contract": set(),
    "workload": {"contract"},
    "loadgen": {"contract", "workload"},
    "analysis": {"contract", "workload"},
    "emulator": set(),
    "certificate": {"contract", "loadgen"},
    "campaign": {"contract"},
    "cli": {"contract", "workload", "loadgen", "analysis"},
}
# Floors inside a package, from the ground up: a room imports rooms of lower floors, and itself.
FLOORS: dict[str, list[set[str]]] = {
    "loadgen": [
        {"typed_locust", "durations"},
        {"console", "interrupt"},
        {"quiet"},
        {"options", "protocol", "client"},
        {"worker"},
        {"server"},
        {"run"},
        {"studies", "dry_run"},
        {"master"},
        {"web"},
        {"plugin"},
        {"user"},
    ],
    "analysis": [
        {"basics", "server_configs"},
        {"reading", "stats", "servers"},
        {"model"},
        {"cache"},
        {"labelling", "request_tables", "round_rows"},
        {"pipeline", "tables"},
        {"across_runs", "advice", "charts"},
        {"report", "exports"},
        {"commands"},
        {"__main__"},
    ],
}
LIBRARIES = {
    "contract": {"locust", "gevent", "requests", "httptools", "pandas", "numpy", "matplotlib"},
    "workload": {"locust", "gevent", "requests", "httptools", "pandas", "numpy", "matplotlib"},
    "loadgen": {"pandas", "numpy", "scipy", "matplotlib", "pyarrow"},
    "analysis": {"locust", "gevent", "httptools", "requests"},
    "emulator": {"locust", "gevent", "pandas", "matplotlib"},
    "certificate": {"pandas", "numpy", "scipy", "matplotlib"},
    "campaign": {"locust", "gevent", "requests", "pandas", "numpy", "matplotlib"},
    "cli": {"gevent", "pandas", "numpy", "matplotlib"},
}


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names of everything a file imports, wherever in the file it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def ours(path: Path) -> set[tuple[str, ...]]:
    """What a file imports of the package, as the parts behind its name."""
    return {tuple(name.split(".")[1:]) for name in imports(path) if name.startswith(f"{PACKAGE}.")}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def place(path: Path) -> tuple[str, ...]:
    """("analysis", "stats", "summary") for locust_kvcache/analysis/stats/summary.py."""
    return path.relative_to(ROOT / PACKAGE).with_suffix("").parts


def floor_of(package: str, room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS[package]) if room in rooms)


MODULES = [path for path in files(PACKAGE) if len(place(path)) > 1]


def modules_of(package: str) -> list[Path]:
    return [path for path in MODULES if place(path)[0] == package]


@pytest.mark.parametrize("package", BELOW)
def test_a_package_imports_only_what_stands_below_it(package: str) -> None:
    never = LIBRARIES[package] | {"locustfiles", "benchmarks", "tests"}
    for path in modules_of(package):
        above = {parts[0] for parts in ours(path)} - {"__version__", package} - BELOW[package]
        outside = {name.split(".")[0] for name in imports(path)} & never
        assert (above, outside) == (set(), set()), f"{'/'.join(place(path))} must not import these"


@pytest.mark.parametrize("package", FLOORS)
def test_a_room_imports_only_lower_floors(package: str) -> None:
    for path in modules_of(package):
        room = place(path)[1]
        others = {parts[1] for parts in ours(path) if parts[0] == package and len(parts) > 1} - {room}
        higher = sorted(other for other in others if room != "__init__" and floor_of(package, other) >= floor_of(package, room))
        assert not higher, f"{'/'.join(place(path))} must not import {higher}"


@pytest.mark.parametrize("path", files("locustfiles"), ids=lambda path: path.name)
def test_a_runnable_locustfile_is_short_and_imports_the_package_only(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    assert {name.split(".")[0] for name in imports(path)} <= {"locust", PACKAGE, "__future__"}


def test_a_command_of_before_is_thin() -> None:
    for path in files("analysis"):
        assert len(path.read_text().splitlines()) <= 20, path.name
        assert {name.split(".")[0] for name in imports(path)} <= {"sys", PACKAGE}, path.name


def test_only_charts_import_matplotlib() -> None:
    importing = [path for path in modules_of("analysis") if "matplotlib" in {name.split(".")[0] for name in imports(path)}]
    assert importing
    assert {place(path)[1] for path in importing} == {"charts"}


@pytest.mark.parametrize(
    ("statement", "never"),
    [
        ("import locust_kvcache", {"gevent", "pandas"}),
        ("import locust_kvcache.cli, locust_kvcache.cli.run", {"locust", "pandas"}),
        ("import locust_kvcache.cli.run, locust_kvcache.loadgen.user", {"pandas"}),
        ("import locust_kvcache.emulator.__main__", {"locust"}),
        ("import locust, locustfiles.cold_start", {"pandas", "matplotlib"}),
    ],
)
def test_what_an_import_does_not_load(statement: str, never: set[str]) -> None:
    code = f"import sys; {statement}; print(*sorted({never!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
