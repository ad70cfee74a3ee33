"""Completion and edit tasks on a shared code base, with longer outputs.

    locust -f locustfiles/code_generation.py --headless -u 10 -r 10 --host http://127.0.0.1:8000 --rounds 2

What is sent stands in scenarios/code_generation.yaml.
"""

from locust import task

from locust_kvcache import KVCacheUser


class CodeGeneration(KVCacheUser):
    scenario = "code_generation"

    @task
    def ask(self) -> None:
        self.run_next_session()
