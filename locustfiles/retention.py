"""How long the caches keep a prompt: prompts that return after a gap, beside new ones that turn the caches over.

    locust -f locustfiles/retention.py --headless -u 50 -r 50 --host http://127.0.0.1:8000 --gaps 1 2 4 8 16 --background 5000

docs/retention.md says what is sent and how the answer is read.
"""

from locust import task

from locust_kvcache import KVCacheUser


class Retention(KVCacheUser):
    scenario = "retention"

    @task
    def ask(self) -> None:
        self.run_next_session()
