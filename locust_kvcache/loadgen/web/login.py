"""Requires a login for Locust's page with `--web-login`: one user name and password, from the environment.

Locust brings the login page and guards its routes; who may enter is left to the locustfile, so this is it.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets

import gevent
from flask import redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import UserMixin, login_user
from locust.web import WebUI

from locust_kvcache.loadgen.typed_locust import flask_app

USER_VARIABLE, PASSWORD_VARIABLE = "KV_WEB_USER", "KV_WEB_PASSWORD"
DEFAULT_USER = "locust"
WRONG_PASSWORD_DELAY_S = 1.0

log = logging.getLogger(__name__)


class _Person(UserMixin):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.id = name


def attach(web_ui: WebUI, base: str) -> None:
    """Wire the login where `--web-login` and a password are given; `base`: the path below which Locust's page is served."""
    if not web_ui.web_login:
        return
    user, password = os.environ.get(USER_VARIABLE, DEFAULT_USER), os.environ.get(PASSWORD_VARIABLE, "")
    if not password:
        log.warning(
            "--web-login: %s is not set, so nobody can log in unless your own locustfile wires a login", PASSWORD_VARIABLE
        )
        return
    app = flask_app(web_ui)
    app.secret_key = app.secret_key or secrets.token_hex(32)
    web_ui.auth_args = {"title": "locust-kvcache", "username_password_callback": f"{base}/login_submit"}  # type: ignore[typeddict-unknown-key]

    web_ui.login_manager.user_loader(lambda name: _Person(name) if name == user else None)

    @app.route(f"{base}/login_submit", methods=["POST"])
    def login_submit() -> ResponseReturnValue:
        given = (request.form.get("username", ""), request.form.get("password", ""))
        right = [hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(given, (user, password), strict=True)]
        if all(right):
            login_user(_Person(user))
            return redirect(url_for("locust.index"))
        gevent.sleep(WRONG_PASSWORD_DELAY_S)
        session["auth_error"] = "wrong user name or password"
        return redirect(url_for("locust.login"))
