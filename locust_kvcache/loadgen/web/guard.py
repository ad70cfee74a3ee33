"""Protects Locust's page against requests from other sites, and against form fields that do not exist."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from locust.web import WebUI

from locust_kvcache.loadgen.options.declared import OPTIONS
from locust_kvcache.loadgen.options.option import words
from locust_kvcache.loadgen.typed_locust import flask_app

log = logging.getLogger("kvcache")
HERE = "127.0.0.1"
FILES = ("deployment", "scenarios")  # fields that may name a file
CHANGES = ("/stop", "/stats/reset")  # what Locust changes at a GET
LOCUSTS_FIELDS = ("user_count", "spawn_rate", "host", "run_time", "user_classes", "shape_class", "profile")


def from_another_site() -> bool:
    """By what browsers say of where a request comes from; other programs say nothing, and are no browser with somebody's cookies."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def unknown_field(own: set[str]) -> str | None:
    """A field of a start that is an option of ours and stands in no form: output folders and files to read are for the command line.

    `own`: options that a locustfile of the user's own declares; they are left to it.
    """
    in_form = {option.name.replace("-", "_") for option in OPTIONS if option.in_form}
    allowed = {*LOCUSTS_FIELDS, *in_form, *own}
    return next((name for name in request.form if name not in allowed), None)


def named_file(known: dict[str, list[str]]) -> tuple[str, str] | None:
    """(field, file) where a start names a file that the command line did not: its lines would come back in an error. Names of what comes
    with the product are no files."""
    for field, words_known in known.items():
        for word in words(request.form.get(field, "")):
            if word and word not in words_known and (Path(word).name != word or Path(word).suffix):
                return field, word
    return None


def refused_field(own: set[str], parsed: Any) -> str | None:
    """Why the fields of a start are not taken, or None. `own`: the options that Locust's start form shows; `parsed`: the command line's."""
    if name := unknown_field(own):
        return f"the start form has no field {name!r}: give --{name.replace('_', '-')} on the command line"
    if found := named_file({field: words(getattr(parsed, field, None) or "") for field in FILES}):
        return f"the start form takes names, and {found[0]} names a file, {found[1]!r}: give --{found[0]} on the command line"
    return None


def attach(web_ui: WebUI, base: str) -> None:
    app = flask_app(web_ui)

    @app.before_request
    def turn_strangers_away() -> ResponseReturnValue | None:
        path = request.path.removeprefix(base)
        if (request.method not in ("GET", "HEAD", "OPTIONS") or path in CHANGES) and from_another_site():
            return jsonify({"success": False, "message": "refused: the request comes from a page of another site"}), 403
        return None


def say_where(web_host: str) -> None:
    """Once at the start: who can open the page."""
    if web_host == HERE:
        log.info("the page can be opened on this host only; --web-host 0.0.0.0 opens it to others (with --web-login)")
