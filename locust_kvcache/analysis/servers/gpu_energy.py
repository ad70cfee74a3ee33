"""Finds the energy of each GPU in each round, from DCGM's page or from NVML's values of the master's host.

By the counter of energy where there is one, else the power integrated over the scrapes of a round.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from locust_kvcache.analysis.servers.server_counters import label

ENERGY, POWER = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_POWER_USAGE"  # mJ, W
COUNTER, INTEGRATED = "counter", "power"
COLUMNS = ["scenario", "round", "role", "url", "gpu", "joules", "measured_by", "seconds", "readings"]
KEYS = ["scenario", "round", "role", "url"]


def energy(series: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS per round and GPU. `seconds`: from the first scrape to the last; `readings`: different values among them, as an exporter
    may measure less often than it is asked."""
    values = series["value"].astype("float64")
    mine = series[series["metric"].isin((ENERGY, POWER)) & np.isfinite(values) & values.ge(0)]
    gpu = [label(text, "UUID") or label(text, "gpu") or text for text in mine["labels"]]
    rows = []
    for key, group in mine.assign(gpu=gpu).groupby([*KEYS, "gpu"], sort=False):
        found = _by_counter(group[group["metric"].eq(ENERGY)]) or _by_power(group[group["metric"].eq(POWER)])
        if found is not None:
            rows.append((*key, *found))
    return pd.DataFrame(rows, columns=COLUMNS)


def _whole(ordered: pd.DataFrame) -> bool:
    """Whether it was read at both borders of the round: a page that vanished says nothing of the rest."""
    return {"before", "after"} <= set(ordered["when"])


def _by_counter(group: pd.DataFrame) -> tuple[float, str, float, int] | None:
    """None where it is missing at a border, or fell: the driver was loaded again."""
    ordered = group.sort_values("at_s", kind="stable")
    ends = ordered[ordered["when"].isin(("before", "after"))]
    if not _whole(ordered) or (np.diff(ordered["value"]) < 0).any():
        return None
    seconds = float(ends["at_s"].iloc[-1] - ends["at_s"].iloc[0])
    joules = float(ends["value"].iloc[-1] - ends["value"].iloc[0]) / 1000
    return (joules, COUNTER, seconds, ordered["value"].nunique()) if seconds > 0 else None


def _by_power(group: pd.DataFrame) -> tuple[float, str, float, int] | None:
    """Trapezoids between the scrapes; None where one is missing at a border."""
    ordered = group.sort_values("at_s", kind="stable")
    if not _whole(ordered):
        return None
    at_s, watts = ordered["at_s"].to_numpy(dtype="float64"), ordered["value"].to_numpy(dtype="float64")
    seconds = float(at_s[-1] - at_s[0])
    return (float(np.trapezoid(watts, at_s)), INTEGRATED, seconds, ordered["value"].nunique()) if seconds > 0 else None


def by_round(table: pd.DataFrame) -> pd.DataFrame:
    """All GPUs together: scenario, round, energy_gpus, power_w (mean), energy_by, least_readings."""
    rows = []
    for key, group in table.groupby(["scenario", "round"], sort=False):
        power_w = float((group["joules"] / group["seconds"]).sum())
        by = " and ".join(dict.fromkeys(group["measured_by"]))
        rows.append((*key, group[["url", "gpu"]].drop_duplicates().shape[0], power_w, by, int(group["readings"].min())))
    return pd.DataFrame(rows, columns=["scenario", "round", "energy_gpus", "power_w", "energy_by", "least_readings"])
