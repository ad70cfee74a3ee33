"""Says which columns a record has, and of which type: in the analysis, and in a Parquet file."""

from __future__ import annotations

import typing

import pyarrow as pa  # type: ignore[import-untyped]

from locust_kvcache.contract.record import FIELDS, Record

TEXTS = (
    "run_id",
    "deployment",
    "model",
    "scenario",
    "worker",
    "status",
    "error",
    "finish_reason",
    "clock",
    "round_kind",
    "usage_rejected",
    "engine",
    "tenant",
    "cache_salt",
    "sent_headers",
    "phase",
)
CONSTANT = ("deployment", "model")  # run.json has them
COLUMNS = tuple(name for name in FIELDS if name not in CONSTANT)
NUMBERS = tuple(name for name in COLUMNS if name not in TEXTS)
FLAGS = ("client_limited", "buffered", "reconnected", "end_missing")  # true, false or null in the file; 1, 0 or NaN in the frame
LARGEST = 1e15  # of a number in a record: whole numbers are exact below it, and no time or count comes near it
_IN_FRAME = {**dict.fromkeys(NUMBERS, pa.float64()), **dict.fromkeys(TEXTS, pa.string()), **dict.fromkeys(FLAGS, pa.bool_())}
FRAME_SCHEMA = pa.schema([(name, _IN_FRAME[name]) for name in COLUMNS])  # numbers as the analysis computes with them


def file_schema() -> pa.Schema:
    """As the Record declares its fields: whole numbers stay whole, so that a line can be made of it again."""
    arrow = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
    hints = typing.get_type_hints(Record)
    kinds = {name: next(kind for kind in (*typing.get_args(hints[name]), hints[name]) if kind in arrow) for name in FIELDS}
    return pa.schema([(name, arrow[kinds[name]]) for name in FIELDS])
