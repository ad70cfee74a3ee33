"""Compares predictions with runs on the deployments that were predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from locust_kvcache.analysis.basics.number_text import number
from locust_kvcache.analysis.model.ratio import Estimate, Prediction, figures_of, of_mix
from locust_kvcache.analysis.model.run_points import MeasuredRun
from locust_kvcache.analysis.model.stage_costs import Mix
from locust_kvcache.analysis.model.tandem import Load

OTHER_COUNT = 0.2  # of the requests, beyond which a run's ramp and tail are not those that were predicted


@dataclass(frozen=True)
class Check:
    """One figure of one deployment: what was predicted, and one value per run."""

    name: str
    figure: str
    predicted: Estimate
    measured: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.measured) / len(self.measured)

    @property
    def off(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted.value / self.mean - 1

    @property
    def inside(self) -> bool | None:
        """Whether the mean of the runs lies within the interval; None without one."""
        low, high = self.predicted.low, self.predicted.high
        return None if low is None or high is None else low <= self.mean <= high


def run_figures(run: MeasuredRun, mix: Mix) -> dict[str, float] | None:
    """The figures of the round that is nearest to the mix; None where none is of it."""
    near = of_mix(run.points, mix)
    if not near:
        return None
    point = min(near, key=lambda point: abs(point.computed_tokens - mix.computed_tokens))
    return figures_of(point.ttft_s, point.e2e_s, point.output_tokens, point.requests_per_s)


def checks(predictions: Sequence[Prediction], runs: Mapping[str, Sequence[MeasuredRun]], mix: Mix) -> list[Check]:
    """`runs` by the name of the prediction."""
    found = []
    for one in predictions:
        rows = [figures for run in runs.get(one.name, ()) if (figures := run_figures(run, mix))]
        for figure, predicted in one.figures.items():
            values = tuple(row[figure] for row in rows if figure in row)
            if values:
                found.append(Check(one.name, figure, predicted, values))
    return found


def unlike(run: MeasuredRun, mix: Mix, load: Load) -> list[str]:
    """Why a run is not what was predicted, in sentences."""
    said, info = [], run.info
    if run_figures(run, mix) is None:
        said.append(f"{run.name} has no round of this mix: it is left out.")
    rate = info.arrival.request_rate_per_s
    if load.users is not None and (info.users != load.users or not info.arrival.closed):
        had = f"{info.users} users" if info.arrival.closed else f"{number(rate)} requests/s"
        said.append(f"{run.name} had {had}, the prediction is for {load.users} users.")
    if load.rate_per_s is not None and (info.arrival.closed or rate is None or abs(rate / load.rate_per_s - 1) > 0.02):
        had = f"{info.users} users" if info.arrival.closed else f"{number(rate)} requests/s"
        said.append(f"{run.name} had {had}, the prediction is for {number(load.rate_per_s)} requests/s.")
    counts = [entry.records for entry in info.rounds if entry.records]
    if counts and abs(counts[0] / load.requests - 1) > OTHER_COUNT:
        said.append(
            f"{run.name} had {counts[0]} requests a round, the prediction is for {load.requests}: give --requests {counts[0]}."
        )
    if not info.complete:
        said.append(f"{run.name} is incomplete.")
    return said
