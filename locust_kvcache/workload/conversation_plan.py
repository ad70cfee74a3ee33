"""Plans the sessions of a file's conversations: the content of each turn, and the part that an earlier turn sent."""

from __future__ import annotations

import random

from locust_kvcache.workload.corpus import Corpus
from locust_kvcache.workload.estimate import estimated_tokens
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.turn import Session, Turn


def conversation_sessions(scenario: Scenario, corpus: Corpus, seed: int) -> tuple[Session, ...]:
    """A session per conversation of the file, each behind a header of its own; the last one is cut where the requests end."""
    rng = random.Random(f"{seed}/{scenario.name}/outputs")
    think_rng = random.Random(f"{seed}/{scenario.name}/think")
    sessions, index = [], 0
    for number, said in enumerate(corpus.conversations):
        if index == scenario.requests:
            break
        turns: list[Turn] = []
        prompt = estimated_tokens(said.system)
        for place, text in enumerate(said.users[: scenario.requests - index], 1):
            output = scenario.output_lengths.draw(rng) if scenario.output_lengths else None
            shared, source, answered = 0, None, 0
            if turns:
                planned = turns[-1].output_tokens or scenario.output_tokens
                answered = planned if scenario.reply == "server" else estimated_tokens(said.replies[place - 2])
                shared, source = prompt + (planned if scenario.reply == "server" else 0), turns[-1].request_index
            user = estimated_tokens(text)
            prompt += answered + user
            wait_s = scenario.gaps.of(scenario.think_time.draw(place, think_rng))
            turns.append(
                Turn(index + place - 1, number, place, user, prompt, shared, source, output, wait_s=wait_s, estimated=True)
            )
        sessions.append(Session(number, number, tuple(turns)))
        index += len(turns)
    return tuple(sessions)
