"""Analyses one run: writes stats.json and prints the answer, then writes the report."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.reading.stats_file import write_stats
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.analysis.report.command_line import gate
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.analysis.stats.targets import RUN_TARGETS
from locust_kvcache.analysis.tables.console_lines import near, where
from locust_kvcache.analysis.tables.table import run_of
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import Cause, Exit
from locust_kvcache.contract.failure_limit import FailureLimit
from locust_kvcache.contract.language import told


def write_answer(folder: Path, slo: Mapping[str, float] | None = None, max_failures: FailureLimit | None = None) -> Analysis:
    """Analyse a run, write its stats.json and print the short answer. Nothing is drawn for that: the answer does not wait for it."""
    analysis = analyse_folder(folder, slo, max_failures)
    with _writable(folder):
        write_stats(folder / "stats.json", analysis.stats)
    with unusable_is_bad_input(folder):
        text = run_text(analysis.stats)
    print(text, flush=True)
    return analysis


def write_report_files(analysis: Analysis, folder: Path, png: bool) -> list[Path]:
    """report/ in the run's folder."""
    from locust_kvcache.analysis.report.files import write_report  # matplotlib and jinja2: only where a page is made

    with _writable(folder), unusable_is_bad_input(folder):
        return write_report(analysis, folder / "report", ("html", "markdown"), charts=True, png=png)


def print_files(folder: Path, report: Iterable[Path]) -> None:
    """Where the report is; the statistics where none was made."""
    print(where(report) or "\n" + told(f"Statistics: {near(folder / 'stats.json')}"), flush=True)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        way_out = "Check the folder's permissions."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            way_out = f"Free some space, then `locust-kvcache report {folder}`; what was measured is kept."
        raise BadInput(f"{error.filename or folder}: cannot be written: {error.strerror}. {way_out}") from error


def gate_cause(all_stats: Sequence[dict[str, Any]]) -> Cause:
    """What --gate ends with, for these runs."""
    return gate(list(all_stats), [row for stats in all_stats for row in stats["targets"] if row["target"] in RUN_TARGETS])


def plain_code(all_stats: Sequence[dict[str, Any]]) -> int:
    """The exit code without --gate: not 0 where a run calls itself complete and its records say otherwise."""
    contradicts = any(run_of(stats).complete and not stats["records_complete"] for stats in all_stats)
    return Exit.NOT_JUDGED if contradicts else Exit.OK
