"""Deployment and model files: the shipped ones load, and what is wrong in one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.contract.deployment import CONFIGS, host_deployment, load_deployment, load_models
from locust_kvcache.contract.errors import BadInput


@pytest.mark.parametrize("name", ["pd_disagg", "non_disagg", "emulator_single", "emulator_pd", "emulator_2p2d", "fleet"])
def test_shipped_deployments_load(name: str) -> None:
    deployment = load_deployment(CONFIGS / f"{name}.yaml")
    assert deployment.name == name
    assert deployment.model_key in load_models()[1]


def test_kv_bytes_per_token_are_those_of_the_architecture() -> None:
    _, models = load_models()
    assert models["qwen_72b"].kv_bytes_per_token == 80 * 2 * 8 * 128 * 2
    assert models["deepseek_671b"].kv_bytes_per_token == 61 * (512 + 64) * 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: pd\nendpoint: http://h:1", "key 'kind' is 'pd'; allowed: pd_disagg, non_disagg, other"),
        ("kind: other\nendpoint: h:1", "expected http://host:port"),
        ("kind: other\nendpoint: http://h:1\nendpont: 3", "key 'endpont' is unknown; did you mean 'endpoint'?"),
        ("kind: other\nendpoint: http://h:1\nmetrics: [{role: x}]", "'metrics[0].url' is missing"),
        ("kind: other\nendpoint: http://h:1\nengines: [{name: a}]", "'engines[0].metrics' is missing"),
        (
            'kind: other\nendpoint: http://h:1\nengines: [{name: a, metrics: "http://h:1/m"}, {name: a, metrics: "http://h:2/m"}]',
            "key 'engines' has the name 'a' twice",
        ),
        ("kind: [", "not valid YAML"),
        ("- a", "expected a mapping"),
    ],
)
def test_a_wrong_deployment_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"mine\.yaml") as caught:
        load_deployment(path)
    assert says in str(caught.value)


def test_engines_have_roles_under_either_name(tmp_path: Path) -> None:
    pd = load_deployment(CONFIGS / "emulator_2p2d.yaml")
    assert [engine.role for engine in pd.engines] == ["prefiller", "prefiller", "decoder", "decoder"]
    assert {role for role, _ in pd.metrics} == {"prefiller", "decoder"}
    path = tmp_path / "short.yaml"
    path.write_text('kind: pd_disagg\nendpoint: http://h:1\nengines: [{name: a, role: prefill, metrics: "http://h:2/m"}]')
    assert load_deployment(path).engines[0].role == "prefiller"


def test_engines_have_pages_names_and_gpus(tmp_path: Path) -> None:
    fleet = load_deployment(CONFIGS / "fleet.yaml")
    assert [engine.name for engine in fleet.engines] == ["e1", "e2", "e3", "e4"]
    assert fleet.gpus == 4
    assert fleet.metrics[0] == ("server", "http://127.0.0.1:8101/metrics")
    assert fleet.metrics[-1] == ("router", "http://127.0.0.1:29100/metrics")
    assert fleet.to_dict()["engines"][1] == {"name": "e2", "role": "server", "url": "http://127.0.0.1:8102/metrics", "gpus": 1}
    path = tmp_path / "part.yaml"
    path.write_text(
        'kind: other\nendpoint: http://h:1\nengines: [{name: a, metrics: "http://h:2/m", gpus: 2}, {name: b, metrics: "http://h:3/m"}]'
    )
    assert load_deployment(path).gpus is None  # of one engine it is not known


def test_a_host_alone_is_enough_and_v1_is_forgiven() -> None:
    deployment = host_deployment("http://localhost:8000/v1/")
    assert deployment.endpoint == "http://localhost:8000"
    assert deployment.kind == "other"
