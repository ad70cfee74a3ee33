"""Writes values in OTLP's JSON encoding, and sends them to a collector or appends them to files.

OTLP over HTTP takes JSON as well as Protobuf, so that no library is needed.
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from locust_kvcache import __version__
from locust_kvcache.contract.addresses import check_url
from locust_kvcache.contract.errors import BadInput

TIMEOUT_S = 30
SCOPE = {"name": "locust_kvcache", "version": __version__}


def attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Key and typed value of each; what is unknown (None, NaN) is left out."""
    return [{"key": key, "value": _value(value)} for key, value in values.items() if not unknown(value)]


def unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}


def identifier(digits: int, *parts: object) -> str:
    """The same for the same request, so that a second export of a run adds nothing new."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:digits]


def nanoseconds(seconds: float) -> str:
    return str(round(seconds * 1e9))


class Files:
    """Appends each batch as one line: what the collector's file receiver (otlp_json_file) reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.written: list[Path] = []

    def send(self, signal: str, batch: Mapping[str, Any]) -> None:
        path = self._folder / f"otlp_{signal}.jsonl"
        new = path not in self.written
        with path.open("w" if new else "a", encoding="utf-8") as file:
            file.write(json.dumps(batch, ensure_ascii=False, allow_nan=False) + "\n")
        self.written += [path] if new else []

    def __str__(self) -> str:
        return ", ".join(map(str, self.written))


class Endpoint:
    """POSTs each batch to a collector's OTLP/HTTP port."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = check_url(url.rstrip("/"), "--endpoint")
        self._headers = {"Content-Type": "application/json", **headers}

    def send(self, signal: str, batch: Mapping[str, Any]) -> None:
        url = f"{self._url}/v1/{signal}"
        body = json.dumps(batch, allow_nan=False).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, self._headers), timeout=TIMEOUT_S) as response:
                answer = response.read(100_000)
        except urllib.error.HTTPError as error:
            said = error.read(200).decode("utf-8", "replace").strip()
            raise BadInput(f"{url} answered {error.code} {error.reason}: {said}; check --endpoint and its headers") from error
        except OSError as error:
            raise BadInput(
                f"{url} cannot be reached: {getattr(error, 'reason', error)}; is an OTLP/HTTP receiver there?"
            ) from error
        _complain(url, answer)

    def __str__(self) -> str:
        return self._url


def _complain(url: str, answer: bytes) -> None:
    """A receiver that drops a part answers 200 and says so."""
    try:
        partial = (json.loads(answer or b"{}") or {}).get("partialSuccess") or {}
    except (ValueError, AttributeError):
        return  # not JSON: receivers may answer in Protobuf
    rejected = {key: value for key, value in partial.items() if key.startswith("rejected") and int(value or 0)}
    if rejected:
        raise BadInput(f"{url} rejected a part: {rejected}, {partial.get('errorMessage', 'without a reason')}")


def headers_of(text: str) -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS: name=value pairs with commas between, values URL-encoded."""
    pairs: Iterable[tuple[str, str, str]] = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def headers_of_environment() -> dict[str, str]:
    return headers_of(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""))
