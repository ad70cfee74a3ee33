"""Requests that are not the plan's: those to the server under test are counted by class, while a round runs."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import gevent
from locust import HttpUser
from locust.env import Environment

from locust_kvcache.loadgen.run.foreign_load import foreign_text
from locust_kvcache.loadgen.worker.foreign_load import ForeignLoad

SERVER = "http://h:8000"


class Browser(HttpUser):
    host = SERVER


def test_only_others_requests_to_this_server_count() -> None:
    environment = Environment(user_classes=[Browser])
    load, fire = ForeignLoad(environment), environment.events.request.fire
    fire(url=f"{SERVER}/v1/models", context={})  # before the round
    load.begin(f"{SERVER}/base")
    for url, context in (
        (f"{SERVER}/v1/models", {}), ("http://h:8001/", {}), ("https://h/", None), (f"{SERVER}/v1/chat", {"record": object()}),
    ):  # fmt: skip
        fire(url=url, context=context)
    gevent.spawn(lambda user: fire(context={}), Browser(environment)).join()  # no URL: by the user's host
    assert load.end() == {"unknown": 1, "Browser": 1}
    fire(url=f"{SERVER}/v1/models", context={})
    assert load.end() == {}


def test_the_warning_sums_up_the_rounds() -> None:
    rounds = [{"foreign_requests": {"Browser": 3}}, {"foreign_requests": {"Browser": 1200, "Api": 1}}, {}]
    text = foreign_text(rounds, {"Browser": 2, "Api": 1})
    assert text is not None
    assert "Api (1 users) 1, Browser (2 users) 1,203" in text
    assert foreign_text([{}, {"foreign_requests": {}}], {"Browser": 2}) is None
