"""The Helm chart: its values meet their schema; what helm renders meets Kubernetes' schemas and starts a run that parses.

`make chart` brings helm and the schemas; without them only the values are checked.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from locust.argument_parser import get_parser

from locust_kvcache.cli.run import locust_arguments
from locust_kvcache.contract.deployment import load_deployment
from locust_kvcache.loadgen.options.run_options import read_options
from locust_kvcache.workload.scenario_file import parse_scenario
from tests.conftest import ROOT
from tests.deploy.test_version import build_version

CHART = ROOT / "configs/kubernetes/chart"
CASES = [None, *sorted((CHART / "ci").glob("*.yaml"))]
HELM = shutil.which("helm")
SCHEMAS = "1.35"


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """As helm merges values."""
    both = {
        key: merged(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **both}


def values(case: Path | None) -> dict[str, Any]:
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    return merged(given, yaml.safe_load(case.read_text())) if case else given


def test_values_and_versions() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    for case in CASES:
        jsonschema.validate(values(case), schema)
    for wrong in ({"workers": {"replica": 2}}, {"run": {"upload": "bucket"}}, {"deployment": {"endpoint": "vllm:8000"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(merged(values(None), wrong), schema)
    assert set(schema["properties"]) - {"global"} == set(values(None))
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == build_version(ROOT).UNTAGGED


@pytest.mark.skipif(HELM is None, reason="helm is not installed; make chart brings it")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem if case else "defaults")
def test_what_helm_renders(case: Path | None, tmp_path: Path) -> None:
    given = ["-f", str(case)] if case else []
    subprocess.run([str(HELM), "lint", "--strict", str(CHART), *given], check=True, capture_output=True)
    done = subprocess.run([str(HELM), "template", "nightly", str(CHART), *given], capture_output=True, text=True, check=True)
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    if importlib.util.find_spec("kubernetes_validate"):
        import kubernetes_validate

        for document in documents:
            kubernetes_validate.validate(document, SCHEMAS, strict=True)
    check_references(documents, values(case))
    check_run(documents, values(case), tmp_path)


def check_references(documents: list[dict[str, Any]], given: dict[str, Any]) -> None:
    """Services find pods, pods find their volumes, workers find the master; no pod is root or gets its neighbours' ports."""
    names = {(document["kind"], document["metadata"]["name"]) for document in documents}
    pods = [document["spec"]["template"] for document in documents if document["kind"] in ("Job", "Deployment")]
    assert len(pods) == 2
    for document in documents:
        if document["kind"] == "Service":
            ports = {
                port["name"]
                for pod in pods
                if document["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
                for port in pod["spec"]["containers"][0]["ports"]
            }
            assert {port["targetPort"] for port in document["spec"]["ports"]} <= ports
    for pod in pods:
        assert pod["spec"]["enableServiceLinks"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        for volume in pod["spec"].get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            assert not claim or ("PersistentVolumeClaim", claim) in names or claim == given["results"]["existingClaim"]
    (worker,) = (pod for pod in pods if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "worker")
    (host,) = (word for word in worker["spec"]["containers"][0]["args"] if word.startswith("--master-host="))
    assert ("Service", host.partition("=")[2]) in names


def check_run(documents: list[dict[str, Any]], given: dict[str, Any], folder: Path) -> None:
    """The master's arguments are options of ours, and its files are a deployment and scenarios that load."""
    (master,) = (
        document["spec"]["template"]["spec"]["containers"][0]
        for document in documents
        if document["kind"] in ("Job", "Deployment") and "-master" in document["metadata"]["name"]
    )
    assert master["args"][:2] == ["locust-kvcache", "run"]
    parsed = get_parser().parse_args(locust_arguments(master["args"][2:]))
    options = read_options(parsed)
    assert parsed.num_users == given["run"]["users"]
    assert parsed.expect_workers == given["workers"]["replicas"]
    assert parsed.headless is not given["web"]["enabled"]
    assert options.upload == given["run"]["upload"]
    for document in documents:
        for name, text in document["data"].items() if document["kind"] == "ConfigMap" else ():
            (folder / name).write_text(text)
    assert load_deployment(folder / "deployment.yaml").endpoint == given["deployment"]["endpoint"]
    for name in given["scenarioFiles"]:
        assert parse_scenario(yaml.safe_load((folder / f"{name}.yaml").read_text()), name).name == name
