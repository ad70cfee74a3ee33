"""MLflow and Weights & Biases: the real libraries with local stores; skipped where they are not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.exports import values
from locust_kvcache.analysis.exports.trackers import export_mlflow, export_wandb
from locust_kvcache.analysis.pipeline import Analysis

pytestmark = pytest.mark.slow


def test_parameters_are_flat_and_known(analysis: Analysis) -> None:
    found = values.parameters(analysis)
    assert (found["model"], found["users"], found["arrival_kind"]) == ("test-model", 1, "closed")
    assert found["command"] == "locust -f locustfiles"
    assert "arrival_request_rate_per_s" not in found  # null in run.json
    assert all(isinstance(value, str | int | float) for value in found.values())


def test_figures_of_each_round_are_those_of_stats_json(analysis: Analysis) -> None:
    cold, hit = values.rounds(analysis)
    assert (cold.round, cold.kind, hit.round, hit.kind) == (1, "cold", 2, "hit")
    (spread,) = [row for row in analysis.stats["distributions"]
                 if (row["metric"], row["split"], row["group"]) == ("ttft_ms", "round", "2")]  # fmt: skip
    assert hit.figures["ttft_ms_median"] == spread["median"]
    assert hit.figures["requests"] == 30
    assert hit.figures["hit_rate"] > cold.figures["hit_rate"]


def test_the_answer_is_changes_as_shares(analysis: Analysis) -> None:
    (effect,) = [row for row in analysis.stats["effects"]
                 if (row["metric"], row["statistic"], row["split"]) == ("ttft_ms", "mean", "round")]  # fmt: skip
    found = values.answer(analysis)
    assert found["long_context_high_reuse/ttft_ms_change"] == pytest.approx(effect["ratio"] - 1)
    low, high = (found[f"long_context_high_reuse/ttft_ms_change_{end}"] for end in ("low", "high"))
    assert low < found["long_context_high_reuse/ttft_ms_change"] < high < 0


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_library_that_is_missing_is_named(name: str, command: Any, exported_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    done = command("analysis.export", exported_run, "--to", name)
    assert done.returncode == 3
    assert f"pip install 'locust-kvcache[{name}]'" in done.stderr


def test_mlflow(analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.chdir(tmp_path)  # its artifacts lie in ./mlruns or beside the database
    said = export_mlflow(analysis, f"sqlite:///{tmp_path}/mlflow.db", "cache")
    (run,) = mlflow.search_runs(experiment_names=["cache"], output_format="list")
    assert said.startswith(f"MLflow run {run.info.run_id} of experiment 'cache'")
    assert run.info.run_name == analysis.run_id
    assert (run.data.params["model"], run.data.tags["complete"]) == ("test-model", "true")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "long_context_high_reuse/ttft_ms_median")
    assert [(each.step, each.value) for each in history] == [
        (each.round, each.figures["ttft_ms_median"]) for each in values.rounds(analysis)
    ]
    assert {each.path for each in mlflow.MlflowClient().list_artifacts(run.info.run_id)} == {"run.json", "report"}


def test_wandb_offline(analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    said = export_wandb(analysis, str(tmp_path), "cache")
    (stored,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert stored.stat().st_size > 1_000
    assert str(stored.parent) in said
    content = stored.read_bytes()
    assert all(name in content for name in (b"long_context_high_reuse/ttft_ms_median", b"test-model", b"ttft_ms_change"))
