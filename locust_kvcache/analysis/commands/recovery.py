"""Shows how a run recovered from an event: hits, TTFT, requests/s, and what was lost (`locust-kvcache recovery RUN ...`).

Events are those that the run's master played (`events:` of the deployment), or are given with --event.
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.across_runs.recovery import (
    Event,
    Outcome,
    check_events,
    end_of,
    outcomes,
    sent_requests,
    width_for,
)
from locust_kvcache.analysis.across_runs.recovery_windows import MOST_WINDOWS
from locust_kvcache.analysis.across_runs.run_evidence import run_evidence
from locust_kvcache.analysis.basics.number_text import listed, number, plural
from locust_kvcache.analysis.labelling import label_run
from locust_kvcache.analysis.reading.memory_need import check_all_fit
from locust_kvcache.analysis.reading.runs import RecordedRun, load_run
from locust_kvcache.analysis.report.caveats import merged
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.analysis.report.recovery_page import recovery_page
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, use_language

WANTED = "NAME=TIME: epoch seconds, +SECONDS after the run's first request, or a date with its zone (2026-11-26T22:09:27+00:00)"


def parse_event(word: str) -> tuple[str, float, bool]:
    """(name, time, whether it counts from the first request)."""
    name, _, text = word.partition("=")
    try:
        if not name or not text:
            raise ValueError
        if text.startswith("+"):
            return name, float(text[1:]), True
        try:
            return name, float(text), False
        except ValueError:
            at = datetime.datetime.fromisoformat(text)
            if at.tzinfo is None:
                raise ValueError from None
            return name, at.timestamp(), False
    except ValueError:
        raise BadInput(f"--event is {word!r}; expected {WANTED}") from None


def recorded_events(run: RecordedRun) -> list[Event]:
    """What the master played, in run.json: each event, its undo, and when its server answered again."""
    found = []
    for entry in run.info.raw.get("events") or []:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            continue
        times = (("", entry.get("began_at_s")), (" undone", entry.get("undo_began_at_s")), (" ready", entry.get("ready_at_s")))
        found += [Event(f"{entry['name']}{suffix}", float(at_s)) for suffix, at_s in times if isinstance(at_s, int | float)]
    return found


def events_of(run: RecordedRun, given: Sequence[tuple[str, float, bool]]) -> list[Event]:
    """Those given that fall into this run of `sent_requests`, else those that it recorded."""
    if run.records.empty:
        raise BadInput(f"{run.folder}: no record says when its request was sent; expected the folder of a run with requests")
    records = run.records
    first, last = float(records["started_at_s"].min()), end_of(records)
    events = [Event(name, first + time if relative else time) for name, time, relative in given]
    names = [event.name for event in events]
    for name in {name for name in names if names.count(name) > 1}:  # one for each run
        mine = [event for event in events if event.name == name and first <= event.at_s <= last]
        if len(mine) != 1:
            raise BadInput(
                f"--event {name} is given {names.count(name)} times, {len(mine)} of them within {run.info.run_id}; expected 1"
            )
        events = [event for event in events if event.name != name] + mine
    events = events or [event for event in recorded_events(run) if first <= event.at_s <= last]
    if not events:
        raise BadInput(f"{run.folder}: run.json holds no events; give --event {WANTED}")
    return check_events(records, events, str(run.info.run_id))


def measure(runs: Sequence[RecordedRun], given: Sequence[tuple[str, float, bool]], width_s: float | None) -> list[list[Outcome]]:
    """Per event, one outcome per run of `sent_requests`; all runs have the same events."""
    every = [events_of(run, given) for run in runs]
    names = [[event.name for event in events] for events in every]
    if any(found != names[0] for found in names):
        other = next(place for place, found in enumerate(names) if found != names[0])
        raise BadInput(
            f"events of {runs[other].info.run_id} are {listed(names[other])}, those of {runs[0].info.run_id} are {listed(names[0])}; "
            "expected the same in each run"
        )
    width = width_s or max(width_for(run.records, events) for run, events in zip(runs, every, strict=True))
    for run in runs:
        sent = run.records["started_at_s"]
        windows = float(sent.max() - sent.min()) / width
        if windows > MOST_WINDOWS:
            raise BadInput(f"--window-s is {width:g}, which makes {windows:,.0f} windows; expected at most {MOST_WINDOWS:,}")
    found = [outcomes(run, events, width) for run, events in zip(runs, every, strict=True)]
    return [[per_run[place] for per_run in found] for place in range(len(names[0]))]


def as_json(events: Sequence[Sequence[Outcome]], lead: str) -> dict[str, Any]:
    return {
        "lead": lead,
        "window_s": events[0][0].width_s,
        "events": [{"name": event[0].event.name, "runs": [dataclasses.asdict(one) for one in event]} for event in events],
    }


@dataclasses.dataclass(frozen=True)
class Read:
    """A run of `sent_requests`, without reported cached tokens that cannot be true, as a PD pair's decoder reports them (`lies`)."""

    run: RecordedRun
    evidence: dict[str, Any]
    lies: list[dict[str, Any]]

    @property
    def run_id(self) -> str:
        return str(self.run.info.run_id)


def read(path: Path) -> Read:
    """What the page needs of a run; its other columns are given up before the next run is read."""
    run = load_run(path)
    labelled, problems = label_run(run)
    lies = [dataclasses.asdict(problem) for problem in problems if problem.code == "cached_tokens_lie"]
    return Read(sent_requests(dataclasses.replace(run, records=labelled)), run_evidence(run, labelled), lies)


def main() -> int:
    parser = command_parser(
        "recovery",
        "Shows how a run recovered from an event, such as an engine that was killed: hits, TTFT, requests/s, and what was lost.",
        ["results/fault", "results/fault --event kill=+24.2 --event back=+90.8", "results/fault_* --event kill=+30 --window-s 5"],
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folders of runs; several with the same events: intervals"
    )
    parser.add_argument(
        "--event", action="append", default=[], metavar="NAME=TIME", help=f"{WANTED} (default: those in run.json)"
    )
    parser.add_argument("--window-s", type=float, metavar="S", help="width of a window (default: one that holds 20 requests)")
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: recovery beside the first run)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    if args.window_s is not None and not args.window_s > 0:
        raise BadInput(f"--window-s is {args.window_s:g}; expected more than 0")
    check_all_fit(args.runs)
    found = [read(path) for path in args.runs]
    ids, runs = [one.run_id for one in found], [one.run for one in found]
    if len(set(ids)) < len(ids):
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise BadInput(f"run {', '.join(twice)} is given more than once; expected each run once")
    events = measure(runs, [parse_event(word) for word in args.event], args.window_s)
    width = number(events[0][0].width_s)
    about = f"{runs[0].info.model} on {runs[0].info.deployment.name}: {plural(len(runs), 'run')}, windows of {width} s"
    incomplete = [str(run.info.run_id) for run in runs if not run.complete]
    problems = merged([(one.run_id, one.lies) for one in found])
    page = recovery_page(events, about, incomplete, [one.evidence for one in found], problems)
    folder = args.output_dir or folder_beside(args.runs[0], "recovery")
    publish(page, folder, args.png, figures=("recovery.json", as_json(events, page.lead)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
