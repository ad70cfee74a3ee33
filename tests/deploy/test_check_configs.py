"""Dead keys are refused with what to write instead; living files pass; memory adds up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_kvcache.analysis.commands import check_configs
from locust_kvcache.analysis.server_configs.config_rules import memory_gib
from locust_kvcache.contract.errors import BadInput

GOOD: dict[str, Any] = {
    "chunk_size": 256,
    "remote_storage_plugins": ["mooncakestore"],
    "remote_serde": "naive",
    "local_cpu": False,
    "max_local_cpu_size": 5,
    "extra_config": {
        "local_hostname": "vllm-prefiller",
        "metadata_server": "P2PHANDSHAKE",
        "protocol": "tcp",
        "mooncake_rdma_devices": "",
        "mooncake_master_server_addr": "mooncake-master:50052",
        "global_segment_size": 12884901888,
        "local_buffer_size": 2147483648,
        "save_chunk_meta": False,
    },
}


def changed(extra: dict[str, Any] | None = None, drop: tuple[str, ...] = (), **top: Any) -> dict[str, Any]:
    kept = {key: value for key, value in GOOD["extra_config"].items() if key not in drop}
    return {**GOOD, **top, "extra_config": {**kept, **(extra or {})}}


def check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *configs: dict[str, Any], options: tuple[str, ...] = ()
) -> tuple[int, str]:
    files = []
    for number, config in enumerate(configs):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(yaml.safe_dump(config))
    code = check_configs.main([*map(str, files), *options])
    return code, capsys.readouterr().out


def test_a_living_lmcache_file_passes_without_a_word_against_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = check(tmp_path, capsys, GOOD)
    assert (code, out) == (0, f"{tmp_path}/0.yaml: LMCache file: no dead key\n")


@pytest.mark.parametrize(
    ("config", "key", "write"),
    [
        (changed({"master_server_address": "m:50052"}), "master_server_address", "mooncake_master_server_addr: 'm:50052'"),
        (
            changed({"mooncake_master_server_address": "m:1"}),
            "mooncake_master_server_address",
            "mooncake_master_server_addr: 'm:1'",
        ),
        (changed({"device_name": "mlx5_0"}), "device_name", "mooncake_rdma_devices: 'mlx5_0'"),
        (changed({"rdma_devices": "mlx5_0"}), "rdma_devices", "mooncake_rdma_devices: 'mlx5_0'"),
        (changed(drop=("mooncake_master_server_addr",)), "mooncake_master_server_addr", "mooncake-master:50052"),
        (changed({"global_segment_size": "16 GiB"}), "global_segment_size", "bytes as an integer"),
        (changed({"protocol": "ib"}), "protocol", "tcp, rdma"),
        (changed(external_lookup_client="mooncakestore://m:50052"), "external_lookup_client", "Leave it out"),
        (changed(chunk_size=100), "chunk_size", "256"),
        (changed(max_local_cpu_size=0), "max_local_cpu_size", "GiB per worker"),
    ],
)
def test_a_dead_key_is_refused_with_the_living_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], key: str, write: str
) -> None:
    code, out = check(tmp_path, capsys, config)
    refused = [line for line in out.splitlines() if ": refused: " in line]
    assert code == 1
    assert len(refused) == 1
    assert f"{key}' is" in refused[0]
    assert write in refused[0]


def test_a_deprecated_url_and_an_unknown_key_are_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = check(tmp_path, capsys, changed(remote_url="mooncakestore://m:50052/", chunk_sise=256))
    assert code == 0
    assert "warning: key 'remote_url'" in out
    assert "warning: key 'chunk_sise' is 256: unknown. Did you mean chunk_size?" in out


def test_two_roles_with_different_chunks_share_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, capsys, GOOD, changed(chunk_size=128))[0] == 0
    code, out = check(tmp_path, capsys, GOOD, changed(chunk_size=128), options=("--together",))
    assert code == 1
    assert "'chunk_size' differs" in out


def test_memory_is_per_worker_and_must_fit_the_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert memory_gib(GOOD, 8) == 8 * (5 + 12 + 2)
    assert check(tmp_path, capsys, GOOD, options=("--workers", "8", "--host-gib", "160"))[0] == 0
    code, out = check(tmp_path, capsys, GOOD, options=("--workers", "8", "--host-gib", "150"))
    assert code == 1
    assert "152 GiB" in out
    with pytest.raises(BadInput, match="--workers 8"):
        check(tmp_path, capsys, GOOD, options=("--host-gib", "150"))


def test_with_mla_one_rank_of_eight_has_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = changed({"first_rank_max_local_cpu_size": 20})
    assert memory_gib(config, 8, mla=True) == 20 + 12 + 2
    assert memory_gib(changed({"save_only_first_rank": False}), 8, mla=True) == 8 * (5 + 12 + 2)
    assert check(tmp_path, capsys, config, options=("--mla", "--host-gib", "33"))[0] == 1


def test_the_same_name_lives_in_one_reader_and_is_dead_in_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """vLLM's own connectors hand these to Mooncake by position, so their JSON keeps the names that are dead in LMCache's."""
    vllm = {"metadata_server": "P2PHANDSHAKE", "master_server_address": "m:50052", "protocol": "tcp", "device_name": ""}
    for config, code in ((vllm, 0), ({**vllm, "mooncake_rdma_devices": ""}, 1), ({**vllm, "master_server_addr": "m:1"}, 1)):
        file = tmp_path / "mooncake.json"
        file.write_text(json.dumps(config))
        assert check_configs.main([str(file)]) == code
    assert "Write master_server_address (for LMCache: mooncake_master_server_addr)" in capsys.readouterr().out


def compose(transfer: str, **environment: str) -> dict[str, Any]:
    return {"services": {"p": {"command": ["m", "--kv-transfer-config", transfer], "environment": environment}}}


def test_compose_files_are_read_for_what_vllm_refuses_or_ignores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transfer = '{"kv_connector":"LMCacheConnectorV1","kv_role":"kv_producer"}'
    assert check(tmp_path, capsys, compose(transfer, PYTHONHASHSEED="0"))[0] == 0
    code, out = check(tmp_path, capsys, compose(transfer))
    assert code == 1
    assert "PYTHONHASHSEED" in out
    assert "PROMETHEUS_MULTIPROC_DIR" in out
    with_both = compose(transfer, PYTHONHASHSEED="0", PROMETHEUS_MULTIPROC_DIR="/run/prometheus")
    assert "PROMETHEUS_MULTIPROC_DIR" not in check(tmp_path, capsys, with_both)[1]
    code, out = check(tmp_path, capsys, compose('{"kv_connector":"NixlConnector","kv_rank":0}'))
    assert code == 1
    assert "kv_rank" in out


def test_every_config_that_is_shipped_passes(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("pd_disagg", "non_disagg", "emulator_pd", "emulator_single", "mooncake-server-config")
    assert check_configs.main([f"configs/{name}.yaml" for name in names]) == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(("suffix", "per_host", "gib"), [("", ("--workers", "8"), 156), ("-671b", ("--mla",), 122)])
def test_the_roles_of_a_model_share_chunks_and_fit_their_host(
    capsys: pytest.CaptureFixture[str], suffix: str, per_host: tuple[str, ...], gib: int
) -> None:
    """72B: 8 x (5 + 12.5 + 2) = 156 GiB a role; 671B: 20 + 100 + 2 = 122 GiB a node. The memory sums of configs/README.md."""
    files = [f"configs/mooncake-{role}-config{suffix}.yaml" for role in ("prefiller", "decoder")]
    assert check_configs.main([*files, "--together", *per_host, "--host-gib", "256"]) == 0
    out = capsys.readouterr().out
    assert out.count(f": {gib} GiB") == 2
    assert "warning" not in out


def test_a_file_of_another_kind_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="not a file this command knows"):
        check(tmp_path, capsys, {"models": {}})
