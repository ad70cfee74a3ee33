"""Plans the runs of a campaign, and keeps its progress in campaign.json so that it can be resumed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from locust_kvcache.campaign.spec import Campaign, Contender
from locust_kvcache.contract.errors import BadInput

FORMAT = 1
PLANNED, DONE, FAILED = "planned", "done", "failed"


@dataclass(frozen=True)
class PlannedRun:
    """One run of one deployment; `state` says how it ended, `why` of one that failed."""

    deployment: str
    repeat: int  # 1-based
    run: str  # the folder's name
    state: str = PLANNED
    exit_code: int | None = None
    why: str | None = None
    ended_at: str | None = None


def planned_runs(campaign: Campaign) -> list[PlannedRun]:
    """A B A B A B: what drifts from one hour to the next meets all deployments alike."""
    return [
        PlannedRun(contender.name, repeat, f"{contender.name}-{repeat}")
        for repeat in range(1, campaign.repeats + 1)
        for contender in campaign.contenders
    ]


def conditions(campaign: Campaign) -> dict[str, Any]:
    """What must not change while a campaign is under way; `repeats` may grow."""
    return {
        "run": list(campaign.words),
        "deployments": [
            {"name": c.name, "description": c.description, "run": list(c.words), "up": c.up, "down": c.down}
            for c in campaign.contenders
        ],
    }


class Progress:
    """The state file of one campaign; written as a whole after each run."""

    def __init__(self, campaign: Campaign) -> None:
        self._path = campaign.folder / "campaign.json"
        self._campaign = campaign
        self.runs = self._read() if self._path.exists() else planned_runs(campaign)

    def _read(self) -> list[PlannedRun]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            before, runs = known["conditions"], [PlannedRun(**run) for run in known["runs"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{self._path} cannot be read ({error}); remove it, or give the campaign another name") from error
        now = json.loads(json.dumps(conditions(self._campaign)))
        for key, value in now.items():
            if before.get(key) != value:
                raise BadInput(
                    f"{self._path}: {key} is {json.dumps(value)[:200]}, the campaign began with {json.dumps(before.get(key))[:200]}; "
                    "its runs would not be comparable: give the campaign another name"
                )
        finished = {run.run: run for run in runs}
        return [finished.get(run.run, run) for run in planned_runs(self._campaign)]

    def write(self) -> None:
        self._campaign.folder.mkdir(parents=True, exist_ok=True)
        value = {"format": FORMAT, "conditions": conditions(self._campaign), "runs": [asdict(run) for run in self.runs]}
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(self._path)

    def note(self, run: PlannedRun, state: str, exit_code: int | None, why: str | None) -> None:
        ended = replace(run, state=state, exit_code=exit_code, why=why, ended_at=datetime.now(UTC).isoformat(timespec="seconds"))
        self.runs = [ended if known.run == run.run else known for known in self.runs]
        self.write()

    @property
    def left(self) -> list[PlannedRun]:
        """What is still to be run, in order; a run that failed is tried again."""
        return [run for run in self.runs if run.state != DONE]

    def folders(self) -> list[Path]:
        """The finished runs, the first deployment's first: it is the baseline."""
        names = [contender.name for contender in self._campaign.contenders]
        finished = [run for run in self.runs if run.state == DONE]
        return [self._campaign.folder / run.run for run in sorted(finished, key=lambda run: names.index(run.deployment))]


def set_aside(folder: Path) -> None:
    """A run that was cut keeps its files, under a name that no run has."""
    if not folder.exists():
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}.cut-{number}")).exists():
        number += 1
    folder.rename(aside)


def write_description(campaign: Campaign, contender: Contender) -> Path:
    """The deployment's file as the runs read it: under the campaign's name for it, so that the comparison tells them apart."""
    path = campaign.folder / "deployments" / f"{contender.name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(contender.description, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
