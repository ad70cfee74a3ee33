"""Serves a start form for KV cache runs at /kvcache/start: options in groups, lists of what exists, a dry run beside the button.

The form starts a run as Locust's own does, by a POST to /swarm, which is checked in the same way. The dry run sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue
from locust.env import Environment

from locust_kvcache.contract.deployment import CONFIGS
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.dry_run.text import dry_run_text
from locust_kvcache.loadgen.options.declared import OPTIONS
from locust_kvcache.loadgen.options.load_options import check_users
from locust_kvcache.loadgen.options.option import GROUPS, Option
from locust_kvcache.loadgen.options.resolve import plan_job
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.typed_locust import flask_app, guarded
from locust_kvcache.workload.scenario_file import available_scenarios

PAGE = Path(__file__).with_name("start_page.html")
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; form-action 'none'; "
    "frame-ancestors 'self'"
)


def _deployments() -> list[str]:
    """Names of the deployment files that come with the product."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if "\nendpoint:" in f"\n{path.read_text(encoding='utf-8')}")


LIST_OF: dict[str, Callable[[], list[str]]] = {"scenarios": available_scenarios, "deployment": _deployments}


def fields(parsed: dict[str, Any]) -> list[dict[str, Any]]:
    """The options of the form by group, each with the command line's value: what an empty field means."""
    shown = [option for option in OPTIONS if option.in_form]
    return [
        {"group": group, "fields": [_field(option, parsed) for option in shown if option.group == group]}
        for group in GROUPS
        if any(option.group == group for option in shown)
    ]


def _field(option: Option, parsed: dict[str, Any]) -> dict[str, Any]:
    name = option.name.replace("-", "_")
    value = parsed.get(name)
    given = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return {
        "name": name,
        "label": option.name.replace("-", " "),
        "help": option.help,
        "default": option.default_text,
        "value": given if isinstance(given, bool) else "" if given is None else str(given),
        "choices": list(option.choices),
        "known": LIST_OF[name]() if name in LIST_OF else [],
        "many": option.many,
        "flag": option.flag,
    }


def planned(options: Callable[[], Options], loaded: list[str], host: str | None) -> str:
    """What --dry-run would print of this form; the reason where the form is refused."""
    try:
        return _dry_run(options(), loaded, host, users_of_form())
    except BadInput as error:
        return f"error: {error}"


def _dry_run(options: Options, loaded: list[str], host: str | None, users: int) -> str:
    return dry_run_text(options, *plan_job(options, loaded, host), users)


def attach(
    environment: Environment,
    base: str,
    refused: Callable[[], str | None],
    planned_now: Callable[[], str],
    running: Callable[[], bool],
) -> None:
    """`refused`: why the fields of this request are not taken, or None; `planned_now`: the dry run of its form."""
    web_ui: Any = environment.web_ui
    app = flask_app(web_ui)

    def start_page() -> Response:
        html = PAGE.read_text(encoding="utf-8").replace("{base}", base)
        return Response(html, mimetype="text/html", headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})

    def form() -> Response:
        parsed = vars(environment.parsed_options)
        return jsonify(
            {
                "groups": fields(parsed),
                "host": environment.host or "",
                "users": parsed.get("num_users") or 1,
                "spawn_rate": parsed.get("spawn_rate") or 1,
                "running": running(),
            }
        )

    def dry_run() -> ResponseReturnValue:
        if running():
            return jsonify({"text": "A run is under way: plan the next one when it has ended."})
        if why := refused():
            return jsonify({"text": f"error: {why}"})
        return jsonify({"text": planned_now()})

    app.route(f"{base}/kvcache/start")(guarded(web_ui, start_page))
    app.route(f"{base}/kvcache/form")(guarded(web_ui, form))
    app.route(f"{base}/kvcache/dry-run", methods=["POST"])(guarded(web_ui, dry_run))


def users_of_form() -> int:
    """BadInput if it is no number of users; 1 where the form has none."""
    count = request.form.get("user_count") or "1"
    check_users(count, None)
    return int(count)
