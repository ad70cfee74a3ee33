"""Requirements and Dockerfiles: what is installed is one known set, constraints.txt, and it is the set that was asked for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from locust_kvcache.contract.shipped import FILES as FILES_SHIPPED
from locust_kvcache.contract.shipped import FOLDERS
from tests.conftest import ROOT

FILES = ("requirements.txt", "requirements-dev.txt", "configs/mooncake-requirements.txt")


def pins(path: str) -> dict[str, str | None]:
    """Package, as an index spells it -> its one version, or None."""
    found = {}
    for line in (ROOT / path).read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9][\w.-]*)(?:==([\w.]+))?", line):
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


@pytest.mark.parametrize("path", FILES)
def test_each_requirement_stands_in_the_constraints_at_its_version(path: str) -> None:
    locked = pins("constraints.txt")
    assert {name: locked.get(name) for name in pins(path)} == {
        name: version or locked[name] for name, version in pins(path).items()
    }


def test_every_constraint_is_one_version() -> None:
    locked = pins("constraints.txt")
    assert len(locked) > 60  # with what ours need
    assert [name for name, version in locked.items() if version is None] == []
    assert locked["werkzeug"]  # Locust needs it, no file of ours names it


@pytest.mark.parametrize("path", ["Dockerfile", "configs/mooncake.Dockerfile", "Makefile", "docs/examples/ci.yml"])
def test_nothing_is_installed_without_the_constraints(path: str) -> None:
    installs = [line for line in (ROOT / path).read_text().splitlines() if re.search(r"pip install\b.* -r ", line)]
    assert installs
    assert [line for line in installs if "-c " not in line and "--no-deps -r requirements-docs.txt" not in line] == []
    assert None not in pins("requirements-docs.txt").values()  # that file is a whole set of its own


def test_what_an_image_installs_from_is_in_its_build_context() -> None:
    allowed = Path(ROOT / ".dockerignore").read_text().split()
    for path in ("Dockerfile", "configs/mooncake.Dockerfile"):
        copies = [line for line in re.findall(r"^COPY (.*)$", (ROOT / path).read_text(), re.M) if not line.startswith("--from=")]
        sources = [word for line in copies for word in line.split()[:-1] if word != "."]
        assert sources
        assert [word for word in sources if f"!{word.removeprefix('./').split('/')[0]}" not in allowed] == []


def test_the_wheel_is_built_from_what_the_context_holds() -> None:
    """What hatchling reads (pyproject.toml) is all let into the image's build context."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    version = project["tool"]["hatch"]["version"]["path"]
    needed = {
        version,
        *wheel["packages"],
        *wheel["force-include"],
        project["project"]["readme"],
        *project["project"]["license-files"],
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert needed - allowed == set()
    assert set(wheel["force-include"]) == {*FOLDERS, *FILES_SHIPPED}
