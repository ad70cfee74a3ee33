"""Waits for a run to end and analyses it at once; the load starts this process early, so imports cost no time at the end.

A job comes in on standard input (contract/analysis_job.py); without one, as when the load was refused, the process ends silently.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from locust_kvcache.contract.analysis_job import DRAWS, END_OF_PART, READY, AnalysisJob, job_of
from locust_kvcache.contract.command import run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import OK, Exit
from locust_kvcache.contract.language import told, use_language


def _part(work: Callable[[], int]) -> int:
    code = run_command(work)
    sys.stderr.flush()
    print(f"{END_OF_PART}{code:d}", flush=True)
    return code


def do(job: AnalysisJob) -> int:
    """The answer first, then the report's files."""
    from locust_kvcache.analysis.commands import one_run
    from locust_kvcache.analysis.pipeline import Analysis

    use_language(job.language)
    folder, done = Path(job.folder), list[Analysis]()

    def answer() -> int:
        done.append(one_run.write_answer(folder))
        if not job.gate:
            return one_run.plain_code([done[0].stats])
        cause = one_run.gate_cause([done[0].stats])
        if cause is not OK:
            print(told(f"exit code {cause.code:d}: {cause.text}"))
        return cause.code

    def files() -> int:
        if done:
            one_run.print_files(folder, one_run.write_report_files(done[0], folder, job.png) if job.report else [])
        return Exit.OK

    code = _part(answer)
    return _part(files) or code


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they may reach every process of the group, and the load asks for its report then
    missing = _import_all(DRAWS in sys.argv[1:])
    gc.freeze()  # the libraries stay to the end: no collection looks at them again
    print(READY, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        return Exit.OK
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not SIGHUP: the report of a run is written though its terminal is closed
    return _part(partial(_refuse, job_of(line).folder, missing)) if missing else do(job_of(line))


def _import_all(draws: bool) -> str | None:
    """Import what the job will need; the name of a library that this machine lacks, where only the load generator's are installed."""
    try:
        import scipy.stats  # noqa: F401  what takes most of a second

        import locust_kvcache.analysis.commands.one_run

        if draws:
            import locust_kvcache.analysis.report.files  # noqa: F401  matplotlib takes another second
    except ModuleNotFoundError as missing:
        return (missing.name or str(missing)).partition(".")[0]
    return None


def _refuse(folder: str, missing: str) -> int:
    raise BadInput(
        f"the analysis needs the library {missing}, which is not installed here; everything measured is in {folder}: install {missing}, or "
        f"copy that folder to a machine with the whole package, and run `locust-kvcache report {folder}`"
    )


if __name__ == "__main__":
    sys.exit(main())
