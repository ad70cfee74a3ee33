"""Conversations that grow: turn k carries turns 1..k-1 and waits for the answer before it.

    locust -f locustfiles/multi_turn_conversation.py --headless -u 10 -r 10 --host http://127.0.0.1:8000 --rounds 2

What is sent stands in scenarios/multi_turn_conversation.yaml.
"""

from locust import task

from locust_kvcache import KVCacheUser


class MultiTurnConversation(KVCacheUser):
    scenario = "multi_turn_conversation"

    @task
    def ask(self) -> None:
        self.run_next_session()
