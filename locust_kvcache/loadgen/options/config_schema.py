"""Makes the JSON Schema of the YAML file of a run, from the declared options: editors complete and check the file by it."""

from __future__ import annotations

import argparse
from typing import Any

from locust_kvcache.loadgen.options.config_file import Setting, settings

DIALECT = "http://json-schema.org/draft-07/schema#"  # the one that editors of YAML know best


def config_schema(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """One property for each option that a file may set."""
    return {
        "$schema": DIALECT,
        "title": "A run of locust-kvcache: locust-kvcache run --config FILE.yaml",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _property(setting) for name, setting in sorted(settings(parser).items())},
    }


def _property(setting: Setting) -> dict[str, Any]:
    option = setting.option
    if option:
        about = f"{option.help}. Default: {option.default_text}" + (
            f" (the same as {option.name})" * (setting.name != option.name)
        )
    else:
        about = f"Locust's own: {setting.action.help or ''}"
    return {"description": " ".join(about.split()), **_value(setting)}


def _value(setting: Setting) -> dict[str, Any]:
    if setting.flag:
        return {"type": "boolean"}
    one = _one(setting)
    forms = [one]
    if setting.many or setting.repeats:
        forms.append({"type": "array", "items": one})
    if setting.mapping:
        values: dict[str, Any] = {} if setting.mapping == "json" else {"additionalProperties": {"type": ["string", "number"]}}
        forms.append({"type": "object", **values})
    return one if len(forms) == 1 else {"anyOf": forms}


def _one(setting: Setting) -> dict[str, Any]:
    option, action = setting.option, setting.action
    if action.choices:
        return {"enum": [*action.choices, *((True, False) if setting.on_off else ())]}
    number = option.kind if option else action.type
    if number in (int, float) and not setting.many:
        least = {} if option is None or option.low is None else {"minimum": option.low}
        return {"type": "integer" if number is int else "number", **least}
    return {"type": ["string", "number", *(["boolean"] if setting.on_off else [])]}
