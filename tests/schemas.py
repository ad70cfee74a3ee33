"""Makes the schema of a record from the code, and checks files by the shipped schemas.

python -m tests.schemas      writes locust_kvcache/schemas/record.schema.json
"""

from __future__ import annotations

import copy
import dataclasses
import json
import typing
from typing import Any

import jsonschema

from locust_kvcache.contract.file_schemas import FOLDER, file_schema
from locust_kvcache.contract.record import RECORD_FORMAT, STATUSES, Record
from tests.docs.reference import FIELDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def record_schema() -> dict[str, Any]:
    """Types from the dataclass, meanings from docs/reference.md; what has no default stands in every record."""
    hints = typing.get_type_hints(Record)
    return {
        "$schema": DIALECT,
        "title": "A line of records.jsonl, format 1",
        "description": "One planned request's outcome. docs/reference.md and docs/metrics.md define every field; unknown is null.",
        "type": "object",
        "required": [field.name for field in dataclasses.fields(Record) if field.default is dataclasses.MISSING]
        + ["status", "format"],
        "properties": {name: _property(name, hint) for name, hint in hints.items()},
    }


def _property(name: str, hint: Any) -> dict[str, Any]:
    if name == "format":
        return {"const": RECORD_FORMAT, "description": FIELDS[name]}
    kinds = [TYPES[kind] for kind in (typing.get_args(hint) or (hint,))]
    known = {"examples": list(STATUSES)} if name == "status" else {}
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "description": FIELDS[name], **known}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with no other keys than it lists: what this version writes stands in it."""
    closed = copy.deepcopy(schema)
    _close(closed)
    return closed


def _close(part: Any) -> None:
    if isinstance(part, dict):
        if "properties" in part and "additionalProperties" not in part:
            part["additionalProperties"] = False
        for each in part.values():
            _close(each)
    elif isinstance(part, list):
        for each in part:
            _close(each)


def faults(value: Any, name: str, only_known_keys: bool = False) -> list[str]:
    """What a file has against its schema: where, and what."""
    schema = strict(file_schema(name)) if only_known_keys else file_schema(name)
    found = jsonschema.Draft202012Validator(schema).iter_errors(value)
    return [f"{'/'.join(map(str, error.absolute_path)) or name}: {error.message[:200]}" for error in found]


if __name__ == "__main__":
    (FOLDER / "record.schema.json").write_text(json.dumps(record_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
