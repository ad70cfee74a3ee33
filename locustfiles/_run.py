"""One run's state on the master: its config, folder, collector and rounds; options and a deployment come in, run.json goes out."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locust.env import Environment

from locustfiles._arrivals import Arrival
from locustfiles._certificate import limits_of_round
from locustfiles._collector import Collector
from locustfiles._lateness import Lateness
from locustfiles._options import Options
from locustfiles._preflight import Preflight, Server
from locustfiles._run_config import RunConfig
from locustfiles._run_folder import RUN_FORMAT, check_writable, command_line, create_run_folder, now_iso, versions, write_json
from locustfiles._server_metrics import scrape
from scenarios.deployment import DEFAULT_TARGETS, Deployment, ModelInfo, host_deployment, load_deployment, load_models
from scenarios.errors import BadInput
from scenarios.record import OK
from scenarios.spec import Scenario, load_scenario

log = logging.getLogger("kvcache")


class RunIncomplete(Exception):
    """The run cannot go on, but what it measured stays; the message is its incomplete_reason."""


def load_scenarios(options: Options, loaded: Sequence[str]) -> list[Scenario]:
    """The scenarios to run, in order: those named, else those of the loaded locustfiles."""
    names = options.scenarios or tuple(sorted({name for name in loaded if name}))
    if not names:
        raise BadInput("no scenario: load a locustfile of locustfiles/ (-f locustfiles), or name scenarios with --scenarios")
    scenarios = [load_scenario(name) for name in names]
    repeated = {scenario.name for scenario in scenarios if sum(s.name == scenario.name for s in scenarios) > 1}
    if repeated:
        raise BadInput(f"--scenarios names {', '.join(sorted(repeated))} more than once")
    return [scenario.with_requests(options.requests) if options.requests else scenario for scenario in scenarios]


def find_deployment(options: Options, host: str | None) -> Deployment:
    """The deployment file's description, with --host as its endpoint where both are given."""
    if options.deployment is None:
        if not host:
            raise BadInput("no server: give --host http://HOST:PORT, or --deployment FILE")
        return host_deployment(host)
    deployment = load_deployment(options.deployment)
    if host:
        values = {**deployment.__dict__, "endpoint": host_deployment(host).endpoint}
        return Deployment(**values)
    return deployment


def find_model(options: Options, deployment: Deployment) -> tuple[str | None, ModelInfo | None]:
    """(model name to ask for, what models.yaml says of it); (None, None) leaves the choice to the server's own list."""
    _, models = load_models()
    wanted = options.model or deployment.model_key
    if wanted is None:
        return None, None
    info = models.get(wanted) or next((info for info in models.values() if info.served_name == wanted), None)
    return (info.served_name if info else wanted), info


def prepare_run(environment: Environment, options: Options, scenarios: list[Scenario]) -> Run:
    """Preflight and calibration; BadInput before any load is sent. Only then is the run's folder made."""
    check_writable(options.output_dir)
    deployment = find_deployment(options, environment.host)
    wanted, info = find_model(options, deployment)
    log.info("preflight of %s", deployment.endpoint)
    server = Preflight(deployment, options.request_timeout_s).run(wanted, scenarios)
    if info is None:
        info = next((entry for entry in load_models()[1].values() if entry.served_name == server.model), None)
    for warning in server.warnings:
        log.warning("%s", warning)
    folder = create_run_folder(options.output_dir, options.run_name, deployment.name, server.model)
    config = RunConfig(
        run_id=folder.name,
        deployment=deployment.name,
        endpoint=deployment.endpoint,
        api_key_env=deployment.api_key_env,
        model=server.model,
        nonce=options.nonce or secrets.token_hex(4),
        seed=options.seed,
        block_size_tokens=server.block_size_tokens,
        zero_cached_if_missing=server.zero_cached_if_missing,
        request_timeout_s=options.request_timeout_s,
        idle_timeout_s=options.idle_timeout_s,
        transport=deployment.transport,
        parameters=server.parameters,
        arrival=Arrival(options.arrival, options.request_rate_per_s, options.burstiness),
        calibration=server.calibration,
        scenarios=tuple(scenarios),
    )
    return Run(environment, folder, config, deployment, info, server, options)


class Run:
    def __init__(
        self,
        environment: Environment,
        folder: Path,
        config: RunConfig,
        deployment: Deployment,
        model_info: ModelInfo | None,
        server: Server,
        options: Options,
    ) -> None:
        self._environment = environment
        self.folder = folder
        self.config = config
        self._deployment = deployment
        self._options = options
        self.collector = Collector(folder / "records.jsonl")
        self.finished = False
        self.lateness = Lateness()
        self._plans = {scenario.name: config.plan(scenario.name) for scenario in config.scenarios}
        self._rounds: list[dict[str, Any]] = []
        self._current: dict[str, Any] | None = None
        self._round_started_s = 0.0
        targets = {**DEFAULT_TARGETS} if deployment.kind != "other" else {}
        targets |= (model_info.targets if model_info else {}) | deployment.targets
        parsed: Any = environment.parsed_options
        self._facts: dict[str, Any] = {
            "format": RUN_FORMAT,
            "run_id": config.run_id,
            "complete": False,
            "incomplete_reason": "the run has not ended",
            "started_at": now_iso(),
            "ended_at": None,
            "deployment": deployment.to_dict(),
            "model": config.model,
            "model_info": {"key": model_info.key, **model_info.values} if model_info else None,
            "targets": targets,
            "server": server.to_dict(),
            "seed": config.seed,
            "nonce": config.nonce,
            "users": None,
            "spawn_rate": parsed.spawn_rate,
            "workers": None,
            "arrival": {
                "kind": config.arrival.kind,
                "request_rate_per_s": config.arrival.request_rate_per_s,
                "burstiness": config.arrival.burstiness,
            },
            "scenarios": [scenario.to_dict() for scenario in config.scenarios],
            "rounds_planned": {s.name: options.rounds or s.rounds for s in config.scenarios},
            "request_timeout_s": config.request_timeout_s,
            "idle_timeout_s": config.idle_timeout_s,
            "rounds": self._rounds,
            "calibration": config.calibration.to_dict(),
            "versions": versions(),
            "command": command_line(),
            "warnings": list(server.warnings),
        }
        self._write()

    def _write(self) -> None:
        write_json(self.folder / "run.json", self._facts)

    def sessions(self, scenario: str) -> int:
        return len(self._plans[scenario].sessions)

    def planned_text(self, scenario: Scenario) -> str:
        tokens = sum(turn.prompt_tokens for turn in self._plans[scenario.name].turns)
        return f"{scenario.requests} requests in {self.sessions(scenario.name)} sessions, {tokens:,} prompt tokens"

    def note_load(self, users_by_worker: dict[str, int]) -> None:
        self._facts["users"] = sum(users_by_worker.values())
        self._facts["workers"] = len(users_by_worker)

    def warn(self, text: str) -> None:
        """Say it now, and keep it with the run; once."""
        if text not in self._facts["warnings"]:
            self._facts["warnings"].append(text)
            log.warning("%s", text)

    # -- rounds

    def begin_round(self, scenario: str, number: int) -> None:
        self._round_started_s = time.monotonic()
        self._current = {
            "scenario": scenario,
            "round": number,
            "planned_requests": self.config.scenario(scenario).requests,
            "records": 0,
            "wall_s": None,
            "started_at_s": time.time(),
            "complete": False,
        }
        self._rounds.append(self._current)

    def end_round(self, scenario: str, number: int, answers: list[dict[str, Any]]) -> None:
        """Close a round when every worker is done: the count must match, else the run ends here."""
        assert self._current is not None
        planned, seen = self._current["planned_requests"], self.collector.seen(scenario, number)
        self._current |= {
            "records": len(seen),
            "wall_s": max(answer["wall_s"] for answer in answers),
            "started_at_s": min(answer["started_at_s"] for answer in answers),
            "complete": len(seen) == planned and not self.collector.duplicates,
        }
        facts, warning = limits_of_round(answers)
        self._current |= facts
        if warning:
            self._facts["warnings"].append(f"{scenario}, round {number}: {warning}")
            log.warning("%s, round %d: %s", scenario, number, warning)
        if not self._current["complete"]:
            raise RunIncomplete(
                f"round {number} of {scenario} has {len(seen)} of {planned} records, {self.collector.duplicates} twice"
            )
        if late := self.lateness.text(scenario, number, self.sessions(scenario)):
            self.warn(late)
        self._current = None
        self._write()

    def check_collector(self) -> None:
        if self.collector.error is not None:
            raise RunIncomplete(f"records cannot be written: {self.collector.error}; what was written before is kept")

    def progress_text(self, scenario: str, number: int) -> str:
        statuses = self.collector.statuses(scenario, number)
        failed = statuses.total() - statuses[OK]
        done = f"{statuses.total()}/{self.config.scenario(scenario).requests}"
        return f"{done} ({failed} failed)" if failed else done

    def round_text(self, scenario: str, number: int) -> str:
        wall_s = self._rounds[-1]["wall_s"]
        return f"{self.progress_text(scenario, number)} in {wall_s:.2f} s"

    def scrape(self, scenario: str, number: int, when: str) -> None:
        """The servers' own counters at a round's border, one row per address."""
        if not self._deployment.metrics:
            return
        with (self.folder / "server_metrics.jsonl").open("a", encoding="utf-8") as file:
            for row in scrape(self._deployment.metrics):
                file.write(json.dumps({**row, "scenario": scenario, "round": number, "when": when}) + "\n")

    # -- the end

    def stopped_reason(self) -> str:
        if self._current is None:
            return "stopped between rounds"
        name, number = self._current["scenario"], self._current["round"]
        return f"stopped in round {number} of {name} ({self.progress_text(name, number)})"

    def finish(self, incomplete_reason: str | None) -> None:
        self.finished = True
        self.collector.close()
        if self._current is not None:
            seen = self.collector.seen(self._current["scenario"], self._current["round"])
            self._current |= {"records": len(seen), "wall_s": time.monotonic() - self._round_started_s}
        self._facts |= {"complete": incomplete_reason is None, "incomplete_reason": incomplete_reason, "ended_at": now_iso()}
        self._write()
