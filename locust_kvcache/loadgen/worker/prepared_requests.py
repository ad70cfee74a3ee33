"""Prepares a worker's requests of one scenario: texts are made and JSON-encoded before they are needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.loadgen.client.request_bodies import (
    HEADERS,
    PATHS,
    TOOL,
    body_tail,
    completion_body,
    encode_answer,
    encode_ids,
    encode_message,
    encode_turn,
    folded,
    ids_body,
    messages_body,
)
from locust_kvcache.loadgen.client.target import Target
from locust_kvcache.loadgen.worker.session_headers import SessionHeaders
from locust_kvcache.loadgen.worker.shared_texts import SHARED_BYTES, SharedTexts
from locust_kvcache.workload.apis import COMPLETIONS
from locust_kvcache.workload.plan import Plan, Session, Turn, planned_cached_tokens
from locust_kvcache.workload.steps import Steps, finished
from locust_kvcache.workload.traces.block_text import block_ids

END_OF_REASONING = "</think>"  # in an answer's text: chat templates leave what is before it out of the history
LENGTH_KEYS = ("max_tokens", "max_completion_tokens")


def calling_turns(session: Session) -> set[int]:
    """The turns whose answers call a tool: a message of role tool follows."""
    return {turn.carried[-1] for turn in session.turns if turn.role == TOOL}


@dataclass(frozen=True)
class SessionTexts:
    """The encoded pieces of a session's requests: bytes that several sessions share are one object."""

    session: Session
    prefix: bytes  # of a trace: empty
    users: tuple[bytes, ...]  # by turn; of a trace: the last block, cut to the prompt's length
    replies: tuple[bytes, ...] = ()  # planned answers of all turns but the last, where the scenario carries those
    blocks: tuple[tuple[bytes, ...], ...] = ()  # of a trace, by turn: the whole ones


@dataclass
class PreparedRequests:
    """A worker's share of one scenario. The encoded pieces serve every round, since all rounds send the same; where there are too many to
    keep (`few`), they are dropped when they are sent, and made again.

    `replies` holds the server's own answers of round 1 by request_index, where the scenario carries those.
    """

    plan: Plan
    target: Target
    model: str
    api_key: str | None
    parameters: dict[str, Any]  # stream, max_tokens, ... as this server accepts them
    longest_output: int | None = None  # tokens; shorter than planned in a warm-up
    fold_system: bool = False
    few: int | None = None  # sessions whose texts are kept at once; None: all
    _texts: dict[int, SessionTexts] = field(default_factory=dict)  # by session_id
    _shared: SharedTexts = field(default_factory=SharedTexts)  # prefixes, or the whole blocks of a trace
    replies: dict[int, bytes] = field(default_factory=dict)
    session_headers: SessionHeaders = field(init=False)
    _answered_in: dict[int, int] = field(default_factory=dict)  # round of that answer
    _sent_tokens: dict[int, int] = field(default_factory=dict)  # the server's count of what a next turn carries again

    def __post_init__(self) -> None:
        self.session_headers = SessionHeaders(self.plan, self.target)

    def keep_few(self, sessions: int) -> None:
        """From now on a session's texts are dropped when they are sent; about so many sessions are kept ready."""
        self.few = sessions
        self._shared.most_bytes = SHARED_BYTES

    def has(self, session_id: int) -> bool:
        return session_id in self._texts

    def session(self, session_id: int) -> Session:
        texts = self._texts.get(session_id)
        return texts.session if texts is not None else self.plan.sessions[session_id]

    def prepare(self, session: Session) -> None:
        """Make and encode the texts of a session now."""
        finished(self.making(session))

    def making(self, session: Session) -> Steps[None]:
        """The same in short steps."""
        if session.session_id in self._texts:
            return
        if self.plan.scenario.trace is not None:
            self._texts[session.session_id] = yield from self._making_blocks(self.plan.scenario.trace.block_tokens or 1, session)
            return
        api = self.plan.scenario.api
        completions = api == COMPLETIONS
        prefix = self._shared.get(session.prefix_id)
        if prefix is None:
            text = yield from self.plan.prefix_steps(session)
            prefix = self._shared.keep(session.prefix_id, text.encode() if completions else encode_message("system", text))
            yield
        users, replies = list[bytes](), list[bytes]()
        calling = calling_turns(session)
        planned_replies = self.plan.scenario_of(session.session_id).reply == "planned"
        for turn in session.turns:
            text = yield from self.plan.user_steps(turn)
            users.append(text.encode() if completions else encode_turn(turn, text, api))
            if planned_replies and turn is not session.turns[-1]:
                replies.append(encode_answer(turn, (yield from self.plan.reply_steps(turn)), turn.number in calling, api))
            yield
        self._texts[session.session_id] = SessionTexts(session, prefix, tuple(users), tuple(replies))

    def _making_blocks(self, block_tokens: int, session: Session) -> Steps[SessionTexts]:
        """Whole blocks are encoded once; the last one of a prompt is cut to its length, and stands with the request."""
        ends, blocks = list[bytes](), list[tuple[bytes, ...]]()
        for turn in session.turns:
            whole: list[bytes] = []
            for block in turn.blocks[:-1]:
                found = self._shared.get(block)
                if found is None:
                    ids = block_ids(self.plan.nonce, self.plan.seed, block, block_tokens)
                    found = self._shared.keep(block, encode_ids(ids))
                    yield
                whole.append(found)
            left = turn.prompt_tokens - block_tokens * (len(turn.blocks) - 1)
            last = block_ids(self.plan.nonce, self.plan.seed, turn.blocks[-1], block_tokens)[:left]
            ends.append(encode_ids(last))
            blocks.append(tuple(whole))
            yield
        return SessionTexts(session, b"", tuple(ends), blocks=tuple(blocks))

    def asked_tokens(self, turn: Turn) -> int:
        """Output tokens that a request asks for."""
        planned = self.plan.output_tokens(turn)
        return planned if self.longest_output is None else min(planned, self.longest_output)

    def _tail(self, turn: Turn) -> bytes:
        return body_tail({**self.parameters, **self._own_parameters(turn)}, self.plan.scenario.api)

    def _own_parameters(self, turn: Turn) -> dict[str, Any]:
        """What a request asks for itself: the length of its answer, and where tenants differ, what else they want."""
        own: dict[str, Any] = {key: self.asked_tokens(turn) for key in LENGTH_KEYS if key in self.parameters}
        scenario = self.plan.scenario_of(turn.session_id)
        if self.plan.tenants:
            wanted = {"temperature": scenario.temperature, "ignore_eos": scenario.ignore_eos}
            own |= {key: value for key, value in wanted.items() if key in self.parameters}
        return own | scenario.identity.body(self.plan.names(turn.session_id))

    def labels(self, turn: Turn) -> dict[str, Any]:
        """What a record says of a request beside its sizes: whose it is, and what it told routers and engines."""
        fields = {**self.parameters, **self._own_parameters(turn)}
        found = {key: fields.get(key) for key in ("cache_salt", "priority")}
        tenant = self.plan.scenario_of(turn.session_id).identity.tenant or None
        return {**found, "tenant": tenant, "sent_headers": self.session_headers.sent(turn)}

    def carries_answers(self, session_id: int) -> bool:
        """Later turns of the session carry the server's own answers."""
        return self.plan.scenario_of(session_id).reply == "server"

    def needs_answer(self, session: Session, turn: Turn) -> bool:
        """Whether the session's next request cannot be made before this turn's answer is read."""
        return (
            self.carries_answers(session.session_id) and turn is not session.turns[-1] and turn.request_index not in self.replies
        )

    def remember(
        self,
        turn: Turn,
        round_number: int,
        reply: str,
        prompt_tokens: int | None,
        output_tokens: int | None,
        all_visible: bool = True,
    ) -> None:
        """Keep the server's own answer of the first round; later rounds send it again, so that their requests are the same. Of a user's
        own text, keep how the server counted it too: all but the last token of an answer is in the cache. Where the answer had more than
        `reply`, such as reasoning, later turns do not carry that: only the prompt before it stays a prefix."""
        carries_reply = self.carries_answers(turn.session_id)
        if carries_reply and turn.request_index not in self.replies:
            calls = turn.number in calling_turns(self.session(turn.session_id))
            self.replies[turn.request_index] = encode_answer(turn, reply, calls, self.plan.scenario.api)
            self._answered_in[turn.request_index] = round_number
        self._sent_tokens.pop(turn.request_index, None)
        partly = carries_reply and (not all_visible or END_OF_REASONING in reply)
        if partly and prompt_tokens is not None:
            self._sent_tokens[turn.request_index] = prompt_tokens
        elif turn.estimated and prompt_tokens is not None and (output_tokens is not None or not carries_reply):
            self._sent_tokens[turn.request_index] = prompt_tokens + (max(0, (output_tokens or 0) - 1) if carries_reply else 0)

    def forget(self, session: Session) -> None:
        """A session of a timed round is through, and does not come again: answers that were kept for its later turns go."""
        for turn in session.turns:
            for kept in (self.replies, self._answered_in, self._sent_tokens):
                kept.pop(turn.request_index, None)

    def planned_cached(
        self, session: Session, turn: Turn, round_number: int, repeats: bool, prompt_tokens: int | None, block: int
    ) -> int | None:
        """What an infinite cache would hold of it; `repeats`: an earlier round has sent the same prompts. None where that is unknown: a
        file's turn whose earlier one was not counted here, or a later round that carries an answer which this very round gave."""
        earlier = [session.turns[number - 1] for number in turn.carried]
        if repeats and any(self._answered_in.get(before.request_index) == round_number for before in earlier):
            return None
        on_the_last = bool(earlier) and turn.shares_prefix_with == earlier[-1].request_index
        sent = self._sent_tokens.get(earlier[-1].request_index) if on_the_last else None
        if self.plan.scenario_of(session.session_id).converses and earlier and sent is None and not repeats:
            return None
        return planned_cached_tokens(turn, repeats, prompt_tokens, block, sent)

    def _answer(self, texts: SessionTexts, turn: Turn) -> bytes | None:
        planned = texts.replies[turn.number - 1] if texts.replies else None
        return self.replies.get(turn.request_index, planned)

    def request(self, session: Session, turn: Turn) -> bytes | None:
        """The whole HTTP request; None if it must carry an answer that never came. The session's texts are there but for one that a lost
        worker had and that was released before it was made. Where few are kept, they are dropped with the last request."""
        if session.session_id not in self._texts:
            self.prepare(session)
        texts = self._texts[session.session_id]
        if self.few is not None and turn is session.turns[-1]:
            del self._texts[session.session_id]
        body = self._body(texts, turn)
        if body is None:
            return None
        api = self.plan.scenario.api
        headers = self.session_headers.of(turn)
        return self.target.request_head(PATHS[api], len(body), self.api_key, headers, HEADERS.get(api, ())) + body

    def _body(self, texts: SessionTexts, turn: Turn) -> bytes | None:
        api = self.plan.scenario.api
        tail, own = self._tail(turn), texts.users[turn.number - 1]
        if turn.blocks:
            return ids_body(self.model, [*texts.blocks[turn.number - 1], own], tail, api)
        if api == COMPLETIONS:
            return completion_body(self.model, (texts.prefix + b"\n\n" + own).decode(), tail)
        messages = [texts.prefix]
        for number in turn.carried:
            answer = self._answer(texts, texts.session.turns[number - 1])
            if answer is None:
                return None
            messages += [texts.users[number - 1], answer]
        messages.append(own)
        if self.fold_system:
            messages[:2] = [folded(messages[0], messages[1])]
        return messages_body(self.model, messages, tail, api)
