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
        {"labelling"},
        {"pipeline", "tables"},
        {"across_runs", "charts"},
        {"report"},
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


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(place(path)))
def test_a_package_imports_only_what_stands_below_it(path: Path) -> None:
    package = place(path)[0]
    assert {parts[0] for parts in ours(path)} - {"__version__"} <= BELOW[package] | {package}
    assert not {name.split(".")[0] for name in imports(path)} & (LIBRARIES[package] | {"locustfiles", "benchmarks", "tests"})


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if place(path)[0] in FLOORS and place(path)[1] != "__init__"],
    ids=lambda p: "/".join(place(p)),
)
def test_a_room_imports_only_lower_floors(path: Path) -> None:
    package, room = place(path)[:2]
    others = {parts[1] for parts in ours(path) if parts[0] == package and len(parts) > 1} - {room}
    higher = sorted(other for other in others if floor_of(package, other) >= floor_of(package, room))
    assert not higher, f"{package}/{room} must not import {higher}"


@pytest.mark.parametrize("path", files("locustfiles"), ids=lambda path: path.name)
def test_a_runnable_locustfile_is_short_and_imports_the_package_only(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    assert {name.split(".")[0] for name in imports(path)} <= {"locust", PACKAGE, "__future__"}


@pytest.mark.parametrize("path", files("analysis"), ids=lambda path: path.name)
def test_a_command_of_before_is_thin(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 20
    assert {name.split(".")[0] for name in imports(path)} <= {"sys", PACKAGE}


@pytest.mark.parametrize("path", files(f"{PACKAGE}/analysis"), ids=lambda path: "/".join(place(path)))
def test_only_charts_import_matplotlib(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert "matplotlib" not in roots or place(path)[1] == "charts"


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
