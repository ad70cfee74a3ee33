"""Checks parsed YAML: types, bounds and known keys, with errors that name file and key."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from locust_kvcache.contract.errors import BadInput

_MISSING: Any = object()
LARGEST_BYTES = 1_000_000
MOST_ALIASES = 100  # a few lines of aliases of aliases would stand for billions of values


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, for settings: a key twice, or aliases without end, are mistakes."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MOST_ALIASES:
                raise yaml.YAMLError(f"more than {MOST_ALIASES} aliases")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.YAMLError(f"key {key.value!r} stands twice, the second time in line {key.start_mark.line + 1}")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; BadInput if it is absent, not YAML or not a mapping."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise BadInput(f"{path}: has {path.stat().st_size:,} bytes; a file of settings has at most {LARGEST_BYTES:,}")
        loaded = yaml.load(path.read_bytes().decode("utf-8-sig"), _Loader)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadInput(f"{path}: is not valid YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(loaded, dict):
        found = "an empty file" if loaded is None else type(loaded).__name__
        raise BadInput(f"{path}: expected a mapping of keys, found {found}")
    return loaded


KIND_WORDS: Mapping[type[Any], str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping of keys",
}


class Section:
    """One mapping of a YAML file. `take` reads a key with its type and bounds; `done` rejects keys nobody took."""

    def __init__(self, values: Any, source: str, prefix: str = "") -> None:
        if not isinstance(values, Mapping):
            where = f"key {prefix.removesuffix('.')!r}" if prefix else "the file"
            raise BadInput(f"{source}: {where} is {values!r}; expected a mapping of keys")
        self._values = dict(values)
        self._source = source
        self._prefix = prefix
        self._taken: set[str] = set()

    def name(self, key: str) -> str:
        return f"{self._source}: key {self._prefix + key!r}"

    def section(self, key: str) -> Section:
        """A nested mapping; an absent one is empty, so that its own defaults apply."""
        self._taken.add(key)
        return Section(self._values.get(key) or {}, self._source, f"{self._prefix}{key}.")

    def take(
        self, key: str, kind: type[Any], default: Any = _MISSING, *, choices: Iterable[Any] = (), low: float | None = None
    ) -> Any:
        """The value of a key: required without a default; int is accepted for float; bounds and choices are checked."""
        self._taken.add(key)
        if key not in self._values:
            if default is _MISSING:
                raise BadInput(f"{self.name(key)} is missing; add it ({KIND_WORDS[kind]})")
            return default
        value: Any = self._values[key]
        if value is None and default is None:
            return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise BadInput(f"{self.name(key)} is {value!r}; expected {KIND_WORDS[kind]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"{self.name(key)} is {value!r}; expected a finite number")
        if choices and value not in choices:
            raise BadInput(f"{self.name(key)} is {value!r}; allowed: {', '.join(map(str, choices))}")
        if low is not None and value < low:
            raise BadInput(f"{self.name(key)} is {value!r}; expected at least {low}")
        return value

    def raw(self, key: str, default: Any = None) -> Any:
        self._taken.add(key)
        return self._values.get(key, default)

    def done(self) -> None:
        """BadInput for the first key that nothing reads, with the nearest key that something does."""
        for key in self._values:
            if key not in self._taken:
                near = difflib.get_close_matches(str(key), self._taken, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(sorted(self._taken))}"
                raise BadInput(f"{self.name(str(key))} is unknown; {hint}")
