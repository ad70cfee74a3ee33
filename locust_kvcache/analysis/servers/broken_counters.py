"""Finds rounds in which a page's counters cannot be subtracted, so that their growth is unknown.

A server that was started again, a page that changed its labels, a page that gave nothing before the round, a counter that is no number.
"""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.problems import Problem

ROLE = ["scenario", "round", "role"]
KEYS = [*ROLE, "url"]
STARTED = "process_start_time_seconds"
LEFT_OUT = "Its counters of that round were left out, and those of all servers of its role."
COUNTER = ("_total", "_sum", "_count")


def only_grows(metric: pd.Series) -> pd.Series:
    """Counters of engines and caches; other pages have gauges with such names."""
    of_engine = metric.str.match(r"(?:vllm|sglang):") & metric.str.endswith(COUNTER)
    return of_engine | (metric.str.endswith("_total") & metric.str.match("lmcache|master"))


def broken_rounds(table: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """KEYS of the pages' rounds to leave out, and why, one reason for each."""
    mine = table[only_grows(table["metric"])]
    before, after = (mine[mine["when"].eq(when)] for when in ("before", "after"))
    borders = pd.concat([before, after])
    reasons = (
        (_keys(borders[borders["value"].isna()]), "counters_unread", _no_number),
        (_keys(_fallen(mine)), "counter_reset", _fell),
        (_keys(_started_again(table)), "counter_reset", _restarted),
        (_keys(_vanished(before, after)), "counter_reset", _changed),
        (_keys(_without_before(table, after)), "counters_unread", _unread),
    )
    found: dict[tuple[str, int, str, str], Problem] = {}
    for keys, code, text in reasons:
        for key in keys:
            found.setdefault(key, Problem("warning", code, text(key), LEFT_OUT))
    return pd.DataFrame(list(found), columns=KEYS), list(found.values())


def _keys(rows: pd.DataFrame) -> list[tuple[str, int, str, str]]:
    return list(rows[KEYS].drop_duplicates().itertuples(index=False, name=None))


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """From the last page before the round on: a round that was begun twice has two, and a server may have been started between them."""
    begun = table[table["when"].eq("before")].groupby(KEYS)["at_s"].max()
    since = begun.reindex(pd.MultiIndex.from_frame(table[KEYS])).to_numpy()
    at_s = table["at_s"].astype(float)
    kept = table[at_s.ge(since) | at_s.isna() | table["when"].eq("after")]
    place = kept["when"].map({"before": 0, "during": 1, "after": 2})
    return kept.assign(place=place).sort_values(["place", "at_s"], kind="stable")


def _fallen(mine: pd.DataFrame) -> pd.DataFrame:
    """Whatever is smaller than the page before it: a counter may be beyond its old value again when the round ends."""
    rows = _in_order(mine.dropna(subset=["value"]))
    return rows[rows.groupby([*KEYS, "metric", "labels"])["value"].diff().lt(0)]


def _started_again(table: pd.DataFrame) -> pd.DataFrame:
    rows = _in_order(table[table["metric"].eq(STARTED)])
    return rows[rows.groupby([*KEYS, "labels"])["value"].diff().abs().gt(1.0)]


def _vanished(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """A counter stays on its page. Pages that could not be read after the round have nothing to subtract from."""
    by = [*KEYS, "metric", "labels"]
    read = before[pd.MultiIndex.from_frame(before[KEYS]).isin(pd.MultiIndex.from_frame(after[KEYS]))]
    return read[~pd.MultiIndex.from_frame(read[by]).isin(pd.MultiIndex.from_frame(after[by]))]


def _without_before(table: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """A single counter may appear with its first event; a page that had nothing at all was not read."""
    read = pd.MultiIndex.from_frame(table[table["when"].eq("before")][KEYS])
    return after[~pd.MultiIndex.from_frame(after[KEYS]).isin(read)]


def _fell(key: tuple[str, int, str, str]) -> str:
    return (
        f"A counter of {key[2]} ({key[3]}) fell during round {key[1]} of {key[0]}: the server was started again, or several servers "
        "answer at this address."
    )


def _restarted(key: tuple[str, int, str, str]) -> str:
    return f"{key[2]} ({key[3]}) has another start time after round {key[1]} of {key[0]}: the server was started again."


def _changed(key: tuple[str, int, str, str]) -> str:
    return (
        f"A counter of {key[2]} ({key[3]}) vanished during round {key[1]} of {key[0]}: the page has other labels than before it, or "
        "the server was started again."
    )


def _unread(key: tuple[str, int, str, str]) -> str:
    return f"The metrics of {key[2]} ({key[3]}) gave nothing before round {key[1]} of {key[0]}: the growth of its counters is unknown."


def _no_number(key: tuple[str, int, str, str]) -> str:
    return f"A counter of {key[2]} ({key[3]}) is not a finite number before or after round {key[1]} of {key[0]}."
