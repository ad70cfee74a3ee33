"""Measures several deployments in turns and compares them (`locust-kvcache campaign FILE.yaml`).

Between deployments the run is the observation: three runs of each say what one run cannot (docs/campaign.md).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from locust_kvcache.campaign.processes import Processes, StepFailed
from locust_kvcache.campaign.progress import DONE, FAILED, PlannedRun, Progress, set_aside, write_description
from locust_kvcache.campaign.spec import Campaign, Contender, load_campaign
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.exit_codes import BAD_INPUT, CAUSES, INCOMPLETE, OK, Exit
from locust_kvcache.contract.language import add_language, told, use_language

PROGRAM = (sys.executable, "-m", "locust_kvcache")
Say = Callable[[str], None]


def parser() -> argparse.ArgumentParser:
    found = command_parser(
        "campaign", "Measures several deployments in turns (A B A B A B) and compares them. Run the same command again to resume an "
        "interrupted campaign.", ("pd-against-single.yaml", "pd-against-single.yaml --dry-run"), (OK, INCOMPLETE, BAD_INPUT),
    )  # fmt: skip
    found.add_argument("file", type=Path, metavar="FILE.yaml", help="the campaign file (docs/campaign.md)")
    found.add_argument(
        "--dry-run", action="store_true", help="print the runs in order, with their commands; start nothing and send nothing"
    )
    add_language(found)
    return found


def run_words(campaign: Campaign, contender: Contender, run: str, description: Path) -> list[str]:
    """The words of `locust-kvcache run` for one run."""
    headless = [] if "--headless" in campaign.words else ["--headless"]
    own = ["--deployment", str(description), "--output-dir", str(campaign.folder), "--run-name", run]
    return ["run", *campaign.words, *contender.words, *headless, *own]


class Conductor:
    """Plays the runs that are left, one after another."""

    def __init__(self, campaign: Campaign, progress: Progress, processes: Processes, say: Say) -> None:
        self._campaign, self._progress, self._processes, self._say = campaign, progress, processes, say
        self._contenders = {contender.name: contender for contender in campaign.contenders}

    def play(self) -> None:
        """Until nothing is left that was not tried, or somebody stops it."""
        for run in self._progress.left:
            if self._processes.stopped:
                return
            self._one(run)

    def _one(self, run: PlannedRun) -> None:
        contender, begun_s = self._contenders[run.deployment], time.monotonic()
        number = 1 + [known.run for known in self._progress.runs].index(run.run)
        where = f"run {number}/{len(self._progress.runs)}, {run.run}"
        self._say(f"{where}: begins")
        code, why = None, None
        try:
            if contender.up:
                self._processes.bring_up(contender.up, contender.ready, contender.ready_timeout_s, self._log(run, "up"))
            if not self._processes.stopped:
                code = self._measure(run, contender)
                why = self._why_unfinished(run, code)
        except StepFailed as error:
            why = str(error)
        finally:
            if contender.down:
                down = self._processes.take_down(contender.down, self._log(run, "down"))
                if down:
                    self._say(f"{where}: `down` ended with exit code {down}: see {self._log(run, 'down')}")
        if self._processes.stopped and (code is None or why is not None):
            self._say(f"{where}: stopped")
            return  # as planned as before
        self._progress.note(run, FAILED if why else DONE, code, why)
        self._say(f"{where}: {why or 'done'} ({time.monotonic() - begun_s:.0f} s)")

    def _log(self, run: PlannedRun, what: str) -> Path:
        return self._campaign.folder / "logs" / f"{run.run}.{what}.log"

    def _measure(self, run: PlannedRun, contender: Contender) -> int:
        set_aside(self._campaign.folder / run.run)
        description = write_description(self._campaign, contender)
        return self._processes.run([*PROGRAM, *run_words(self._campaign, contender, run.run, description)], self._log(run, "run"))

    def _why_unfinished(self, run: PlannedRun, code: int) -> str | None:
        """None where the run is complete, whatever its targets say."""
        try:
            facts = json.loads((self._campaign.folder / run.run / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            causes = ", ".join(dict.fromkeys(cause.name for cause in CAUSES if cause.code == code)) or "unknown"
            return f"no run was made (exit code {code}: {causes}): see {self._log(run, 'run')}"
        return None if facts["complete"] else f"incomplete: {facts['incomplete_reason']}"


def plan_text(campaign: Campaign, progress: Progress) -> str:
    """What is to be run, in order, for --dry-run."""
    contenders = {contender.name: contender for contender in campaign.contenders}
    lines = [told(f"Campaign {campaign.name}: {len(progress.runs)} runs in {campaign.folder}; nothing is started or sent.")]
    for number, run in enumerate(progress.runs, 1):
        contender = contenders[run.deployment]
        if run.state == DONE:
            lines.append(told(f"{number}. {run.run}: done, is kept"))
            continue
        again = told(f": failed before ({run.why}), is tried again") if run.state == FAILED else ""
        lines.append(f"{number}. {run.run}{again}")
        lines += [f"     up    {contender.up}", f"     ready {' '.join(contender.ready)}"] if contender.up else []
        description = campaign.folder / "deployments" / f"{contender.name}.yaml"
        lines.append(f"     run   locust-kvcache {shlex.join(run_words(campaign, contender, run.run, description))}")
        lines += [f"     down  {contender.down}"] if contender.down else []
    return "\n".join(lines)


def compare(campaign: Campaign, progress: Progress, processes: Processes, say: Say) -> None:
    """The comparison of all finished runs; they are observations, so it takes two."""
    folders = progress.folders()
    if len(folders) < 2:
        say(f"{len(folders)} finished run: a comparison takes two or more")
        return
    log = campaign.folder / "logs" / "comparison.log"
    log.unlink(missing_ok=True)
    words = [campaign.comparison, *map(str, folders), "--output-dir", str(campaign.folder / "comparison")]
    code = processes.run([*PROGRAM, *words], log, spared=True)
    say(log.read_text(encoding="utf-8", errors="replace").rstrip())
    if code:
        say(f"the comparison ended with exit code {code}")


def main() -> int:
    args = parser().parse_args()
    use_language(args.lang)
    campaign = load_campaign(args.file)
    progress = Progress(campaign)
    if args.dry_run:
        print(plan_text(campaign, progress))
        return Exit.OK

    def say(text: str) -> None:
        print(text if "\n" in text else told(text), flush=True)  # several lines: those of another command, in its language

    processes = Processes()
    processes.hear_signals()
    progress.write()
    finished = len(progress.runs) - len(progress.left)
    say(f"campaign {campaign.name}: {len(progress.runs)} runs" + (f", {finished} of them done before" if finished else ""))
    Conductor(campaign, progress, processes, say).play()
    stopped = processes.stopped
    compare(campaign, progress, processes, say)
    if left := progress.left:
        why = "stopped" if stopped else "not all runs were finished"
        say(
            f"{why}: {len(left)} of {len(progress.runs)} runs are left ({', '.join(run.run for run in left)}); run the same command "
            "again to continue"
        )
        return Exit.NOT_JUDGED
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run_command(main))
