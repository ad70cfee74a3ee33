"""Leaves in a CycloneDX bill of materials what an installation of the package brings (python -m tests.deploy.sbom FILE).

`make sbom` lists an environment that holds the tools of the tests and linters too. The bill's own dependencies cannot tell them apart:
they follow every extra whose packages happen to be there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "locust-kvcache"
EXTRAS = frozenset({"s3"})  # in the images


def required(name: str, extras: frozenset[str], of: Callable[[str], list[str] | None] = requires) -> set[str]:
    """The names of all packages that a package needs with these extras, directly or not."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, extras)]
    while waiting:
        wanted = waiting.pop()
        if wanted in found:
            continue
        found.add(wanted)
        for text in of(wanted[0]) or []:
            requirement = Requirement(text)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *wanted[1])):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {each for each, _ in found} - {name}


def shipped(bill: dict[str, Any], names: set[str], number: str) -> dict[str, Any]:
    """The root component at its version, and the components of these names."""
    root = {**bill["metadata"]["component"], "version": number, "purl": f"pkg:pypi/{PACKAGE}@{number}"}
    kept = [component for component in bill["components"] if canonicalize_name(component["name"]) in names]
    refs = {root["bom-ref"], *(component["bom-ref"] for component in kept)}
    dependencies = [
        {**entry, "dependsOn": [ref for ref in entry.get("dependsOn", []) if ref in refs]}
        for entry in bill["dependencies"]
        if entry["ref"] in refs
    ]
    return {**bill, "metadata": {**bill["metadata"], "component": root}, "components": kept, "dependencies": dependencies}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    bill = shipped(json.loads(path.read_text(encoding="utf-8")), required(PACKAGE, EXTRAS), version(PACKAGE))
    path.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: {len(bill['components'])} components")
