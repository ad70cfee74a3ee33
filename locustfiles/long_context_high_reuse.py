"""Long documents, several questions on each; the document is shared word for word.

    locust -f locustfiles/long_context_high_reuse.py --headless -u 10 -r 10 --host http://127.0.0.1:8000 --rounds 2

What is sent stands in scenarios/long_context_high_reuse.yaml.
"""

from locust import task

from locust_kvcache import KVCacheUser


class LongContextHighReuse(KVCacheUser):
    scenario = "long_context_high_reuse"

    @task
    def ask(self) -> None:
        self.run_next_session()
