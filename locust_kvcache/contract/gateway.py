"""Reads what a gateway or router needs beside the OpenAI requests: headers, body fields, a path, a query.

Secrets come from the environment: a header's value may hold ${NAME}, which each worker reads there. Only the placeholder is written.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from locust_kvcache.contract.errors import BadInput

Headers = tuple[tuple[str, str], ...]
SESSION = "{session}"  # in a header's value: the session's own name, the same for all of its turns
USER, TENANT = "{user}", "{tenant}"  # the end user that the session belongs to, and the tenant
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"authorization|api-?key|token|secret|cookie|password", re.IGNORECASE)
LEAST_SECRET = 6  # characters: a shorter one may stand in any text
OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept", "accept-encoding", "expect")
OUR_FIELDS = (
    "model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "stop", "ignore_eos",
)  # fmt: skip


def checked_headers(found: Iterable[tuple[Any, Any]], where: str) -> Headers:
    """Headers to send with each request; BadInput for what HTTP does not allow, what is ours, and secrets that are written out."""
    headers = []
    for name, value in found:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadInput(f"{where}: {name!r} is not a name of an HTTP header")
        text = str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
        if text is None or any(ord(char) < 32 or ord(char) > 255 for char in text):
            raise BadInput(f"{where}: header {name} is {value!r}; expected a text of one line")
        if name.lower() in OURS:
            raise BadInput(f"{where}: header {name} is set by the load generator itself; leave it out")
        if _SECRET.search(name) and not _VARIABLE.search(text):
            raise BadInput(f"{where}: header {name} holds a secret; write it as ${{NAME}} and export NAME on every worker")
        headers.append((name, text))
    return tuple(headers)


def header_option(words: Iterable[str]) -> Headers:
    """--header 'Name: value', once for each header."""
    pairs = []
    for word in words:
        name, found, value = word.partition(":")
        if not found:
            raise BadInput(f"--header is {word!r}; expected 'Name: value'")
        pairs.append((name.strip(), value.strip()))
    return checked_headers(pairs, "--header")


def checked_body(found: Any, where: str) -> dict[str, Any]:
    """Fields to add to each request's body; BadInput for those that the plan decides."""
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise BadInput(f"{where} is {found!r}; expected a mapping, such as {{priority: 1}}")
    if is_template(str(found.get("cache_salt", ""))):
        raise BadInput(
            f"{where} has the cache_salt {found['cache_salt']!r}, which is sent as it stands; salts by session, user or tenant: "
            "--cache-salt, or `identity` in the scenario"
        )
    if ours := [key for key in found if key in OUR_FIELDS]:
        raise BadInput(f"{where} sets {ours[0]!r}, which the load generator decides; leave it out")
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{where} holds what JSON cannot: {error}") from error
    return dict(found)


def body_option(text: str) -> dict[str, Any]:
    """--extra-body '{"priority": 1}'."""
    try:
        found = json.loads(text) if text else {}
    except ValueError as error:
        raise BadInput(f"--extra-body is {text!r}; expected a JSON object: {error}") from error
    return checked_body(found, "--extra-body")


def resolved(headers: Headers, environ: Mapping[str, str] = os.environ) -> Headers:
    """With the values of the environment in place of ${NAME}; BadInput names a variable that is not set."""

    def value_of(match: re.Match[str]) -> str:
        value = environ.get(match[1])
        if not value:
            raise BadInput(f"a header wants ${{{match[1]}}}, and {match[1]} is not set: export {match[1]}=... on every worker")
        return value

    return tuple((name, _VARIABLE.sub(value_of, text)) for name, text in headers)


def filled(text: str, names: Mapping[str, str]) -> str:
    """A template with what stands for each placeholder."""
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text


def is_template(text: str) -> bool:
    return any(placeholder in text for placeholder in (SESSION, USER, TENANT))


def is_secret(name: str) -> bool:
    """Whether a header of that name holds what must not be written down."""
    return bool(_SECRET.search(name))


def secrets_in(headers: Iterable[tuple[str, str]]) -> list[str]:
    """What must not be written of headers that were sent: a server may quote them in its answers."""
    values = [value for name, value in headers if _SECRET.search(name)]
    words = {word for value in values for word in (value, value.rpartition(" ")[2]) if len(word) >= LEAST_SECRET}
    return sorted(words, key=len, reverse=True)


def without_secrets(text: str, head: bytes) -> str:
    """A server's words without the secrets of the request's head."""
    lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")]
    for secret in secrets_in((name, value) for name, _, value in lines):
        text = text.replace(secret, "***")
    return text
