"""A locustfile of your own, in any folder: the plan's users beside your own tasks and ordinary Locust users.

    locust -f own_locustfile.py --host http://SERVER:8000 --headless -u 6 -r 6

Six users: one `HealthCheck` (its fixed_count), and `Assistant` and `Browser` three to two by weight. Only `Assistant` users send the
plan's requests; they alone are counted in the run's `users` and waited for. What the others send to the same server is named in
run.json (`foreign_users`, `foreign_requests` of each round) and in the report's caveats: it is load that no plan knows of.
"""

from __future__ import annotations

from locust import FastHttpUser, HttpUser, between, constant, tag, task

from locust_kvcache import KVCacheUser


class Assistant(KVCacheUser):
    """Sends the sessions of a scenario. Your own wait_time makes users pause between sessions: the load is lower, never lost."""

    scenario = "cold_start"  # without it --scenarios names what is sent, by name or by path
    wait_time = between(0.01, 0.05)
    weight = 3

    @task(10)
    @tag("plan")
    def ask(self) -> None:
        self.run_next_session()  # blocks while no round is under way

    @task
    @tag("plan", "extra")
    def think(self) -> None:
        """A task of your own: anything; while it runs, this user takes no session."""


class Browser(HttpUser):
    """An ordinary Locust user on the same server: foreign load."""

    wait_time = constant(0.1)
    weight = 2

    @task
    @tag("plan", "browse")
    def models(self) -> None:
        self.client.get("/v1/models")


class HealthCheck(FastHttpUser):
    """One user, however many there are of the others."""

    wait_time = constant(0.2)
    fixed_count = 1

    @task
    @tag("plan", "browse")
    def health(self) -> None:
        self.client.get("/v1/models", name="health")
