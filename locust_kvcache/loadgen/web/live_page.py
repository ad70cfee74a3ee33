"""Serves a page beside Locust's own with the table and chart of the run under way, and its data as JSON.

The page draws by itself from /kvcache/data; it needs nothing from elsewhere, and puts whatever a server said on the page as text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Response, jsonify, request
from locust.web import WebUI

from locust_kvcache.loadgen.master.run_driver import RunDriver
from locust_kvcache.loadgen.typed_locust import flask_app, guarded

PAGE = Path(__file__).with_name("live_page.html")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'self'"
WAY_IN = (
    '<div style="display:flex;gap:16px;padding:6px 24px;background:#f6f8fa;font:14px Roboto,Arial,sans-serif">'
    '<a id="kvcache-start" href="{base}/kvcache/start" style="color:#15803d;font-weight:600">KV cache: start form</a>'
    '<a id="kvcache-link" href="{base}/kvcache" style="color:#15803d;font-weight:600">KV cache: live chart and report</a></div>'
)  # above Locust's page, so that it covers none of its controls


def page_data(driver: RunDriver | None, columns: dict[str, str], base: str) -> dict[str, Any]:
    """All that the page shows; `state` is idle, running, done or incomplete. None in a row: not known, or not carried by the sample."""
    if driver is None or (live := driver.live) is None:
        return {
            "state": "idle",
            "run": None,
            "reason": None,
            "warnings": [],
            "columns": list(columns.items()),
            "rows": [],
            "lines": [],
            "report": None,
        }
    run = driver.run
    reason = run.incomplete_reason if run.finished else None
    return {
        "state": ("incomplete" if reason else "done") if run.finished else "running",
        "run": run.folder.name,
        "reason": reason,
        "warnings": list(run.warnings),
        "columns": list(columns.items()),
        "rows": live.rows(),
        "lines": live.points.lines(),
        "report": report_url(run.folder, base),
    }


def report_url(folder: Path, base: str) -> str | None:
    """Where the run's report is served; None until it is written."""
    return f"{base}/kvcache/report/report.html" if (folder / "report" / "report.html").is_file() else None


def attach(web_ui: WebUI, latest: Callable[[], RunDriver | None], columns: dict[str, str], base: str) -> None:
    """Serve the page behind Locust's login, and put a link to it on Locust's own page; `latest`: the run under way, or the last one."""

    app = flask_app(web_ui)

    def kvcache_page() -> Response:
        html = PAGE.read_text(encoding="utf-8").replace("{base}", base)
        return Response(html, mimetype="text/html", headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})

    def kvcache_data() -> Response:
        return jsonify(page_data(latest(), columns, base))

    app.route(f"{base}/kvcache")(guarded(web_ui, kvcache_page))
    app.route(f"{base}/kvcache/data")(guarded(web_ui, kvcache_data))

    @app.after_request
    def add_way_in(response: Response) -> Response:
        if request.endpoint == "locust.index" and response.status_code == 200 and response.mimetype == "text/html":
            response.set_data(response.get_data(as_text=True).replace("<body>", "<body>" + WAY_IN.format(base=base), 1))
        return response
