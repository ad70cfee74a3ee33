"""Exports an analysed run to experiment trackers, MLflow and Weights & Biases: parameters, figures, and the report as artifact.

Their libraries are optional: pip install 'locust-kvcache[mlflow]' or 'locust-kvcache[wandb]'.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from locust_kvcache.analysis.exports.values import answer, artifacts, outcome, parameters, rounds
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.contract.errors import BadInput

PROJECT = "locust-kvcache"
LONGEST_PARAMETER = 6_000  # characters that MLflow takes


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BadInput(
            f"--to {name} needs the {name} library ({error}); install it: pip install 'locust-kvcache[{name}]'"
        ) from error


def export_mlflow(analysis: Analysis, tracking_uri: str, project: str) -> str:
    """A run in an MLflow experiment: a metric's step is the number of the round. Where to: --tracking-uri, else MLFLOW_TRACKING_URI."""
    mlflow = _library("mlflow")
    if tracking_uri:
        mlflow.set_tracking_uri(tracking_uri)
    try:
        mlflow.set_experiment(project or PROJECT)
        with mlflow.start_run(run_name=analysis.run_id, tags=outcome(analysis)) as run:
            mlflow.log_params({key: str(value)[:LONGEST_PARAMETER] for key, value in parameters(analysis).items()})
            for figures in rounds(analysis):
                named = {_mlflow_name(f"{figures.scenario}/{name}"): value for name, value in figures.figures.items()}
                mlflow.log_metrics(named, step=figures.round)
            mlflow.log_metrics({_mlflow_name(name): value for name, value in answer(analysis).items()})
            for path in artifacts(analysis):
                (mlflow.log_artifacts if path.is_dir() else mlflow.log_artifact)(
                    str(path), *(["report"] if path.is_dir() else [])
                )
    except mlflow.exceptions.MlflowException as error:
        raise BadInput(f"MLflow at {mlflow.get_tracking_uri()} refused the run: {' '.join(str(error).split())}") from error
    return f"MLflow run {run.info.run_id} of experiment {project or PROJECT!r} at {mlflow.get_tracking_uri()}"


def _mlflow_name(name: str) -> str:
    """Names of scenarios may hold characters that MLflow refuses."""
    return re.sub(r"[^\w\-. /]", "_", name)


def export_wandb(analysis: Analysis, folder: str | None, project: str) -> str:
    """A run in a Weights & Biases project. WANDB_MODE=offline keeps it in files, for `wandb sync`; `folder`: where these go."""
    wandb = _library("wandb")
    try:
        run = wandb.init(project=project or PROJECT, name=analysis.run_id, config=parameters(analysis), dir=folder,
                         tags=[f"{key}:{value}"[:64] for key, value in outcome(analysis).items()])  # fmt: skip
        for figures in rounds(analysis):
            named = {f"{figures.scenario}/{name}": value for name, value in figures.figures.items()}
            run.log({**named, f"{figures.scenario}/round": figures.round})
        run.summary.update(answer(analysis))
        artifact = wandb.Artifact(f"report-{re.sub(r'[^A-Za-z0-9_.-]', '_', analysis.run_id)}"[:128], type="report")
        for path in artifacts(analysis):
            (artifact.add_dir if path.is_dir() else artifact.add_file)(str(path), name=path.name)
        run.log_artifact(artifact)
        place = run.url or run.dir
        run.finish()
    except wandb.errors.Error as error:
        raise BadInput(f"Weights & Biases refused the run: {' '.join(str(error).split())}") from error
    return f"Weights & Biases run {place}"
