"""Reads the models that /v1/models names, in the forms that servers, routers and gateways use.

A list that is missing or unreadable is no error by itself: a model that a person names is taken at their word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.failure_words import first_words
from locust_kvcache.contract.usage import whole_count
from locust_kvcache.loadgen.server.pages import PageRefused, Redirected, read_json

NAMES = ("id", "name", "model")  # of an entry: OpenAI's, Ollama's, others'
LISTS = ("data", "models", "result")
CONTEXT_KEYS = ("max_model_len", "context_length", "max_context_length", "context_window")  # vLLM's, OpenRouter's, others'


@dataclass(frozen=True)
class ModelList:
    """`names`: None where there is no list to read. `said`: what /v1/models answered, in a few words. `context_tokens` by model."""

    names: tuple[str, ...] | None
    said: str
    context_tokens: dict[str, int] = field(default_factory=dict)
    http_status: int | None = None


def ask_models(get: Callable[[str], requests.Response], endpoint: str) -> ModelList:
    """The server's list by `get` (path to answer). BadInput where nothing answers at the endpoint."""
    try:
        answer = get("/v1/models")
    except Redirected as error:
        raise BadInput(
            f"{endpoint}/v1/models: {error}: a login page, or another address? Put the final address into --host or the deployment's "
            "endpoint"
        ) from error
    except (PageRefused, requests.exceptions.ReadTimeout) as error:
        return ModelList(None, f"nothing whole ({error})")
    except requests.RequestException as error:
        raise BadInput(_unreachable(endpoint, error)) from error
    status = answer.status_code
    if status != 200:
        words = f": {first_words(answer.text)}" if answer.text.strip() else ""
        return ModelList(None, f"HTTP {status}{words}", http_status=status)
    try:
        found = read_json(answer)
    except ValueError:
        return ModelList(None, f"no JSON: {first_words(answer.text)}", http_status=status)
    return read_models(found)


def _unreachable(endpoint: str, error: requests.RequestException) -> str:
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError) and (reason := text.partition("certificate verify failed: ")[2]):
        return (
            f"the certificate of {endpoint} is not trusted: {reason.partition(' (_ssl')[0]}. Name the certificate of its authority in "
            "the deployment file (tls: {ca_file: FILE})"
        )
    what = f"TLS: {first_words(text)}" if isinstance(error, requests.exceptions.SSLError) else _innermost(error)
    way_out = "Is the server up? Check --host or the deployment's endpoint, tls and proxy"
    if not isinstance(error, requests.exceptions.ProxyError) and requests.utils.get_environ_proxies(endpoint):
        way_out += ". The load takes no proxy from the environment (http_proxy, https_proxy): name it in the deployment file (proxy: URL)"
    return f"{endpoint} cannot be reached ({what}). {way_out}"


def _innermost(error: BaseException) -> str:
    """The system's own words for what went wrong: Connection refused, Name or service not known."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def read_models(found: Any) -> ModelList:
    """A list, or an object that holds one; its entries are names, or objects that have one."""
    entries = found if isinstance(found, list) else None
    if isinstance(found, dict):
        entries = next((found[key] for key in LISTS if isinstance(found.get(key), list)), None)
    if entries is None and isinstance(found, dict) and isinstance(found.get("data"), dict):
        entries = [found["data"]]
    if entries is None:
        return ModelList(None, f"no list of models: {first_words(str(found))}", http_status=200)
    names, context = [], {}
    for entry in entries:
        values = entry if isinstance(entry, dict) else {"id": entry}
        name = next((values[key] for key in NAMES if isinstance(values.get(key), str) and values[key]), None)
        if name is None:
            continue
        names.append(name)
        if told := next((count for key in CONTEXT_KEYS if (count := whole_count(values.get(key)))), None):
            context[name] = told
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    said = f"{len(names)} model{'' if len(names) == 1 else 's'}: {listed}" if names else _nameless(entries)
    return ModelList(tuple(names), said, context, 200)


def _nameless(entries: list[Any]) -> str:
    return f"a list without names: {first_words(str(entries))}" if entries else "an empty list"


def choose_model(wanted: str | None, models: ModelList, page: str) -> tuple[str, str | None]:
    """(the model to ask for, a warning about it or None); `page`: the address of the list.

    BadInput where nobody named one, and the server does not name exactly one.
    """
    if wanted:
        if models.names is None:
            return wanted, f"the model {wanted!r} is not checked: {page} answered {models.said}"
        if wanted not in models.names:
            return wanted, f"the model {wanted!r} is taken at its word: {page} answered {models.said}"
        return wanted, None
    if models.names is not None and len(models.names) == 1:
        return models.names[0], None
    way_out = (
        " (and api_path and query in the deployment file, where its pages have another address)" if models.names is None else ""
    )
    raise BadInput(f"which model? {page} answered {models.said}. Use --model{way_out}")
