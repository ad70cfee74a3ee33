"""Every prefix unique: nothing can hit in round 1, round 2 repeats it exactly.

    locust -f locustfiles/cold_start.py --headless -u 10 -r 10 --host http://127.0.0.1:8000 --rounds 2

What is sent stands in scenarios/cold_start.yaml.
"""

from locust import task

from locust_kvcache import KVCacheUser


class ColdStart(KVCacheUser):
    scenario = "cold_start"

    @task
    def ask(self) -> None:
        self.run_next_session()
