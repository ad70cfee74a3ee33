"""Runs the commands of the documentation: dry runs of every load, and the rest against one emulator."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
import re
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from locust.argument_parser import get_parser

import locust_kvcache.loadgen.user  # noqa: F401  declares our options on Locust's parser
from locust_kvcache.cli.run import locust_arguments
from locust_kvcache.contract.exit_codes import Exit
from locust_kvcache.loadgen.dry_run.text import dry_run_text
from locust_kvcache.loadgen.options.resolve import plan_job
from locust_kvcache.loadgen.options.run_options import read_options
from tests.conftest import ROOT, LocustProcesses, Warm
from tests.docs.pages import Command, commands, name, pages
from tests.docs.test_pages import LOADS, sub_command
from tests.emulated import emulator

Module = Callable[..., "CompletedProcess[str]"]
TRACE = "".join(
    f'{{"timestamp": {600_000 + 1000 * n}, "input_length": 900, "output_length": 8, "hash_ids": [0, {n}]}}\n'
    for n in range(1, 40)
)


def dry_run(command: Command, trace: Path) -> str:
    """What the load would send."""
    words = list(command.words[1:] if command.program == "locust-kvcache" else command.words)
    words = [str(trace) if word in ("conversation_trace.jsonl", "FILE") else word for word in words if word != "&"]
    words = ["50000" if word == "auto" else word for word in words]  # --working-set auto asks the servers
    parsed = get_parser().parse_args(locust_arguments(words) if command.program == "locust-kvcache" else words)
    loaded = [Path(file).stem for file in re.split(",", parsed.locustfile) if file.endswith(".py")]
    scenarios, deployment, model = plan_job(read_options(parsed), loaded, parsed.host)
    return dry_run_text(read_options(parsed), scenarios, deployment, model, int(parsed.num_users or 1))


def is_dry(command: Command) -> bool:
    """A load whose words stand for themselves; workers have no plan of their own."""
    words = " ".join(command.words)
    whole = not re.search(r"\.\.\.|WORDS|\[|\bRUN\b|\bNAME\b|\bmine\b|^run$", words)
    named = bool(re.search(r"scenarios |locustfiles/\w+\.py|^(run|dry-run) [a-z]", words))
    return sub_command(command) in LOADS and whole and named and not re.search(r"--worker|--help|--version|-T ", words)


@pytest.mark.parametrize("page", [page for page in pages() if page.parent.name != "decisions"], ids=name)
def test_every_load_can_be_planned(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dry run of each command lists its scenarios."""
    monkeypatch.chdir(ROOT)
    trace = tmp_path / "trace.jsonl"
    trace.write_text(TRACE)
    for command in filter(is_dry, commands(page)):
        text = dry_run(command, trace)
        assert re.search(r"^ +total +\d", text, re.M), f"{command}\n{text}"


def test_the_dry_run_of_the_page_is_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = ROOT / "docs" / "budget.md"
    blocks = re.findall(r"(?m)(?:^    .*\n|^\n)+", page.read_text(encoding="utf-8"))
    shown = next(block for block in map(textwrap.dedent, blocks) if block.strip().startswith("Dry run"))
    assert dry_run(next(commands(page)), tmp_path).strip() == shown.strip()


@dataclass(frozen=True)
class Folder:
    """A folder in which the commands of docs/files.md were executed."""

    path: Path
    console: str


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, warm: Warm | None) -> Folder:
    """The run of docs/files.md."""
    path = tmp_path_factory.mktemp("first")
    command = next(each for each in commands(ROOT / "docs" / "files.md") if each.words[:2] == ("run", "cold_start"))
    with emulator(path, {}, "--time-scale", "0.2") as url:
        words = [url if word.startswith("http://") else word for word in command.words[1:]]
        processes = LocustProcesses(path / "results", warm)
        code, console = processes.run(*locust_arguments(words), timeout_s=120)
        processes.end()
    assert code == Exit.OK, console
    return Folder(path, console)


def keys_of(section: str) -> set[str]:
    """Names in the first column of the tables below a heading of docs/files.md."""
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8").split(f"# {section}\n")[1].split("\n#")[0]
    return {key for line in text.splitlines() if line.startswith("| `") for key in re.findall(r"`(\w+)`", line.split(" | ")[0])}


@pytest.mark.slow
def test_run_json_has_the_keys_that_the_page_lists(first: Folder) -> None:
    facts = json.loads((first.path / "results" / "first" / "run.json").read_text())
    optional = {"study", "events"}
    assert set(facts) == keys_of("run.json (format 1)") - optional
    assert set(facts["rounds"][0]) <= keys_of("An entry of rounds")
    assert set(facts["warm_up"][0]) <= keys_of("An entry of warm_up")


def copy_run(first: Folder, run: str) -> Path:
    """Another run of the same plan, as the commands of the pages compare several."""
    source, folder = first.path / "results" / "first", first.path / run
    shutil.copytree(source, folder, dirs_exist_ok=True)
    for file in ("run.json", "records.jsonl"):
        text = (source / file).read_text().replace('"first"', f'"{run}"')
        nonce = json.loads((source / "run.json").read_text())["nonce"]
        (folder / file).write_text(text.replace(nonce, f"{sum(map(ord, run)):08x}{nonce[8:]}"))
    return folder


@pytest.mark.slow
def test_commands_that_read_runs(first: Folder, module: Module) -> None:
    """report, export and compare of docs/analysis.md, with runs in place of the words that stand for them."""
    run = copy_run(first, "RUN")
    report = module("analysis", run)
    assert report.returncode == Exit.OK, report.stderr
    assert {"run.json", "records.jsonl", "server_metrics.jsonl", "stats.json", "report"} <= {path.name for path in run.iterdir()}
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").split("## stats.json (format 1)")[1]
    assert set(json.loads((run / "stats.json").read_text())) <= set(re.findall(r"`(\w+)`", page))
    assert {"report.html", "report.md", "charts"} <= {path.name for path in (run / "report").iterdir()}
    tables = module("analysis.export", run, "--output-dir", first.path / "tables", "--format", "both")
    assert tables.returncode == Exit.OK, tables.stderr
    assert {path.suffix for path in (first.path / "tables").iterdir()} >= {".csv", ".parquet"}
    runs = [copy_run(first, each) for each in ("RUN_A", "RUN_B")]
    compared = module("analysis.compare_results", *runs, "--output", first.path / "comparison.html")
    assert compared.returncode == Exit.OK, compared.stderr
    assert (first.path / "comparison.html").exists()


@pytest.mark.slow
def test_commands_that_need_no_server(module: Module, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(TRACE)
    oracle = module("analysis.oracle", trace, "--kv-bytes-per-token", "327680")
    assert oracle.returncode == Exit.OK, oracle.stderr
    assert "%" in oracle.stdout
    checks = {tuple(each.words[1:]) for page in pages() for each in commands(page) if sub_command(each) == "check-configs"}
    checks |= {each.words for page in pages() for each in commands(page) if each.program == "python -m analysis.check_configs"}
    for words in sorted(checks, key=str):
        if not any(re.search(r"\.\.\.|FILE|\{", word) for word in words) and any("." in word for word in words):
            checked = module("analysis.check_configs", *words)
            assert checked.returncode == Exit.OK, f"{words}\n{checked.stdout}{checked.stderr}"
