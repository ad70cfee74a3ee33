"""Takes values out of parsed JSON by key and type; a value of another type counts as missing and is noted."""

from __future__ import annotations

from typing import Any

from locust_kvcache.contract.finding import NOTE, Finding

Json = dict[str, Any]
LARGEST = 1e18  # of a number; FLOP, bytes and tokens of a model stay below it


class Taken:
    """Values by key and type; what is of another type is missing, and noted."""

    def __init__(self, values: Any, path: str, notes: list[Finding]) -> None:
        self._values: Json = values if isinstance(values, dict) else {}
        self._path, self._notes = path, notes
        if values is not None and not isinstance(values, dict):
            self._note(path.removesuffix("."), values, "an object")

    def value(self, key: str) -> Any:
        return self._values.get(key)

    def note(self, key: str, wanted: str) -> None:
        self._note(self._path + key, self._values.get(key), wanted)

    def _note(self, name: str, value: Any, wanted: str) -> None:
        text = f"run.json: key {name!r} is {str(value)[:80]!r}; expected {wanted}. It was taken as missing."
        self._notes.append(Finding(NOTE, "run_json_type", text, "docs/files.md lists every key and its type."))

    def _typed(self, key: str, kinds: type | tuple[type, ...], wanted: str) -> Any:
        value = self._values.get(key)
        if value is None:
            return None
        is_flag = isinstance(value, bool) and kinds is not bool
        if is_flag or not isinstance(value, kinds) or (isinstance(value, int | float) and not abs(value) <= LARGEST):
            self._note(self._path + key, value, wanted)
            return None
        return value

    def text(self, key: str) -> str | None:
        found: str | None = self._typed(key, str, "text")
        return found

    def whole(self, key: str) -> int | None:
        found: int | None = self._typed(key, int, "an integer")
        return found

    def number(self, key: str) -> float | None:
        found = self._typed(key, (int, float), "a number")
        return None if found is None else float(found)

    def flag(self, key: str) -> bool:
        return self._typed(key, bool, "true or false") is True

    def numbers(self, key: str) -> dict[str, float]:
        """An object of numbers; one that is none is left out."""
        names = self.mapping(key)
        inside = Taken(names, f"{self._path}{key}.", self._notes)
        return {name: value for name in names if (value := inside.number(name)) is not None}

    def mapping(self, key: str) -> Json:
        found: Json | None = self._typed(key, dict, "an object")
        return found or {}

    def roles(self, key: str) -> tuple[str, ...]:
        """The `role` of each object in a list."""
        pages = self._typed(key, list, "a list") or ()
        return tuple(str(page["role"]) for page in pages if isinstance(page, dict) and page.get("role"))

    def names(self, key: str) -> dict[str, str]:
        """The `name` of each object in a list, by its `url`."""
        entries = self._typed(key, list, "a list") or ()
        pairs = ((entry.get("url"), entry.get("name")) for entry in entries if isinstance(entry, dict))
        return {url: name for url, name in pairs if isinstance(url, str) and isinstance(name, str) and name}

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(str(entry) for entry in self._typed(key, list, "a list") or ())

    def inside(self, key: str) -> Taken:
        return Taken(self._values.get(key), f"{self._path}{key}.", self._notes)
