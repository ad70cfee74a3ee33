"""Checks server configs for keys that nothing reads (`locust-kvcache check-configs FILE...`); exit code 1 if there are any.

Knows LMCache YAML, Mooncake JSON, compose files and our deployment files; with --workers it adds up the host memory of the cache.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.reading.runs import read_json
from locust_kvcache.analysis.server_configs.compose_rules import compose_findings
from locust_kvcache.analysis.server_configs.config_rules import (
    REFUSED,
    Finding,
    lmcache_findings,
    memory_gib,
    mooncake_json_findings,
)
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.deployment import load_deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import load_yaml

KINDS = {
    "LMCache": ("extra_config", "chunk_size", "remote_url", "remote_storage_plugins", "local_cpu"),
    "compose": ("services",),
    "deployment": ("endpoint",),
    "Mooncake": ("master_server_address", "master_server_addr", "mooncake_master_server_addr", "metadata_server"),
}
SHARED = ("chunk_size", "remote_serde", "pre_caching_hash_algorithm")  # in every key of the store, or in the form of its values


def load(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; BadInput says what is wrong with it."""
    return read_json(path, "an object with Mooncake's keys", "Check the file.") if path.suffix == ".json" else load_yaml(path)


def kind_of(path: Path, config: dict[str, Any]) -> str:
    """By its keys, not its name: what is this file for?"""
    for kind, known in KINDS.items():
        if any(key in config for key in known):
            return kind
    keys = ", ".join(map(str, config)) or "none"
    raise BadInput(f"{path}: keys {keys}: not a file this command knows; allowed: {', '.join(KINDS)}. Leave it out.")


def findings(path: Path, kind: str, config: dict[str, Any]) -> list[Finding]:
    if kind == "deployment":
        load_deployment(path)  # BadInput names the key
        return []
    check = {"LMCache": lmcache_findings, "compose": compose_findings, "Mooncake": mooncake_json_findings}[kind]
    return list(check(config))


def disagreements(configs: dict[Path, dict[str, Any]]) -> list[str]:
    """LMCache files of one store that would write chunks which the others never find."""
    lines = []
    for key in SHARED:
        found = {path: config.get(key, "default") for path, config in configs.items()}
        if len(set(map(str, found.values()))) > 1:
            values = ", ".join(f"{path}: {value!r}" for path, value in found.items())
            lines.append(f"refused: key {key!r} differs ({values}): they share no chunk. Write the same value in all.")
    return lines


def memory_lines(configs: dict[Path, dict[str, Any]], workers: int, mla: bool, host_gib: float | None) -> list[str]:
    """One line per role; with --host-gib a refusal where a host that runs one role is too small."""
    lines = []
    for path, config in configs.items():
        total = memory_gib(config, workers, mla)
        whose = "the first rank" if mla else f"{workers} workers"
        line = f"{total:.0f} GiB of host memory: staging + segment + buffer of {whose}"
        if host_gib is not None and total > host_gib:
            line = f"refused: {line}, but the host has {host_gib:g} GiB. Make the segment smaller."
        lines.append(f"{path}: {line}")
    return lines


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser(
        "check-configs",
        "Finds keys in LMCache, Mooncake, compose and deployment files that nothing reads, and says what to write instead. Exits with 1 "
        "if a file has an error.",
        [
            "configs/mooncake-prefiller-config.yaml configs/mooncake-decoder-config.yaml --together",
            "lmcache.yaml --workers 8 --host-gib 512",
        ],
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="config file: YAML or JSON")
    parser.add_argument(
        "--together",
        action="store_true",
        help="also check that the LMCache files agree on chunk size and format, because they share one store",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="worker processes per host (8 GPUs: 8); adds up the host memory that they reserve",
    )
    parser.add_argument(
        "--mla", action="store_true", help="the model has DeepSeek's attention (MLA): only the first worker has a store"
    )
    parser.add_argument(
        "--host-gib", type=float, metavar="GIB", help="memory of the host in GiB; it is an error if the workers reserve more"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.host_gib is not None and not (options.workers or options.mla):
        raise BadInput("--host-gib needs --workers or --mla: sizes are per worker process. Add --workers 8 for 8 GPUs.")
    lines, lmcache = [], {}
    for path in options.files:
        config = load(path)
        kind = kind_of(path, config)
        found = findings(path, kind, config)
        lines += [finding.text(str(path)) for finding in found]
        if not any(finding.severity == REFUSED for finding in found):
            lines.append(f"{path}: {kind} file: no dead key")
        if kind == "LMCache":
            lmcache[path] = config
    if options.together:
        lines += disagreements(lmcache)
    if options.workers or options.mla:
        lines += memory_lines(lmcache, options.workers or 1, options.mla, options.host_gib)
    print("\n".join(lines))
    return 1 if any("refused: " in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
