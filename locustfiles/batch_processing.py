"""One instruction prefix over many short, different items; run it with many users.

    locust -f locustfiles/batch_processing.py --headless -u 10 -r 10 --host http://127.0.0.1:8000 --rounds 2

What is sent stands in scenarios/batch_processing.yaml.
"""

from locust import task

from locust_kvcache import KVCacheUser


class BatchProcessing(KVCacheUser):
    scenario = "batch_processing"

    @task
    def ask(self) -> None:
        self.run_next_session()
