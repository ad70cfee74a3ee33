"""Plays the best split and its neighbours as a campaign: a file with a deployment per split is cut down to those.

The campaign is a process of its own, as analysis and load never share one.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from locust_kvcache.analysis.model.ratio import neighbours
from locust_kvcache.analysis.model.tandem import Split
from locust_kvcache.analysis.report.ratio_page import Answer
from locust_kvcache.contract.deployment import load_deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import load_yaml


def planned_requests(file: Path) -> int | None:
    """What `run` says of --requests, so that the prediction is for runs of that length."""
    words = shlex.split(str(load_yaml(file).get("run", "")))
    named = [word for word in words if word.startswith("--requests")]
    value = named[0].partition("=")[2] or words[words.index("--requests") + 1 :][:1] if named else None
    text = value[0] if isinstance(value, list) and value else value
    return int(text) if isinstance(text, str) and text.isdigit() else None


def split_of_entry(entry: Any, file: Path, number: int) -> Split | None:
    """By the roles of the engines in its deployment file; None of plain servers."""
    named = entry.get("deployment") if isinstance(entry, dict) else None
    if not named:
        raise BadInput(f"{file}: deployments[{number}] has no 'deployment'; name a file whose engines have roles (docs/ratio.md)")
    roles = [engine.role for engine in load_deployment(Path(str(named))).engines]
    prefillers, decoders = roles.count("prefiller"), roles.count("decoder")
    return Split(prefillers, decoders) if prefillers and decoders else None


def chosen_entries(file: Path, answer: Answer) -> list[Any]:
    """The deployments of the best split, of its neighbours, and of plain servers; BadInput where a wanted split has none."""
    if answer.best is None:
        raise BadInput("--verify: no split can be recommended, so there is none to run; add the points that are missing")
    best = next((one for one in answer.predictions if one is answer.best and one.split), None)
    best = best or min(
        (one for one in answer.predictions if one.split and one.figures), key=lambda one: one.figures["e2e_ms"].value
    )
    wanted = {one.split for one in neighbours(best, answer.predictions)}
    entries = load_yaml(file).get("deployments")
    if not isinstance(entries, list):
        raise BadInput(f"{file}: key 'deployments' is {entries!r}; expected a list with a deployment per split (docs/ratio.md)")
    splits = [split_of_entry(entry, file, number) for number, entry in enumerate(entries)]
    if missing := sorted(split.name for split in wanted - set(splits) if split):
        raise BadInput(f"{file} has no deployment of {', '.join(missing)}; add it, with its engines and their roles")
    return [entry for entry, split in zip(entries, splits, strict=True) if split is None or split in wanted]


def verify(file: Path, answer: Answer, folder: Path) -> tuple[list[Path], int]:
    """(folders of the finished runs, exit code of the campaign)."""
    campaign = {**load_yaml(file), "deployments": chosen_entries(file, answer)}
    campaign["name"] = f"{campaign.get('name', file.stem)}-{answer.best.name if answer.best else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    cut = folder / "verify.yaml"
    cut.write_text(yaml.safe_dump(campaign, sort_keys=False), encoding="utf-8")
    code = subprocess.run([sys.executable, "-m", "locust_kvcache", "campaign", str(cut)], check=False).returncode
    results = Path(str(campaign.get("output_dir", "results"))) / str(campaign["name"])
    try:
        runs = json.loads((results / "campaign.json").read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"--verify {file}: the campaign made no runs ({error}); `locust-kvcache campaign {cut}` says why"
        ) from error
    return [results / run["run"] for run in runs if run["state"] == "done"], code
