"""A campaign's file: what it says of each deployment, and what is refused with file and key named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_kvcache.campaign.spec import load_campaign
from locust_kvcache.contract.errors import BadInput
from tests.conftest import ROOT

A = {"name": "a", "host": "http://127.0.0.1:8000"}
B = {"name": "b", "host": "http://127.0.0.1:8001", "up": "start-b", "down": "stop-b", "ready": ["http://127.0.0.1:8001/health"]}


def write(folder: Path, **changed: Any) -> Path:
    path = folder / "two.yaml"
    path.write_text(yaml.safe_dump({"run": "cold_start -u 2", "repeats": 2, "deployments": [A, B], **changed}))
    return path


def test_a_host_is_enough_for_a_deployment(tmp_path: Path) -> None:
    campaign = load_campaign(write(tmp_path))
    assert (campaign.name, campaign.repeats, campaign.folder) == ("two", 2, Path("results/two"))
    assert campaign.words == ("cold_start", "-u", "2")
    first, second = campaign.contenders
    assert first.description["endpoint"] == "http://127.0.0.1:8000"
    assert first.ready == ("http://127.0.0.1:8000/v1/models",)
    assert (second.up, second.down, second.ready) == ("start-b", "stop-b", ("http://127.0.0.1:8001/health",))


def test_a_deployment_file_keeps_what_it_says_under_the_campaigns_name(tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text("kind: pd_disagg\nendpoint: http://127.0.0.1:9000\ngpus: 2\n")
    campaign = load_campaign(write(tmp_path, deployments=[{"name": "tcp", "deployment": str(file)}, B]))
    assert campaign.contenders[0].description == {
        "kind": "pd_disagg", "endpoint": "http://127.0.0.1:9000", "gpus": 2, "name": "tcp",
    }  # fmt: skip


def test_the_command_at_the_end(tmp_path: Path) -> None:
    assert load_campaign(write(tmp_path)).comparison == "repeats"
    assert load_campaign(write(tmp_path, compare="load-effect")).comparison == "load-effect"
    with pytest.raises(BadInput, match="'sweep'; expected repeats or load-effect"):
        load_campaign(write(tmp_path, compare="sweep"))


def test_router_policies_share_a_fleet(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("kind: non_disagg\nendpoint: http://127.0.0.1:9100\ngpus: 4\n")
    policies = [
        {"name": "round_robin", "up": "start rr", "down": "stop"},
        {"name": "cache_aware", "up": "start ca", "down": "stop"},
    ]
    path = tmp_path / "policies.yaml"
    path.write_text(yaml.safe_dump({"run": "cold_start -u 2", "fleet": str(file), "router_policies": policies}))
    first, second = load_campaign(path).contenders
    assert (first.name, first.up, first.description["gpus"]) == ("round_robin", "start rr", 4)
    assert second.description == {**first.description, "name": "cache_aware"}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"deployments": []}, "key 'deployments' is []"),
        ({"deployments": [A, A]}, "names 'a' twice"),
        ({"deployments": [{"name": "a"}]}, "key 'deployments[0].host' is missing"),
        ({"deployments": [{**A, "name": "../a"}]}, "expected a plain folder name"),
        ({"deployments": [{**A, "upp": "x"}]}, "key 'deployments[0].upp' is unknown; did you mean 'up'?"),
        ({"run": "cold_start --run-name x"}, "has --run-name; the campaign says that itself"),
        ({"run": "cold_start --nonce=7"}, "has --nonce=7; the campaign says that itself"),
        ({"router_policies": [{"name": "a"}]}, "key 'router_policies' stands beside 'deployments'"),
        ({"deployments": None, "router_policies": [{"name": "a"}]}, "key 'fleet' is missing"),
        ({"deployments": None, "fleet": "f.yaml", "router_policies": "rr"}, "key 'router_policies' is 'rr'; expected a list"),
        ({"fleet": "f.yaml"}, "key 'fleet' is for 'router_policies'"),
        ({"repeats": 0}, "key 'repeats' is 0; expected at least 1"),
        ({"name": "a/b"}, "key 'name' is 'a/b'"),
    ],
)
def test_what_is_refused(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    path = write(tmp_path, **changed)
    with pytest.raises(BadInput) as error:
        load_campaign(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)


def test_the_example_of_splits_names_each_engine_with_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = load_campaign(Path("docs/examples/splits/campaign.yaml"))
    for contender in found.contenders:
        roles = [engine["role"] for engine in contender.description["engines"]]
        assert contender.name == f"{roles.count('prefiller')}p{roles.count('decoder')}d"
        started = f"--prefillers {roles.count('prefiller')} --decoders {roles.count('decoder')} "
        assert started in str(contender.up)
