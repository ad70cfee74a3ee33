"""docs/architecture.md is the map of the package: every module stands in it, and it names none that does not exist.

The map's lines are the first sentences of the modules' docstrings. After a module was added, moved or removed:
python -m tests.test_architecture
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_imports import BELOW, FLOORS, LIBRARIES

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- the map: python -m tests.test_architecture -->", "<!-- end of the map -->"
PACKAGES = {
    "contract": "what load and analysis agree on",
    "workload": "what is sent, as values",
    "loadgen": "how it is driven",
    "analysis": "what it means",
    "emulator": "a server whose cache truth is known",
    "certificate": "how late this machine's own clocks are, measured",
    "campaign": "several deployments measured in turns",
    "cli": "the command `locust-kvcache`",
}


def modules() -> list[str]:
    """Paths below locust_kvcache/, without the folders' empty __init__.py."""
    package = ROOT / "locust_kvcache"
    paths = [path for path in package.rglob("*.py") if path.name != "__init__.py" and "shipped" not in path.parts]
    return sorted(str(path.relative_to(package)) for path in paths)


def first_sentence(module: str) -> str:
    text = ast.get_docstring(ast.parse((ROOT / "locust_kvcache" / module).read_text(encoding="utf-8"))) or ""
    line = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.?!]) (?=[A-Z])", line)[0].rstrip(".").replace("|", "\\|")


def the_map() -> str:
    """A table per package; modules directly in the package first, then room by room."""
    parts = []
    for package, what in {"": "the package itself", **PACKAGES}.items():
        mine = [name for name in modules() if (name.split("/")[0] == package if package else "/" not in name)]
        if mine:
            rows = [
                f"| `{name}` | {first_sentence(name)} |" for name in sorted(mine, key=lambda name: (name.count("/") > 1, name))
            ]
            title = f"`{package}/`" if package else "`locust_kvcache/`"
            parts.append("\n".join([f"### {title}: {what}", "", "| module | what |", "|---|---|", *rows]))
    return "\n\n".join(parts)


FLOORS_BEGIN, FLOORS_END = "<!-- the floors: python -m tests.test_architecture -->", "<!-- end of the floors -->"


def the_floors() -> str:
    """Who imports whom, as tests/test_imports.py holds it."""
    rows = [
        f"| `{package}` | {', '.join(f'`{other}`' for other in sorted(BELOW[package])) or 'none'} | "
        f"{', '.join(sorted(LIBRARIES.get(package, set()))) or '-'} |"
        for package in BELOW
    ]
    rooms = [
        f"| `{package}` | {'; '.join(', '.join(f'`{room}`' for room in sorted(floor)) for floor in floors)} |"
        for package, floors in FLOORS.items()
    ]
    return "\n".join(
        [
            "| package | may import of ours | never imports |", "|---|---|---|", *rows, "",
            "Rooms inside a package, the lowest floor first; a room imports lower floors only:", "",
            "| package | floors |", "|---|---|", *rooms,
        ]
    )  # fmt: skip


def between(text: str, begin: str, end: str) -> str:
    return text.split(begin)[1].split(end)[0].strip()


def test_the_page_says_who_imports_whom() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert between(text, FLOORS_BEGIN, FLOORS_END) == the_floors(), "the page is stale: python -m tests.test_architecture"


def test_every_module_stands_in_the_map_and_no_other() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    inside = text[text.index(BEGIN) : text.index(END)]
    named = re.findall(r"^\| `([\w/]+\.py)` \|", inside, re.M)
    assert sorted(named) == modules(), "the map is stale: python -m tests.test_architecture"


def test_the_page_names_no_module_that_does_not_exist() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)[0]
    named = re.findall(r"`(?:locust_kvcache/)?((?:contract|workload|loadgen|analysis|emulator)/[\w/]+\.py)`", text)
    assert named
    assert not set(named) - set(modules())


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name in modules() if not first_sentence(name)] == []


@pytest.mark.slow
def test_a_docstring_says_what_its_module_does_before_what_comes_in() -> None:
    riddles = re.compile(r"\bcomes? in\b.*\bgo(es)? out\b")
    sources = [path for folder in ("analysis", "benchmarks", "locust_kvcache", "tests") for path in (ROOT / folder).rglob("*.py")]
    texts = {path: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in sources}
    assert [str(path) for path, text in texts.items() if riddles.search(" ".join(text.split("\n\n")[0].split()))] == []


if __name__ == "__main__":
    page = DOCUMENT.read_text(encoding="utf-8")
    page = page.replace(between(page, FLOORS_BEGIN, FLOORS_END), the_floors())
    before, _, rest = page.partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{the_map()}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
