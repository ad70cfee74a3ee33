"""A recorded trace, request by request at its own times: which prompts share which blocks is the trace's, the tokens are made up.

    locust -f locustfiles/trace_replay.py --headless -u 200 -r 200 --host http://127.0.0.1:8000 --trace conversation_trace.jsonl

docs/traces.md says what a replay keeps and what it changes.
"""

from locust import task

from locust_kvcache import KVCacheUser


class TraceReplay(KVCacheUser):
    scenario = "trace_replay"

    @task
    def ask(self) -> None:
        self.run_next_session()
