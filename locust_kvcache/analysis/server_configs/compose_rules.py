"""Checks a compose file for options that the pinned vLLM and Mooncake refuse or ignore."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from locust_kvcache.analysis.server_configs.config_rules import REFUSED, WARNING, Finding


def compose_findings(config: Mapping[str, Any]) -> Iterator[Finding]:
    """vLLM and Mooncake services of a compose file: what their pinned versions refuse or ignore."""
    for name, service in (config.get("services") or {}).items():
        words, variables = command_words(service), environment(service)
        prefix = f"services.{name}."
        if "VLLM_USE_V1" in variables:
            yield Finding(
                WARNING, f"{prefix}environment.VLLM_USE_V1", variables["VLLM_USE_V1"], "gone from vLLM", "Leave it out."
            )
        text = " ".join(words)
        if "LMCacheConnectorV1" in text and variables.get("PYTHONHASHSEED") in (None, ""):
            why = "chunk hashes differ between processes, so that nothing in the store is ever found"
            yield Finding(REFUSED, f"{prefix}environment.PYTHONHASHSEED", None, why, "Write PYTHONHASHSEED: 0 for every engine.")
        if "LMCacheConnectorV1" in text and not variables.get("PROMETHEUS_MULTIPROC_DIR"):
            why = "LMCache's counters never reach vLLM's /metrics, so that its transfers are not measured"
            key = f"{prefix}environment.PROMETHEUS_MULTIPROC_DIR"
            yield Finding(WARNING, key, None, why, "Name a folder that exists and is empty at every start (a tmpfs).")
        if "mooncake_master" in text and any(re.match(r"--?port\b", word) for word in words):
            yield Finding(WARNING, f"{prefix}command", "--port", "deprecated", "Write --rpc_port=50052.")
        yield from _transfer_findings(words, f"{prefix}command --kv-transfer-config ")


def _transfer_findings(words: list[str], prefix: str) -> Iterator[Finding]:
    """The JSON after --kv-transfer-config: fields of early examples that vLLM no longer has."""
    for flag, value in itertools.pairwise(words):
        if flag != "--kv-transfer-config":
            continue
        try:
            transfer = json.loads(value)
        except json.JSONDecodeError as error:
            yield Finding(REFUSED, prefix.strip(), value, f"not JSON ({error.msg})", "Quote it so that one JSON object arrives.")
            continue
        for key in ("kv_rank", "kv_parallel_size", "kv_buffer_size", "kv_ip"):
            if key in transfer:
                yield Finding(REFUSED, prefix + key, transfer[key], "vLLM does not start with it", "Leave it out.")


def command_words(service: Mapping[str, Any]) -> list[str]:
    """Entrypoint and command of a service as words, whichever way they are written."""
    words: list[str] = []
    for part in (service.get("entrypoint"), service.get("command")):
        words += shlex.split(part) if isinstance(part, str) else [str(word) for word in part or []]
    return words


def environment(service: Mapping[str, Any]) -> dict[str, Any]:
    found = service.get("environment") or {}
    return dict(found) if isinstance(found, Mapping) else dict(str(entry).partition("=")[::2] for entry in found)
