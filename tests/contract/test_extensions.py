"""What other packages add: the example of docs/extending.md, installed and used; and what is wrong with a package."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.contract import dialects, extensions
from locust_kvcache.contract.cache_tiers import parse_caches
from locust_kvcache.contract.deployment import load_deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.extensions import RequestMetric, ServerDialect
from locust_kvcache.contract.usage import Counts
from locust_kvcache.loadgen.client.sse import EventReader
from tests.analysis.synthetic import Truth, synthetic_run
from tests.conftest import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package in a folder of its own, by pip and without a network."""
    target = tmp_path_factory.mktemp("installed")
    words = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
        "--target",
        target,
    ]
    subprocess.run([sys.executable, "-m", "pip", *map(str, words), str(EXAMPLE)], check=True, capture_output=True, timeout=300)
    return target


def run(installed: Path, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """`locust-kvcache WORDS` in a process that has the package."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"}
    command = [sys.executable, "-m", "locust_kvcache", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_the_package_is_listed(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "plugins")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines() if line.startswith(" ")] == [
        ["support_tickets", "kvcache-example", "1.0"], ["prefill_tokens_per_s", "kvcache-example", "1.0"],
        ["marker_file", "kvcache-example", "1.0"], ["metered", "kvcache-example", "1.0"], ["slowest", "kvcache-example", "1.0"],
    ]  # fmt: skip


@pytest.mark.slow
def test_its_scenario_is_planned_by_its_name(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "dry-run", "support_tickets", "-u", "2")
    assert done.returncode == 0, done.stderr
    assert "support_tickets      1         8" in done.stdout
    done = run(installed, tmp_path, "dry-run", "suport_tickets")
    assert "support_tickets" in done.stderr


@pytest.fixture(scope="module")
def reported(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with its report, made where the package is installed."""
    folder = tmp_path_factory.mktemp("reported")
    done = run(installed, folder, "report", synthetic_run(folder / "run", Truth(sessions=6, turns=1, spread_tokens=0)))
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.slow
def test_its_metric_and_section_stand_in_the_report(reported: Path) -> None:
    """TTFT is 40 ms + 4,096 tokens / 8,000 tokens/s = 552 ms for a session's first request, all of it computed: 7,420 tokens/s."""
    folder = reported
    before = json.loads(json.dumps(analyse_folder(folder).stats))
    stats = json.loads((folder / "stats.json").read_text())
    (cold,) = [row for row in stats["distributions"]
               if (row["metric"], row["split"], row["group"]) == ("prefill_tokens_per_s", "round", "1")]  # fmt: skip
    assert (cold["n"], cold["unit"]) == (6, "tokens/s")
    assert cold["mean"] == pytest.approx(4096 / (0.040 + 4096 / 8000), rel=0.001)
    added = [row for row in stats["effects"] if row["metric"] == "prefill_tokens_per_s"]
    assert {row["statistic"] for row in added} >= {"mean", "median"}
    assert {row["verdict"] for row in added} == {None}
    own = [row for row in stats["effects"] if row["metric"] != "prefill_tokens_per_s"]
    assert own == before["effects"]  # what is said of the others does not depend on what is installed
    text = (folder / "report" / "report.md").read_text()
    assert "| Prefill rate | tokens/s | prompt tokens that were not cached / TTFT | kvcache-example 1.0 |" in text
    assert "Slowest first tokens" in text
    assert "prefill_tokens_per_s" in stats["samples"]


@pytest.mark.slow
def test_its_metric_stands_in_a_comparison(installed: Path, reported: Path, tmp_path: Path) -> None:
    stats = reported / "stats.json"
    other = tmp_path / "b.json"
    other.write_text(stats.read_text().replace('"synthetic"', '"b"'))
    done = run(installed, tmp_path, "compare", stats, other, "--output", tmp_path / "comparison.md")
    assert done.returncode == 0, done.stderr
    assert "Prefill rate, tokens/s: median" in (tmp_path / "comparison.md").read_text()


@pytest.mark.slow
def test_its_cache_action_is_carried_out(installed: Path, tmp_path: Path) -> None:
    code = (
        "from locust_kvcache.contract.cache_tiers import parse_caches\n"
        "from locust_kvcache.loadgen.server.cache_actions import carry_out\n"
        "actions = parse_caches([{'tier': 'store', 'kind': 'marker_file', 'target': 'emptied'}], 'd.yaml')\n"
        "(done,) = carry_out(actions, None)\n"
        "print(done.ok, done.detail)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True wrote emptied\n"
    assert (tmp_path / "emptied").read_text() == "empty the store\n"


@pytest.mark.slow
def test_its_dialect_fills_what_the_deployment_file_leaves_out(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(
        "kind: other\nendpoint: http://h:1\ndialect: metered\nheaders: {X-Meter: quiet, a: b}\nextra_body: {top_k: 1}\n"
    )
    code = (
        "import json\n"
        "from pathlib import Path\n"
        "from locust_kvcache.contract.deployment import load_deployment\n"
        "from locust_kvcache.loadgen.client.target import Target\n"
        "d = load_deployment(Path('d.yaml'))\n"
        "counts = Target.from_url(d.endpoint, d.transport).counts_of({'meter': {'in': 9, 'out': 2, 'reused': 4}})\n"
        "action = d.caches[0]\n"
        "print(json.dumps([d.transport.headers, d.extra_body, d.transport.engine_header, d.transport.dialect, counts,\n"
        "                  [action.tier, action.kind, action.target]]))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [
        [["X-Meter", "quiet"], ["a", "b"]], {"meter": True, "top_k": 1}, "x-served-by", "metered",
        {"prompt": 9, "output": 2, "cached": 4}, ["gpu", "sglang_flush", "http://h:1"],
    ]  # fmt: skip


def test_a_dialect_that_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("kind: other\nendpoint: http://h:1\ndialect: metered\n")
    with pytest.raises(BadInput, match="key 'dialect' is 'metered', which no package on this host adds; installed: none"):
        load_deployment(tmp_path / "d.yaml")


def test_counts_of_a_dialect_take_the_place_of_the_usual_ones() -> None:
    """And are checked as all counts: 9 cached of 4 prompt tokens cannot be."""

    def counts(cached: int) -> Counts:
        events = [
            {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            {"choices": [], "meter": {"in": 4, "reused": cached}},
        ]
        reader = EventReader(
            counts_of=lambda event: (meter := event.get("meter")) and {"prompt": meter["in"], "cached": meter["reused"]}
        )
        reader.feed([(1.0, b"data: " + json.dumps(event).encode() + b"\n\n") for event in events])
        reader.finish(complete=True)
        return reader.counts

    assert counts(3) == Counts(4, 1, 3, None)
    assert counts(9) == Counts(4, 1, None, "cached_tokens is 9, but the prompt has 4 tokens")


def test_a_dialect_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points(monkeypatch, ("odd", f"{__name__}:ODD", "one"))
    monkeypatch.setattr(dialects, "extensions", extensions.extensions)
    counts = dialects.counts_of("odd")
    assert counts is not None
    with pytest.raises(BadInput, match="the dialect 'odd' failed at an event: KeyError: 'meter'; mend its package"):
        counts({})


def points(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, str, str]) -> None:
    """Entry points of these names, values and packages, in every group."""

    def of_group(group: str) -> list[Any]:
        made = []
        for name, value, package in found:
            point = importlib.metadata.EntryPoint(name, value, group)
            vars(point)["dist"] = SimpleNamespace(name=package, version="1")
            made.append(point)
        return made

    monkeypatch.setattr(extensions, "_points", lambda: {group: of_group(group) for group in extensions.GROUPS})
    extensions.extensions.cache_clear()
    monkeypatch.setattr(extensions, "extensions", extensions.extensions.__wrapped__)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            [("a", "no_such_module:x", "broken")],
            "broken: entry point 'a' of locust_kvcache.metrics cannot be loaded: ModuleNotFoundError",
        ),
        ([("a", "json:loads", "wrong")], "wrong: entry point 'a' of locust_kvcache.metrics is function; expected RequestMetric"),
        ([("a", "json:loads", "one"), ("a", "json:loads", "two")], "is function; expected RequestMetric"),
        ([("A b", f"{__name__}:METRIC", "odd")], "the name is the metric's key in stats.json; expected lower-case letters"),
        ([("a", f"{__name__}:METRIC", "one"), ("a", f"{__name__}:METRIC", "two")], "one and two both have the entry point 'a'"),
    ],
)
def test_a_package_that_is_wrong_is_named(found: list[tuple[str, str, str]], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points(monkeypatch, *found)
    with pytest.raises(BadInput) as refused:
        extensions.extensions(extensions.METRICS)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_scenario_is_a_mapping_or_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    points(
        monkeypatch, ("a", f"{__name__}:a_mapping", "one"), ("b", f"{__name__}:A_PATH", "one"), ("c", f"{__name__}:METRIC", "one")
    )
    assert extensions.scenario_values("a") == {"requests": 1}
    assert extensions.scenario_values("b") == Path("x/b.yaml")
    assert extensions.scenario_values("d") is None
    with pytest.raises(BadInput, match="one: scenario 'c' is RequestMetric; expected a mapping"):
        extensions.scenario_values("c")


def test_a_scenario_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points(monkeypatch, ("a", "builtins:dict.fromkeys", "one"))
    with pytest.raises(BadInput, match=r"one: scenario 'a' failed: TypeError: .*; mend it, or: pip uninstall one"):
        extensions.scenario_values("a")


def test_without_packages_the_kinds_are_ours() -> None:
    with pytest.raises(BadInput, match="'marker_file'; allowed: vllm_reset, "):
        parse_caches([{"tier": "gpu", "kind": "marker_file", "target": "x"}], "d.yaml")


def a_mapping() -> dict[str, Any]:
    return {"requests": 1}


A_PATH = "x/b.yaml"
ODD = ServerDialect("fails", counts=lambda event: event["meter"])
METRIC = RequestMetric("A", "ms", "a number", lambda records: records["ttft_ms"])
