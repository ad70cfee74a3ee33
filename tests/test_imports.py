"""Who may import whom (docs/architecture.md), read from the sources: a V with the scenarios at its foot."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"scenarios", "locustfiles", "analysis", "emulator", "benchmarks"}
FORBIDDEN = {
    "scenarios": {"locust", "gevent", "requests", "httptools", "pandas", "numpy", "matplotlib"} | OURS - {"scenarios"},
    "locustfiles": {"pandas", "numpy", "scipy", "matplotlib"} | OURS - {"scenarios", "locustfiles"},
    "analysis": {"locust", "gevent", "httptools", "requests"} | OURS - {"scenarios", "analysis"},
    "emulator": {"locust", "gevent", "pandas", "matplotlib"} | OURS - {"emulator"},
}
DRAWING = {"charts", "stack_charts", "study_charts", "figures"}


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports, wherever in the file it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources() -> list[Path]:
    return [path for package in FORBIDDEN for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_imports_only_what_it_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & FORBIDDEN[package]


def runnable_locustfiles() -> list[Path]:
    return [path for path in (ROOT / "locustfiles").glob("*.py") if not path.name.startswith("_")]


@pytest.mark.parametrize("path", runnable_locustfiles(), ids=lambda path: path.name)
def test_a_runnable_locustfile_is_short_and_imports_no_other(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    siblings = {name for name in imports(path) if name.startswith("locustfiles.")}
    assert all(name.split(".")[1].startswith("_") for name in siblings)


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").glob("*.py")), ids=lambda path: path.name)
def test_only_drawing_modules_import_matplotlib(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert "matplotlib" not in roots or path.stem in DRAWING


def test_a_worker_never_loads_pandas() -> None:
    code = "import locust, sys, locustfiles.cold_start; sys.exit('pandas' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
