"""The version comes from git's tags, and a tree without tags or without git still builds."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT


def build_version(folder: Path) -> ModuleType:
    """build_version.py as hatchling loads it from a folder."""
    spec = importlib.util.spec_from_file_location("build_version", folder / "build_version.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
    return subprocess.run(("git", *identity, *words), cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_of_a_tag_after_it_and_without_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCUST_KVCACHE_VERSION", raising=False)
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("build_version.py", ".gitattributes"):
        shutil.copy(ROOT / name, tree)
    made = build_version(tree)
    assert made.version() == made.UNTAGGED  # no git
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "-m", "one")
    assert made.version() == made.UNTAGGED  # a fresh clone without tags
    git(tree, "tag", "v0.3.9")
    assert made.version() == "0.3.9"
    archive = tmp_path / "archive"
    archive.mkdir()
    git(tree, "archive", "--output", str(tmp_path / "tree.tar"), "HEAD")
    shutil.unpack_archive(tmp_path / "tree.tar", archive)
    assert build_version(archive).version() == "0.3.9"  # what a host of repositories offers to download
    git(tree, "commit", "--quiet", "--allow-empty", "-m", "two")
    assert made.version() == f"0.3.10.dev1+g{git(tree, 'rev-parse', '--short', 'HEAD').strip()}"
    inside = tree / "vendored"
    inside.mkdir()
    shutil.copy(ROOT / "build_version.py", inside)
    assert build_version(inside).version() == made.UNTAGGED  # somebody else's tags are not ours
    monkeypatch.setenv("LOCUST_KVCACHE_VERSION", "9.9")
    assert made.version() == "9.9"


def test_the_changelog_has_the_sections_that_tools_read() -> None:
    """Keep a Changelog 1.1.0: releases from the newest, each with sections of these names, none twice."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.split(r"^## ", text, flags=re.M)[1:]
    assert releases[0].startswith("[Unreleased]\n")
    assert all(re.match(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d\n", release) for release in releases[1:])
    for release in releases:
        sections = re.findall(r"^### (.*)$", release, re.M)
        assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
        assert len(set(sections)) == len(sections)
    untagged = build_version(ROOT).UNTAGGED
    assert all(
        tuple(map(int, release[1 : release.index("]")].split("."))) <= tuple(map(int, untagged.split(".")))
        for release in releases[1:]
    )
