"""The files that hosts of repositories and citation tools read: they name what exists, and run what .ci/run runs."""

from __future__ import annotations

import tomllib

import yaml

from tests.conftest import ROOT


def parsed(name: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return found


def test_both_hosts_run_the_same_script() -> None:
    github = str(parsed(".github/workflows/ci.yml"))
    gitlab = str(parsed(".gitlab-ci.yml"))
    assert "'run': '.ci/run'" in github
    assert "'script': ['.ci/run']" in gitlab
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_ends_of_the_range_of_pythons_are_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    assert f"['{versions[0]}', '{versions[-1]}']" in str(parsed(".github/workflows/ci.yml"))


def test_hooks_are_the_linters_of_make_lint() -> None:
    lint = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    hooks = [hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "") for hook in _hooks()]
    assert hooks
    for hook in hooks:
        assert f"$(BIN)/{hook}" in lint, hook
    assert len(hooks) == lint.count("$(BIN)/")


def _hooks() -> list[dict[str, str]]:
    repos = parsed(".pre-commit-config.yaml")["repos"]
    assert isinstance(repos, list)
    return [hook for repo in repos for hook in repo["hooks"]]


def test_the_citation_agrees_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = parsed("CITATION.cff")
    assert citation["license"] == project["license"]
    assert str(citation["title"]).startswith(project["name"])
    assert citation["authors"] == [{"name": "The locust-kvcache developers"}]
