"""Makes run.json as it stands at a run's beginning (docs/files.md)."""

from __future__ import annotations

from typing import Any

from locust.env import Environment

from locust_kvcache.contract.command import config_file
from locust_kvcache.contract.deployment import MODELS, Deployment, ModelInfo
from locust_kvcache.contract.round_kinds import planned_kinds, with_control
from locust_kvcache.contract.shipped import find_config
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.run.folder import RUN_FORMAT, now_iso
from locust_kvcache.loadgen.run.versions import command_line, versions
from locust_kvcache.loadgen.server.preflight import Server


def _api(config: RunConfig) -> str | dict[str, str]:
    """chat or completions; by scenario where they differ."""
    by_scenario = {scenario.name: scenario.api for scenario in config.scenarios}
    return by_scenario if len(set(by_scenario.values())) > 1 else next(iter(by_scenario.values()))


def _plan(config: RunConfig, options: Options, control_last: bool) -> dict[str, Any]:
    """The scenarios, and what each of their rounds is for."""
    arms = with_control(options.arms, control_last) if options.arms and options.control else options.arms
    kinds = {
        s.name: planned_kinds(options.rounds or s.rounds, options.arms, options.control, control_last) for s in config.scenarios
    }
    return {
        "scenarios": [scenario.to_dict() for scenario in config.scenarios],
        "scenario_files": {scenario.name: scenario.file or None for scenario in config.scenarios},
        "given_lengths": {"prompt_tokens": options.prompt_tokens, "output_tokens": options.output_tokens},
        "arms": list(arms) or None,
        "rounds_planned": {name: len(planned) for name, planned in kinds.items()},
        "round_kinds": {name: list(planned) for name, planned in kinds.items()},
        "control_last": control_last if options.control else None,
    }


def targets_of(deployment: Deployment, model_info: ModelInfo | None, from_file: bool) -> dict[str, float]:
    """The deployment's, with --targets over the file's; else those of the model's entry beside a file."""
    return {**(model_info.targets if model_info and from_file else {}), **deployment.targets}


def first_facts(
    environment: Environment,
    config: RunConfig,
    deployment: Deployment,
    model_info: ModelInfo | None,
    server: Server,
    options: Options,
    control_last: bool,
) -> dict[str, Any]:
    """What is known before the first round; the rest is None, and the run not complete."""
    parsed: Any = environment.parsed_options
    return {
        "format": RUN_FORMAT,
        "run_id": config.run_id,
        "complete": False,
        "incomplete_reason": "the run has not ended",
        "started_at": now_iso(),
        "ended_at": None,
        "deployment": deployment.to_dict(),
        "model": config.model,
        "model_info": {"key": model_info.key, **model_info.values} if model_info else None,
        "targets": targets_of(deployment, model_info, options.deployment is not None),
        "server": {**server.to_dict(), "api": _api(config)},
        "seed": config.seed,
        "nonce": config.nonce,
        "nonce_given": options.nonce is not None,
        "users": None,
        "spawn_rate": parsed.spawn_rate,
        "workers": None,
        "foreign_users": {},
        "clock_offsets_s": {},
        "arrival": {
            "kind": config.arrival.kind,
            "request_rate_per_s": config.arrival.request_rate_per_s,
            "burstiness": config.arrival.burstiness,
        },
        **_plan(config, options, control_last),
        "deployment_file": str(find_config(options.deployment).resolve()) if options.deployment else None,
        "models_file": str(find_config(MODELS).resolve()),
        "warm_up": [],
        "alert": None,
        "max_failures": str(options.max_failures),
        "request_timeout_s": config.request_timeout_s,
        "idle_timeout_s": config.idle_timeout_s,
        "outage_limit_s": config.outage_limit_s,
        "calibration": config.calibration.to_dict(),
        "versions": versions(),
        "command": command_line(),
        "config_file": config_file(),
        "warnings": list(server.warnings),
    }
