"""Settings whose values are of any type: each is read, or refused in one line that names the file. Bounded: some hundred of all."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_kvcache.campaign.spec import load_campaign
from locust_kvcache.contract.deployment import load_deployment, load_models
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.scenario_file import parse_scenario
from tests.analysis.damage import ODD, places, replaced
from tests.conftest import ROOT
from tests.samples import samples

EACH = samples(120)
DEPLOYMENTS = ("pd_disagg", "non_disagg", "lab_h200_mooncake", "emulator_pd")
SCENARIOS = sorted(path.name for path in (ROOT / "scenarios").glob("*.yaml"))


def campaign() -> Any:
    """The example of the documentation."""
    text, *_ = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "campaign.md").read_text(), flags=re.S)
    return yaml.safe_load(text)


def oddities(value: Any, seed: str) -> Iterator[Any]:
    """EACH variants of a YAML value, one place changed in each."""
    every = [(at, new) for at in places(value) for new in (*ODD, ...)]
    for at, new in random.Random(seed).sample(every, min(EACH, len(every))):
        yield replaced(yaml.safe_load(yaml.safe_dump(value)), at, new)


def one_line(error: BadInput | None) -> None:
    assert error is None or "\n" not in str(error)


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios(name: str) -> None:
    values = yaml.safe_load((ROOT / "scenarios" / name).read_text())
    for odd in oddities(values, name):
        refused = None
        try:
            parse_scenario(odd, name)
        except BadInput as error:
            refused = error
        one_line(refused)


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("name", [*DEPLOYMENTS, "models", "campaign"])
def test_files_of_settings(name: str, tmp_path: Path) -> None:
    load: Any = {"models": load_models, "campaign": load_campaign}.get(name, load_deployment)
    values = campaign() if name == "campaign" else yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
    file = tmp_path / f"{name}.yaml"
    for odd in oddities(values, name):
        file.write_text(yaml.safe_dump(odd, allow_unicode=True), encoding="utf-8", errors="replace")
        refused = None
        try:
            load(file)
        except BadInput as error:
            refused = error
        one_line(refused)
