"""The Kubernetes manifests: names that meet, sizes that add up, start scripts that run; kubectl and the API's schemas where installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_kvcache.analysis.commands.check_configs import load
from locust_kvcache.analysis.server_configs.config_rules import REFUSED, lmcache_findings, memory_gib
from locust_kvcache.contract.deployment import load_deployment
from tests.deploy.compose import ROOT, services

FOLDER = ROOT / "configs/kubernetes"
BUILDS = ("locust", "deepseek-671b/pd", "deepseek-671b/single")
KUBECTL = shutil.which("kubectl")
GROUPS = {"vllm-prefiller": ("pd", 4, 8100), "vllm-decoder": ("pd", 4, 8200), "vllm-server": ("single", 8, 8000)}


def documents(*folders: str) -> list[dict[str, Any]]:
    """The objects of the folders' manifests; Kustomizations and our own files are none."""
    files = [path for folder in folders for path in sorted((FOLDER / folder).glob("*.yaml"))]
    loaded = [document for path in files for document in yaml.safe_load_all(path.read_text())]
    return [
        document for document in loaded if document.get("kind", "Kustomization") != "Kustomization" and "apiVersion" in document
    ]


def pods(*folders: str) -> dict[str, dict[str, Any]]:
    """Name -> pod spec of everything that makes pods."""
    found = {}
    for document in documents(*folders):
        spec = document.get("spec", {})
        template = spec.get("template") or spec.get("leaderWorkerTemplate", {}).get("workerTemplate")
        if template:
            found[document["metadata"]["name"]] = template["spec"]
    return found


def group(name: str) -> dict[str, Any]:
    return next(
        document
        for document in documents(f"deepseek-671b/{GROUPS[name][0]}")
        if document["kind"] == "LeaderWorkerSet" and document["metadata"]["name"] == name
    )


def listening(*folders: str) -> set[str]:
    return {
        f"{document['metadata']['name']}:{port['port']}"
        for document in documents(*folders)
        if document["kind"] == "Service"
        for port in document["spec"]["ports"]
    }


def test_the_load_is_sent_to_services_that_exist() -> None:
    deployment = load_deployment(FOLDER / "locust/deployment-671b.yaml")
    urls = [deployment.endpoint, *(url for _, url in deployment.metrics), *(action.target for action in deployment.caches)]
    assert {url.removeprefix("http://").removesuffix("/metrics") for url in urls} <= listening("deepseek-671b/pd")
    assert "locust-master:5557" in listening("locust")


@pytest.mark.parametrize("folder", BUILDS)
def test_no_pod_gets_its_neighbours_ports_as_variables(folder: str) -> None:
    """A service called locust-master would set LOCUST_MASTER_PORT, which Locust reads as an option."""
    assert pods(folder)
    assert all(spec["enableServiceLinks"] is False for spec in pods(folder).values())


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_has_its_gpus_and_the_memory_for_its_part_of_the_store(name: str) -> None:
    folder, size, _ = GROUPS[name]
    template = group(name)["spec"]["leaderWorkerTemplate"]
    (container,) = template["workerTemplate"]["spec"]["containers"]
    assert template["size"] == size
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
    limit_gib = int(container["resources"]["limits"]["memory"].removesuffix("Gi"))
    if folder == "pd":
        role = name.removeprefix("vllm-")
        assert memory_gib(load(ROOT / f"configs/mooncake-{role}-config-671b.yaml"), 8, mla=True) + 16 + 128 < limit_gib


def test_both_deployments_have_64_gpus() -> None:
    gpus = {"pd": 0, "single": 0}
    for name, (folder, _, _) in GROUPS.items():
        template = group(name)["spec"]["leaderWorkerTemplate"]
        (container,) = template["workerTemplate"]["spec"]["containers"]
        gpus[folder] += template["size"] * int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert gpus == {"pd": 64, "single": 64}
    assert load_deployment(FOLDER / "locust/deployment-671b.yaml").gpus == 64


def started(name: str, index: int, tmp_path: Path) -> tuple[list[str], Path]:
    """The arguments that vllm gets from the start script in the pod of that index, and the LMCache file it reads."""
    template = group(name)["spec"]["leaderWorkerTemplate"]
    (container,) = template["workerTemplate"]["spec"]["containers"]
    size = template["size"]
    vllm, lmcache = tmp_path / "vllm", tmp_path / "lmcache.yaml"
    vllm.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    vllm.chmod(0o755)
    values = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    pod = {
        "POD_IP": "10.0.0.7",
        "LWS_WORKER_INDEX": str(index),
        "LWS_GROUP_SIZE": str(size),
        "LWS_LEADER_ADDRESS": "leader.local",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "prometheus"),
    }
    script = container["args"][0].replace("/config/", f"{ROOT}/configs/").replace("/tmp/lmcache.yaml", str(lmcache))
    environment = {**os.environ, **values, **pod, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([*container["command"], script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), lmcache


@pytest.mark.parametrize("name", GROUPS)
def test_the_start_script_makes_one_leader_and_headless_workers(name: str, tmp_path: Path) -> None:
    folder, size, port = GROUPS[name]
    leader, lmcache = started(name, 0, tmp_path)
    worker, _ = started(name, 2, tmp_path)
    for arguments in (leader, worker):
        assert arguments[arguments.index("--tensor-parallel-size") + 1] == "8"
        assert arguments[arguments.index("--data-parallel-size") + 1] == str(size)
        assert arguments[arguments.index("--data-parallel-address") + 1] == "leader.local"
        assert "--enable-expert-parallel" in arguments
    assert leader[leader.index("--port") + 1] == str(port)
    assert "--headless" not in leader
    assert worker[worker.index("--data-parallel-start-rank") + 1] == "2"
    if folder == "pd":
        config = load(lmcache)
        assert [finding for finding in lmcache_findings(config) if finding.severity == REFUSED] == []
        assert config["extra_config"]["local_hostname"] == "10.0.0.7"
        assert config["extra_config"]["protocol"] == "rdma"
        assert config["extra_config"]["mooncake_rdma_devices"].startswith("mlx5_0,")


def test_master_flags_images_and_proxy_are_those_of_the_compose_file() -> None:
    compose, kubernetes = services("pd"), pods("deepseek-671b/pd")
    for name in ("mooncake-master", "vllm-proxy", "vllm-prefiller", "vllm-decoder"):
        assert kubernetes[name]["containers"][0]["image"] == compose[name]["image"]
    assert kubernetes["mooncake-master"]["containers"][0]["args"] == compose["mooncake-master"]["command"]
    assert kubernetes["vllm-proxy"]["containers"][0]["args"] == compose["vllm-proxy"]["command"]


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed (it brings kustomize; no cluster is needed)")
@pytest.mark.parametrize("folder", BUILDS)
def test_kubectl_builds_it_and_every_reference_is_kept(folder: str) -> None:
    command = [str(KUBECTL), "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(FOLDER / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    names = {(document["kind"], document["metadata"]["name"]) for document in built}
    assert all(document["metadata"].get("namespace", "kvcache") == "kvcache" for document in built)
    for document in built:
        template = document.get("spec", {}).get("template") or document.get("spec", {}).get("leaderWorkerTemplate", {}).get(
            "workerTemplate"
        )
        for volume in (template or {}).get("spec", {}).get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names


@pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate, the API's schemas, is not installed"
)
@pytest.mark.parametrize("folder", [*BUILDS, "deepseek-671b/base"])
def test_every_object_meets_the_schema_of_its_api(folder: str) -> None:
    """LeaderWorkerSet is not part of Kubernetes: its objects are checked above."""
    import kubernetes_validate

    for document in documents(folder):
        if document["kind"] != "LeaderWorkerSet":
            kubernetes_validate.validate(document, "1.33", strict=True)
