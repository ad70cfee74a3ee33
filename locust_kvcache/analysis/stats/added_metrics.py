"""Computes the metrics of a request that other packages add (contract/extensions.py), one column each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.mapped import kept_column, release
from locust_kvcache.analysis.basics.metrics import ADDED
from locust_kvcache.contract.errors import BadInput

COPIES_AT_ONCE = int(pd.__version__.partition(".")[0]) < 3  # from 3 on a copy copies what is written to


def with_added_metrics(records: pd.DataFrame) -> pd.DataFrame:
    """The records with a column for each added metric; what is no finite number is missing. BadInput names the one that fails.

    A metric gets a copy: what it writes there changes no other figure.
    """
    columns = {}
    for key, metric in ADDED.items():
        if key in records:
            raise BadInput(
                f"the metric {key!r} of a package has the name of a column of the records; give its entry point another one"
            )
        try:
            columns[key] = kept_column(_column(metric.compute(records.copy(deep=COPIES_AT_ONCE)), records.index))
            release()
        except (Exception, SystemExit) as error:
            said = " ".join(str(error).split())
            raise BadInput(f"the metric {key!r} of a package failed: {type(error).__name__}: {said}") from error
    return records.assign(**columns)


def _column(values: Any, index: pd.Index) -> pd.Series:
    """ValueError where there is not one value for each record."""
    if np.ndim(values) != 1 or len(values) != len(index):
        found = f"{len(values):,} values" if np.ndim(values) == 1 else type(values).__name__
        raise ValueError(f"compute returned {found}; expected a Series of {len(index):,} values, one for each record")
    column = values.reindex(index) if isinstance(values, pd.Series) else pd.Series(values, index=index)
    numbers = pd.to_numeric(column).astype("float64")
    return numbers.where(np.isfinite(numbers))
