"""docker-compose.yml as Compose reads it: YAML merged, variables replaced by their defaults or by those given."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
DOCKER_COMPOSE = shutil.which("docker-compose")


def load(**variables: str) -> dict[str, Any]:
    def value(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if kind == "?" and name not in variables:
            raise KeyError(f"{name}: {text}")
        return variables.get(name) or text or ""

    text = "\n".join(line.split(" #")[0] for line in FILE.read_text().splitlines() if not line.startswith("#"))
    parsed: dict[str, Any] = yaml.safe_load(VARIABLE.sub(value, text))
    return parsed


def services(profile: str, **variables: str) -> dict[str, dict[str, Any]]:
    """What `docker compose --profile PROFILE up` starts."""
    every = load(**{"GRAFANA_PASSWORD": "x", **variables})["services"]
    return {name: service for name, service in every.items() if profile in service.get("profiles", [profile])}
