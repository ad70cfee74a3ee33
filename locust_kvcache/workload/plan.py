"""Defines the Plan: the sessions of one scenario, their turns, and the text of every message.

Nothing of a plan is ever sent to a worker: every process computes the same one from (scenario, calibration, nonce, seed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from locust_kvcache.workload.corpus import Corpus
from locust_kvcache.workload.endless import EndlessSessions
from locust_kvcache.workload.lazy_sessions import LazySessions, LazyTurns
from locust_kvcache.workload.mixed_sessions import MixedSessions
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.steps import Steps, finished
from locust_kvcache.workload.text import piece_cost, text_steps
from locust_kvcache.workload.traces.trace_sessions import TraceSessions
from locust_kvcache.workload.turn import Session, Turn, planned_cached_tokens

__all__ = ["Calibration", "Message", "Plan", "Session", "Turn", "header", "planned_cached_tokens"]

Message = dict[str, str]


@dataclass(frozen=True)
class Calibration:
    """How the server counts: what a word costs, what a piece of text costs beside its words, and what its chat template adds."""

    tokens_per_piece: dict[str, float]  # by kind of text, beside the words
    word_tokens: dict[str, float]  # words that do not cost `other_word_tokens`
    other_word_tokens: float  # 0 where words were not counted one by one: then tokens_per_piece holds all
    template_tokens: float  # a system message with only the header, and an empty user message
    exchange_tokens: float  # an assistant and a user message more, with no text
    source: str  # tokenize | usage | assumed

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """All sessions of one scenario, and the text of every message as a pure function of (nonce, seed, key)."""

    scenario: Scenario
    calibration: Calibration
    nonce: str
    seed: int
    sessions: Sequence[Session]
    corpus: Corpus | None = None
    tenants: tuple[Plan, ...] = ()  # whose sessions these are, mixed

    def with_nonce(self, nonce: str) -> Plan:
        """The same sizes, other texts."""
        return replace(self, nonce=nonce, tenants=tuple(part.with_nonce(nonce) for part in self.tenants))

    def part(self, session_id: int) -> tuple[Plan, int]:
        """The plan that a session is of, and its number there: the tenant's own, that of a pass of an endless plan, else this one."""
        if isinstance(self.sessions, EndlessSessions):
            one_pass, inner = self.sessions.of(session_id)
            return one_pass.part(inner)
        if not isinstance(self.sessions, MixedSessions):
            return self, session_id
        tenant, inner = self.sessions.part_of(session_id)
        return self.tenants[tenant], inner

    @property
    def sent_parts(self) -> tuple[Plan, ...]:
        """The plans of the tenants that are sent; itself where there are none."""
        only = self.scenario.only
        return tuple(part for part in self.tenants if only in ("", part.scenario.identity.tenant)) or (self,)

    def scenario_of(self, session_id: int) -> Scenario:
        return self.part(session_id)[0].scenario

    def names(self, session_id: int) -> dict[str, str]:
        """What stands for {session}, {user} and {tenant} in a session's requests."""
        part, inner = self.part(session_id)
        return part.scenario.identity.names(self.nonce, session_id, inner)

    @property
    def requests(self) -> int:
        return self.scenario.requests

    @cached_property
    def turns(self) -> Sequence[Turn]:
        if isinstance(self.sessions, LazySessions):
            return LazyTurns(self.sessions)
        return tuple(turn for session in self.sessions for turn in session.turns)

    def prompts(self) -> Iterator[Sequence[int]]:
        """The planned prompt tokens of each turn, session by session; for a million of them much cheaper than the turns are."""
        if isinstance(self.sessions, LazySessions):
            return self.sessions.prompts()
        return (tuple(turn.prompt_tokens for turn in session.turns) for session in self.sessions)

    @cached_property
    def prompt_tokens(self) -> int:
        """Of all requests together."""
        return sum(map(sum, self.prompts()))

    @property
    def all_output_tokens(self) -> int:
        """Of all requests together."""
        if isinstance(self.sessions, LazySessions):
            return self.sessions.output_tokens
        return sum(map(self.output_tokens, self.turns))

    @property
    def prefixes(self) -> int:
        """Different ones that are sent."""
        if isinstance(self.sessions, LazySessions):
            return self.sessions.prefixes
        return len({session.prefix_id for session in self.sessions})

    def requests_of(self, session: int) -> range:
        """The request_index of each of its turns."""
        if isinstance(self.sessions, LazySessions):
            return self.sessions.requests_of(session)
        turns = self.sessions[session].turns
        return range(turns[0].request_index, turns[-1].request_index + 1)

    @cached_property
    def due_s(self) -> Sequence[float] | None:
        """Due time of each session by a trace; None where an arrival process decides."""
        return self.sessions.due_s if isinstance(self.sessions, TraceSessions) else None

    def output_tokens(self, turn: Turn) -> int:
        return turn.output_tokens or self.scenario.output_tokens

    @cached_property
    def _costs(self) -> dict[str, Callable[[str], float]]:
        known = self.calibration
        return {
            kind: piece_cost(per_piece, known.word_tokens, known.other_word_tokens)
            for kind, per_piece in known.tokens_per_piece.items()
        }

    def _text(self, kind: str, tokens: float, key: str) -> Steps[str]:
        return text_steps(kind, tokens, self._costs[kind], f"{self.nonce}/{self.seed}/{self.scenario.name}/{key}")

    def prefix_message(self, session: Session) -> str:
        return finished(self.prefix_steps(session))

    def user_message(self, turn: Turn) -> str:
        return finished(self.user_steps(turn))

    def prefix_steps(self, session: Session) -> Steps[str]:
        """The shared prefix. The run's nonce and the prefix's number stand at its very start, so no other run or prefix hits it."""
        part, inner = self.part(session.session_id)
        if part is not self:
            return (yield from part.prefix_steps(part.sessions[inner]))
        if self.corpus is not None:
            documents, said = self.corpus.documents, self.corpus.conversations
            body = documents[session.prefix_id] if documents else said[session.session_id].system
        else:
            schema_tokens = self.scenario.shape.schema_tokens if self.scenario.shape is not None else 0
            body_tokens = self.scenario.prefix_tokens - self.calibration.template_tokens - schema_tokens
            body = yield from self._text(self.scenario.prefix_text, body_tokens, f"prefix/{session.prefix_id}")
            if schema_tokens:
                body += "\n\n" + (yield from self._text("code", schema_tokens, f"schemas/{session.prefix_id}"))
        return f"{header(self.nonce, self.scenario.name, session.prefix_id)}{body}"

    def user_steps(self, turn: Turn) -> Steps[str]:
        part, inner = self.part(turn.session_id)
        if part is not self:
            return (yield from part.user_steps(replace(turn, session_id=inner)))
        if self.corpus is not None and self.corpus.conversations:
            return self.corpus.conversations[turn.session_id].users[turn.number - 1]
        added = self.calibration.exchange_tokens if turn.carried else 0.0
        kind, chunks, before = turn.text or self.scenario.turn_text, self.scenario.chunks, ""
        if chunks is not None:
            added += len(turn.chunks) * chunks.tokens
            for number in turn.chunks:  # a number of its own: two chunks differ from the first word on
                before += f"{number} " + (yield from self._text(chunks.text, chunks.tokens - 1, f"chunk/{number}")) + " "
        return before + (yield from self._text(kind, turn.user_tokens - added, f"turn/{turn.session_id}/{turn.number}"))

    def reply_steps(self, turn: Turn) -> Steps[str]:
        """What a later turn carries as the assistant's answer to this one, where the scenario plans it."""
        part, inner = self.part(turn.session_id)
        if part is not self:
            return (yield from part.reply_steps(replace(turn, session_id=inner)))
        if self.corpus is not None and self.corpus.conversations:
            return self.corpus.conversations[turn.session_id].replies[turn.number - 1]
        return (yield from self._text("dialogue", self.output_tokens(turn), f"reply/{turn.session_id}/{turn.number}"))


def header(nonce: str, scenario: str, prefix_id: int) -> str:
    """What every prefix starts with: different from the first token on between runs, and between prefixes of a run."""
    return f"{nonce} {prefix_id} {scenario.replace('_', ' ')}\n\n"
