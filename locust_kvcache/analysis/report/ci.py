"""Writes a gate's outcome for CI systems: JUnit XML, JSON, and Markdown for a pull request."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.stats.targets import FAIL, NOT_JUDGED
from locust_kvcache.analysis.tables import run_tables, sentences, text_tables
from locust_kvcache.analysis.tables.table import Table, run_of, scenarios
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import OK, TARGET_MISSED, Cause

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Outcome:
    """`cause` is why --gate ends as it does; `verdicts` are rows of effects with a verdict; `tables` go into the Markdown summary."""

    title: str
    cause: Cause
    lead: str
    targets: tuple[dict[str, Any], ...]
    problems: tuple[dict[str, Any], ...]
    verdicts: tuple[dict[str, Any], ...]
    tables: tuple[Table, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write targets and problems as JUnit XML")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome as JSON")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write a Markdown summary for a pull request")


def write_files(args: argparse.Namespace, outcome: Outcome) -> list[Path]:
    """Those files that were asked for."""
    written = []
    for path, make in ((args.junit, junit), (args.json, as_json), (args.summary, summary)):
        if path:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(make(outcome), encoding="utf-8")
            except OSError as error:
                raise BadInput(f"{path}: cannot be written: {error.strerror}; choose another file") from error
            written.append(path)
    return written


def junit(outcome: Outcome) -> str:
    """One test case per target (failed, or skipped where it was not judged) and one per problem that stands in a gate's way."""
    blocking = [problem for problem in outcome.problems if problem["severity"] == "error"]
    if not blocking and outcome.cause not in (OK, TARGET_MISSED):
        blocking = [{"code": outcome.cause.name, "text": outcome.lead, "what_to_do": outcome.cause.text}]
    failed = [target for target in outcome.targets if target["verdict"] == FAIL]
    skipped = [target for target in outcome.targets if target["verdict"] == NOT_JUDGED]
    counts = {
        "tests": len(outcome.targets) + len(blocking),
        "failures": len(failed),
        "errors": len(blocking),
        "skipped": len(skipped),
    }
    suite = ElementTree.Element("testsuite", {"name": _xml(outcome.title), **{key: str(value) for key, value in counts.items()}})
    for target in outcome.targets:
        name = " ".join(part for part in (target["target"], target.get("run"), target["scenario"]) if part)
        case = ElementTree.SubElement(suite, "testcase", {"classname": "kvcache.targets", "name": _xml(name)})
        text = _xml(f"{target['text']}: found {target['value']}, wanted {target['threshold']}. {target['why']}".strip())
        if target["verdict"] == FAIL:
            ElementTree.SubElement(case, "failure", {"message": text})
        elif target["verdict"] == NOT_JUDGED:
            ElementTree.SubElement(case, "skipped", {"message": text})
    for problem in blocking:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "kvcache.validity", "name": _xml(problem["code"])})
        ElementTree.SubElement(case, "error", {"message": _xml(f"{problem['text']} {problem['what_to_do']}")})
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """Without the characters that XML cannot hold at all."""
    return _NOT_XML.sub("?", str(text))


def as_json(outcome: Outcome) -> str:
    value = {
        "title": outcome.title,
        "exit_code": int(outcome.cause.code),
        "cause": outcome.cause.name,
        "lead": outcome.lead,
        "targets": outcome.targets,
        "verdicts": outcome.verdicts,
        "problems": outcome.problems,
    }
    return json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n"


def summary(outcome: Outcome) -> str:
    """The answer, the tables, what weakens them; short enough for a comment."""
    escape = text_tables.escape_markdown
    lines = [f"### {escape(outcome.title)}: {outcome.cause.name}", "", escape(outcome.lead), ""]
    for table in outcome.tables:
        lines += [text_tables.markdown(table, level=4), ""]
    problems = [f"- **{row['severity']}**: {escape(row['text'])}" for row in outcome.problems if row["severity"] != "note"][:10]
    return "\n".join([*lines, *(["#### Read before use", "", *problems] if problems else [])]) + "\n"


def run_outcome(stats: dict[str, Any], cause: Cause) -> Outcome:
    """The outcome of one run: its targets, and cold against hit as its verdicts."""
    verdicts = [row for row in stats["effects"] if row["verdict"]]
    tables = [run_tables.answer_table(stats, name) for name in scenarios(stats)]
    targets = run_tables.targets_table(stats)
    title = f"KV cache: {run_of(stats).run_id}"
    return Outcome(title, cause, sentences.headline(stats), tuple(stats["targets"]), tuple(stats["problems"]), tuple(verdicts),
                   (*tables, *([targets] if targets else [])))  # fmt: skip
