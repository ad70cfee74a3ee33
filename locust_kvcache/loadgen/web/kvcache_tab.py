"""Adds a "KV cache" tab to Locust's page, checks its start form, and serves the report when it is made.

Uses what Locust's page offers: extended tabs and tables by `template_args`, their rows by the answer to /stats/requests.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from flask import Response, abort, jsonify, request, send_from_directory
from flask.typing import ResponseReturnValue
from locust import User
from locust.argument_parser import ui_extra_args_dict
from locust.env import Environment
from locust.web import WebUI

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.master.coordinator import Coordinator
from locust_kvcache.loadgen.master.run_driver import RunDriver
from locust_kvcache.loadgen.master.user_classes import scenarios_of
from locust_kvcache.loadgen.options.load_options import check_users
from locust_kvcache.loadgen.options.run_options import Options, read_options
from locust_kvcache.loadgen.typed_locust import flask_app, guarded
from locust_kvcache.loadgen.web.guard import attach as attach_guard
from locust_kvcache.loadgen.web.guard import refused_field, say_where
from locust_kvcache.loadgen.web.live_page import attach as attach_page
from locust_kvcache.loadgen.web.live_page import report_url
from locust_kvcache.loadgen.web.login import attach as attach_login
from locust_kvcache.loadgen.web.start_form import attach as attach_start
from locust_kvcache.loadgen.web.start_form import planned

KEY = "kv-cache"
COLUMNS = {
    "scenario": "Scenario",
    "round": "Round",
    "planned": "Planned",
    "done": "Done",
    "failed": "Failed",
    "ttft_p50_ms": "TTFT P50 (ms)",
    "ttft_p90_ms": "TTFT P90 (ms)",
    "ttft_p99_ms": "TTFT P99 (ms)",
    "tpot_p50_ms": "TPOT P50 (ms)",
    "tpot_p90_ms": "TPOT P90 (ms)",
    "tpot_p99_ms": "TPOT P99 (ms)",
    "hit_percent": "Hit rate, reported (% of tokens)",
    "ttft_reduction_percent": "TTFT P50 below round 1 (%)",
    "client_limited": "Client-limited requests",
    "note": "Note",
}
DASH = "-"


def table_rows(driver: RunDriver | None, base: str = "") -> list[dict[str, Any]]:
    """One row per scenario and round of the run under way or the last one; a dash for what is not known yet.

    `base`: the path below which Locust's page is served (`--web-base-path`).
    """
    if driver is None or driver.live is None:
        return []
    rows = []
    for index, row in enumerate(driver.live.rows()):
        rows.append(
            {key: _cell(row[key]) for key in COLUMNS if key != "note"}
            | {"note": _note(row), "name": f"{index:04d}"}  # Locust's page sorts by it
        )
    if rows:
        report = [f"report: {url}"] if (url := report_url(driver.run.folder, base)) else []
        rows[-1]["note"] = "; ".join(text for text in (rows[-1]["note"], *driver.run.warnings, *report) if text)
    return rows


def _note(row: dict[str, Any]) -> str:
    texts = []
    if row["client_limited"]:
        texts.append(f"{row['client_limited']} requests may be mistimed: more workers (--processes)")
    if row["hit_unreported"] and row["hit_percent"] is not None:
        texts.append(f"{row['hit_unreported']} requests without cached tokens are not in the hit rate")
    return "; ".join(texts)


def _cell(value: Any) -> Any:
    if value is None:
        return DASH
    return round(value, 1) if isinstance(value, float) else value


def _chosen_classes(environment: Environment) -> list[type[User]]:
    """Those that the class picker names, else the loaded ones."""
    known: Any = environment.available_user_classes or {}  # Locust types its values as users; they are classes
    return [known[name] for name in request.form.getlist("user_classes") if name in known] or list(environment.user_classes)


def options_of_form(environment: Environment) -> Options:
    """The command line's options with the form's values; BadInput if they are not usable."""
    parsed = vars(environment.parsed_options)
    given = {
        key: (value == "true" if isinstance(parsed[key], bool) else value) for key, value in request.form.items() if key in parsed
    }
    return read_options(argparse.Namespace(**{**parsed, **given}))


def refused(environment: Environment, coordinator: Coordinator) -> str | None:
    """Why the form cannot be started, or None: the same checks as a headless start, before any user exists."""
    try:
        check_users(request.form.get("user_count"), request.form.get("spawn_rate"))
        options = options_of_form(environment)
        coordinator.check(options, request.form.get("host") or environment.host, _chosen_classes(environment))
    except BadInput as error:
        return str(error)
    return None


def _let_in() -> ResponseReturnValue | None:
    """The view of somebody who has logged in: nothing stands in the way."""
    return None


def attach(environment: Environment, coordinator: Coordinator) -> None:
    """Only where there is a web UI; nothing here runs while the page is not open."""
    web_ui = environment.web_ui
    if web_ui is None:
        return
    base = (getattr(environment.parsed_options, "web_base_path", None) or "").rstrip("/")
    attach_guard(web_ui, base)
    in_form, named = (
        set(ui_extra_args_dict()),
        argparse.Namespace(**vars(environment.parsed_options)),
    )  # as the command line has them

    def why_not() -> str | None:
        return refused_field(in_form, named)

    say_where(environment.parsed_options.web_host)  # type: ignore[union-attr]
    attach_login(web_ui, base)
    attach_page(web_ui, lambda: coordinator.driver, COLUMNS, base)
    attach_start(environment, base, why_not, lambda: _dry_run(environment), lambda: _running(coordinator))
    _check_starts(environment, coordinator, base, why_not)
    _attach_tab(web_ui, coordinator, base)


def _dry_run(environment: Environment) -> str:
    """Of the form that this request holds."""
    loaded, host = scenarios_of(_chosen_classes(environment)), request.form.get("host") or environment.host
    return planned(lambda: options_of_form(environment), loaded, host)


def _running(coordinator: Coordinator) -> bool:
    return coordinator.driver is not None and not coordinator.driver.run.finished


def _check_starts(environment: Environment, coordinator: Coordinator, base: str, why_not: Callable[[], str | None]) -> None:
    """Refuse a start whose form is not usable, before Locust sees it."""
    web_ui: Any = environment.web_ui

    @flask_app(web_ui).before_request
    def check_form() -> ResponseReturnValue | None:
        if request.path != f"{base}/swarm" or request.method != "POST":
            return None
        if (turned_away := guarded(web_ui, _let_in)()) is not None:
            return turned_away  # nothing of the form is read, and nothing said of it, before the login
        if why := why_not():
            return jsonify({"success": False, "message": why}), 400
        if why := refused(environment, coordinator):
            return jsonify({"success": False, "message": why, "host": environment.host})
        return None


def _attach_tab(web_ui: WebUI, coordinator: Coordinator, base: str) -> None:
    """The tab with the run's rows, and the files of its report."""
    app = flask_app(web_ui)
    structure = [{"key": key, "title": title} for key, title in COLUMNS.items()]
    web_ui.template_args |= {
        "extended_tabs": [{"title": "KV cache", "key": KEY}],
        "extended_tables": [{"key": KEY, "structure": structure}],
        "extended_csv_files": [],
    }

    @app.after_request
    def add_rows(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.status_code == 200 and response.is_json:
            extended = [{"key": KEY, "data": table_rows(coordinator.driver, base)}]
            response.set_data(json.dumps({**response.get_json(), "extended_stats": extended}))
        return response

    def report(name: str) -> Response:
        """Files of the last run's report, and of no other folder."""
        if coordinator.driver is None:
            abort(404)
        return send_from_directory((coordinator.driver.run.folder / "report").resolve(), name)

    app.route(f"{base}/kvcache/report/<path:name>")(guarded(web_ui, report))
