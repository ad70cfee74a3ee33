"""Reads a campaign's YAML file (docs/campaign.md shows every key)."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust_kvcache.contract.addresses import check_url
from locust_kvcache.contract.deployment import load_deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section, load_yaml

READY_TIMEOUT_S = 1800.0
REPEATS = 3
REPEATS_COMMAND = "repeats"
COMPARISONS = (REPEATS_COMMAND, "load-effect")  # commands that take the folders of all runs
OURS = (  # what a campaign says itself, for each run
    "--run-name", "--output-dir", "--deployment", "--host", "-H", "--nonce", "--repeat", "--resume", "--concurrency", "--max-concurrency",
    "--capacity", "--working-set", "--preflight-only", "--dry-run", "--gate", "--web-port", "--autostart", "--worker",
)  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """One deployment of a campaign. `words` are those of `locust-kvcache run` that say where the load goes, and its own options."""

    name: str
    description: dict[str, Any]  # its deployment file, with this name
    words: tuple[str, ...]
    up: str | None
    down: str | None
    ready: tuple[str, ...]  # URLs that answer once it is up
    ready_timeout_s: float


@dataclass(frozen=True)
class Campaign:
    name: str
    repeats: int
    output_dir: Path
    words: tuple[str, ...]  # of `locust-kvcache run`, the same for all deployments
    contenders: tuple[Contender, ...]
    comparison: str = REPEATS_COMMAND  # the command that gets all runs at the end

    @property
    def folder(self) -> Path:
        return self.output_dir / self.name


def load_campaign(path: Path) -> Campaign:
    """The campaign that a file describes."""
    source = str(path)
    top = Section(load_yaml(path), source)
    entries = _entries(top)
    campaign = Campaign(
        name=_plain_name(top, top.take("name", str, path.stem)),
        repeats=top.take("repeats", int, REPEATS, low=1),
        output_dir=Path(top.take("output_dir", str, "results")),
        words=_words(top, required=True),
        contenders=tuple(_contender(entry, source, number) for number, entry in enumerate(entries)),
        comparison=_comparison(top),
    )
    top.done()
    names = [contender.name for contender in campaign.contenders]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"{top.name('deployments')} names {twice[0]!r} twice; give each deployment a name of its own")
    return campaign


def _comparison(top: Section) -> str:
    name = top.take("compare", str, REPEATS_COMMAND)
    if name not in COMPARISONS:
        raise BadInput(f"{top.name('compare')} is {name!r}; expected {' or '.join(COMPARISONS)}")
    return name


def _entries(top: Section) -> list[Any]:
    """`deployments` as they stand, or `router_policies`: the same `fleet` (a deployment file) behind a router started in other ways."""
    entries, policies, fleet = top.raw("deployments"), top.raw("router_policies"), top.take("fleet", str, None)
    if policies is not None:
        if entries is not None:
            raise BadInput(f"{top.name('router_policies')} stands beside 'deployments'; expected one of the two")
        if fleet is None:
            raise BadInput(f"{top.name('fleet')} is missing; add the deployment file that all router_policies share")
        listed = isinstance(policies, list) and policies and all(isinstance(policy, dict) for policy in policies)
        if not listed:
            raise BadInput(f"{top.name('router_policies')} is {policies!r}; expected a list of {{name, up, down, ready}}")
        return [{"deployment": fleet, **policy} for policy in policies]
    if fleet is not None:
        raise BadInput(f"{top.name('fleet')} is for 'router_policies', which are missing")
    if not isinstance(entries, list) or not entries:
        raise BadInput(
            f"{top.name('deployments')} is {entries!r}; expected a list of {{name, host or deployment, up, down, ready}}"
        )
    return entries


def _plain_name(section: Section, name: str) -> str:
    if Path(name).name != name or name in (".", ".."):
        raise BadInput(f"{section.name('name')} is {name!r}; expected a plain folder name")
    return name


def _words(section: Section, required: bool) -> tuple[str, ...]:
    text = section.take("run", str) if required else section.take("run", str, "")
    words = tuple(shlex.split(text))
    for word in words:
        if word.split("=")[0] in OURS:
            raise BadInput(f"{section.name('run')} has {word}; the campaign says that itself, for each of its runs: leave it out")
    return words


def _contender(entry: Any, source: str, number: int) -> Contender:
    section = Section(entry, source, f"deployments[{number}].")
    name = _plain_name(section, section.take("name", str))
    host, file = section.take("host", str, None), section.take("deployment", str, None)
    if host is None and file is None:
        raise BadInput(f"{section.name('host')} is missing; add host: http://HOST:PORT, or deployment: FILE")
    endpoint = check_url(host, section.name("host")) if host else None
    if file is not None:
        described = load_deployment(Path(file))
        description = {**load_yaml(Path(file)), "name": name, "endpoint": endpoint or described.endpoint}
    else:
        description = {
            "name": name,
            "kind": "other",
            "endpoint": endpoint,
            "metrics": [{"role": "server", "url": f"{endpoint}/metrics"}],
        }
    contender = Contender(
        name=name,
        description=description,
        words=_words(section, required=False),
        up=section.take("up", str, None),
        down=section.take("down", str, None),
        ready=_ready(section, str(description["endpoint"])),
        ready_timeout_s=section.take("ready_timeout_s", float, READY_TIMEOUT_S, low=1),
    )
    section.done()
    return contender


def _ready(section: Section, endpoint: str) -> tuple[str, ...]:
    given = section.raw("ready", f"{endpoint}/v1/models")
    return tuple(check_url(str(url), section.name("ready")) for url in (given if isinstance(given, list) else [given]))
