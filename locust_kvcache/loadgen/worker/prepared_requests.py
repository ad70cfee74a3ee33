"""A worker's requests of one scenario: every text is made and JSON-encoded ahead of the round, and only joined when it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gevent

from locust_kvcache.loadgen.client.connection import Target
from locust_kvcache.loadgen.client.request_bodies import (
    PATHS,
    body_tail,
    chat_body,
    completion_body,
    encode_ids,
    encode_message,
    ids_body,
)
from locust_kvcache.workload.plan import Plan, Session, Turn, planned_cached_tokens
from locust_kvcache.workload.trace import TraceSource, block_ids

LENGTH_KEYS = ("max_tokens", "max_completion_tokens")


@dataclass
class PreparedRequests:
    """The encoded pieces of a worker's share of one scenario; they serve every round, since all rounds send the same.

    `replies` holds the server's own answers of round 1 by request_index, where the scenario carries those.
    """

    plan: Plan
    target: Target
    model: str
    api_key: str | None
    parameters: dict[str, Any]  # stream, max_tokens, ... as this server accepts them
    longest_output: int | None = None  # tokens; shorter than planned in a warm-up
    _blocks: dict[int, bytes] = field(default_factory=dict)  # of a trace: whole blocks, each once however often it is shared
    _prefixes: dict[int, bytes] = field(default_factory=dict)
    _users: dict[int, bytes] = field(default_factory=dict)
    _planned_replies: dict[int, bytes] = field(default_factory=dict)
    replies: dict[int, bytes] = field(default_factory=dict)
    _answered_in: dict[int, int] = field(default_factory=dict)  # round of that answer
    _sent_tokens: dict[int, int] = field(default_factory=dict)  # the server's count of what a next turn carries again

    def prepare(self, session: Session) -> None:
        """Make and encode the texts of a session; yields to the loop between messages."""
        if self.plan.scenario.trace is not None:
            self._prepare_blocks(self.plan.scenario.trace, session.turns[0])
            return
        completions = self.plan.scenario.api == "completions"
        if session.prefix_id not in self._prefixes:
            text = self.plan.prefix_message(session)
            self._prefixes[session.prefix_id] = text.encode() if completions else encode_message("system", text)
        for turn in session.turns:
            if turn.request_index in self._users:
                continue
            text = self.plan.user_message(turn)
            self._users[turn.request_index] = text.encode() if completions else encode_message("user", text)
            if self.plan.scenario.reply == "planned" and turn is not session.turns[-1]:
                self._planned_replies[turn.request_index] = encode_message("assistant", self.plan.planned_reply(turn))
            gevent.sleep(0)

    def _prepare_blocks(self, source: TraceSource, turn: Turn) -> None:
        """Whole blocks are encoded once; the last one of a prompt is cut to its length, and stands with the request."""
        for block in turn.blocks[:-1]:
            if block not in self._blocks:
                self._blocks[block] = encode_ids(block_ids(self.plan.nonce, self.plan.seed, block, source.block_tokens))
        left = turn.prompt_tokens - source.block_tokens * (len(turn.blocks) - 1)
        last = block_ids(self.plan.nonce, self.plan.seed, turn.blocks[-1], source.block_tokens)[:left]
        self._users[turn.request_index] = encode_ids(last)
        gevent.sleep(0)

    def asked_tokens(self, turn: Turn) -> int:
        """Output tokens that a request asks for."""
        planned = self.plan.output_tokens(turn)
        return planned if self.longest_output is None else min(planned, self.longest_output)

    def _tail(self, turn: Turn) -> bytes:
        own: dict[str, Any] = {key: self.asked_tokens(turn) for key in LENGTH_KEYS if key in self.parameters}
        return body_tail({**self.parameters, **own})

    @property
    def carries_answers(self) -> bool:
        """Later turns carry the server's own answers."""
        return self.plan.scenario.reply == "server"

    def needs_answer(self, session: Session, turn: Turn) -> bool:
        """Whether the session's next request cannot be made before this turn's answer is read."""
        return self.carries_answers and turn is not session.turns[-1] and turn.request_index not in self.replies

    def remember(self, turn: Turn, round_number: int, reply: str, prompt_tokens: int | None, output_tokens: int | None) -> None:
        """Keep the server's own answer of the first round; later rounds send it again, so that their requests are the same. Of a user's
        own text, keep how the server counted it too: all but the last token of an answer is in the cache."""
        carries_reply = self.carries_answers
        if carries_reply and turn.request_index not in self.replies:
            self.replies[turn.request_index] = encode_message("assistant", reply)
            self._answered_in[turn.request_index] = round_number
        self._sent_tokens.pop(turn.request_index, None)
        if prompt_tokens is not None and (output_tokens is not None or not carries_reply):
            self._sent_tokens[turn.request_index] = prompt_tokens + (max(0, (output_tokens or 0) - 1) if carries_reply else 0)

    def planned_cached(
        self, session: Session, turn: Turn, round_number: int, repeats: bool, prompt_tokens: int | None, block: int
    ) -> int | None:
        """What an infinite cache would hold of it; `repeats`: an earlier round has sent the same prompts. None where that is unknown: a
        file's turn whose earlier one was not counted here, or a later round that carries an answer which this very round gave."""
        earlier = session.turns[: turn.number - 1]
        if repeats and any(self._answered_in.get(before.request_index) == round_number for before in earlier):
            return None
        sent = self._sent_tokens.get(earlier[-1].request_index) if turn.estimated and earlier else None
        if self.plan.scenario.converses and earlier and sent is None and not repeats:
            return None
        return planned_cached_tokens(turn, repeats, prompt_tokens, block, sent)

    def _answer(self, turn: Turn) -> bytes | None:
        return self.replies.get(turn.request_index, self._planned_replies.get(turn.request_index))

    def request(self, session: Session, turn: Turn) -> bytes | None:
        """The whole HTTP request; None if it must carry an answer that never came."""
        tail, name = self._tail(turn), f"{self.plan.nonce}-{session.session_id}"
        if turn.blocks:
            pieces = [*(self._blocks[block] for block in turn.blocks[:-1]), self._users[turn.request_index]]
            body = ids_body(self.model, pieces, tail)
            return self.target.request_head(PATHS["completions"], len(body), self.api_key, name) + body
        prefix = self._prefixes[session.prefix_id]
        if self.plan.scenario.api == "completions":
            prompt = (prefix + b"\n\n" + self._users[turn.request_index]).decode()
            body = completion_body(self.model, prompt, tail)
        else:
            messages = [prefix]
            for earlier in session.turns[: turn.number - 1]:
                answer = self._answer(earlier)
                if answer is None:
                    return None
                messages += [self._users[earlier.request_index], answer]
            body = chat_body(self.model, [*messages, self._users[turn.request_index]], tail)
        return self.target.request_head(PATHS[self.plan.scenario.api], len(body), self.api_key, name) + body
