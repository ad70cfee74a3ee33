"""init copies what users edit, overwrites nothing, and says what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.cli.contents import main
from locust_kvcache.contract.deployment import load_deployment
from tests.conftest import ROOT


def test_it_copies_and_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    assert main(["init", str(folder)]) == 0
    for name in ("scenarios/cold_start.yaml", "locustfiles/cold_start.py", "configs/models.yaml", "configs/grafana/dashboards/kvcache.json",
                 "docker-compose.yml", "configs/kubernetes/README.md"):  # fmt: skip
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    assert load_deployment(folder / "configs" / "emulator_single.yaml").name == "emulator_single"
    printed = capsys.readouterr().out
    assert f"  cd {folder}\n" in printed
    assert "locust-kvcache run cold_start" in printed


def test_it_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scenarios").mkdir()
    assert main(["init", str(tmp_path)]) == 3
    assert f"init: {tmp_path} has scenarios already; nothing was copied" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["scenarios"]
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file")]) == 3
