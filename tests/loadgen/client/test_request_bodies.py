"""Bodies of requests from encoded pieces."""

from __future__ import annotations

import json

from locust_kvcache.loadgen.client.request_bodies import encode_message, folded


def test_a_system_text_stands_in_front_of_the_users_word_for_word() -> None:
    system, user = 'Say "content": "no"\n\\ é', '"content": "yes" \n'
    message = json.loads(folded(encode_message("system", system), encode_message("user", user)))
    assert message == {"role": "user", "content": f"{system}\n\n{user}"}
