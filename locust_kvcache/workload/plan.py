"""A Scenario comes in, a Plan goes out: sessions of turns, what each shares with an earlier one, and its prompt as messages.

Nothing of a plan is ever sent to a worker: every process computes the same one from (scenario, calibration, nonce, seed).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from locust_kvcache.workload.conversation_plan import conversation_sessions
from locust_kvcache.workload.corpus import Corpus, estimated_tokens, load_corpus
from locust_kvcache.workload.dose_response import cells, turn_sizes
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.text import make_text, piece_cost
from locust_kvcache.workload.trace import load_rows, shared_prefixes
from locust_kvcache.workload.turn import Session, Turn, planned_cached_tokens

__all__ = ["Calibration", "Message", "Plan", "Session", "Turn", "header", "make_plan", "planned_cached_tokens"]

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
    sessions: tuple[Session, ...]
    corpus: Corpus | None = None

    @property
    def requests(self) -> int:
        return self.scenario.requests

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(turn for session in self.sessions for turn in session.turns)

    @property
    def due_s(self) -> list[float] | None:
        """Due time of each session by a trace; None where an arrival process decides."""
        due = [session.due_s for session in self.sessions if session.due_s is not None]
        return due if len(due) == len(self.sessions) else None

    def output_tokens(self, turn: Turn) -> int:
        return turn.output_tokens or self.scenario.output_tokens

    @cached_property
    def _costs(self) -> dict[str, Callable[[str], float]]:
        known = self.calibration
        return {
            kind: piece_cost(per_piece, known.word_tokens, known.other_word_tokens)
            for kind, per_piece in known.tokens_per_piece.items()
        }

    def _text(self, kind: str, tokens: float, key: str) -> str:
        return make_text(kind, tokens, self._costs[kind], f"{self.nonce}/{self.seed}/{self.scenario.name}/{key}")

    def prefix_message(self, session: Session) -> str:
        """The shared prefix. The run's nonce and the prefix's number stand at its very start, so no other run or prefix hits it."""
        if self.corpus is not None:
            documents, said = self.corpus.documents, self.corpus.conversations
            body = documents[session.prefix_id] if documents else said[session.session_id].system
        else:
            body_tokens = self.scenario.prefix_tokens - self.calibration.template_tokens
            body = self._text(self.scenario.prefix_text, body_tokens, f"prefix/{session.prefix_id}")
        return f"{header(self.nonce, self.scenario.name, session.prefix_id)}{body}"

    def user_message(self, turn: Turn) -> str:
        if self.corpus is not None and self.corpus.conversations:
            return self.corpus.conversations[turn.session_id].users[turn.number - 1]
        added = self.calibration.exchange_tokens if turn.number > 1 else 0.0
        return self._text(self.scenario.turn_text, turn.user_tokens - added, f"turn/{turn.session_id}/{turn.number}")

    def planned_reply(self, turn: Turn) -> str:
        """What a later turn carries as the assistant's answer to this one, where the scenario plans it."""
        if self.corpus is not None and self.corpus.conversations:
            return self.corpus.conversations[turn.session_id].replies[turn.number - 1]
        return self._text("dialogue", self.output_tokens(turn), f"reply/{turn.session_id}/{turn.number}")


def header(nonce: str, scenario: str, prefix_id: int) -> str:
    """What every prefix starts with: different from the first token on between runs, and between prefixes of a run."""
    return f"{nonce} {prefix_id} {scenario.replace('_', ' ')}\n\n"


def _prefix_ids(scenario: Scenario, sessions: int, seed: int) -> list[int]:
    """Which prefix each session uses. By popularity: the k-th of N documents with a share of k^-zipf / sum of j^-zipf, j = 1 ... N."""
    if scenario.corpus is not None and not scenario.zipf:
        if scenario.order == "interleaved":
            return [session % scenario.documents for session in range(sessions)]
        return [session * scenario.documents // sessions for session in range(sessions)]
    if scenario.documents:
        weights = [rank**-scenario.zipf for rank in range(1, scenario.documents + 1)]
        return random.Random(f"{seed}/{scenario.name}/popularity").choices(range(scenario.documents), weights, k=sessions)
    shared_by = scenario.prefix_shared_by or sessions
    prefixes = math.ceil(sessions / shared_by)
    if scenario.order == "interleaved":
        return [session % prefixes for session in range(sessions)]
    return [session // shared_by for session in range(sessions)]


def _sizes(scenario: Scenario, seed: int) -> list[tuple[int, ...]]:
    """User tokens of each turn of each session; the last session is shorter if the requests run out."""
    if scenario.doses is not None:
        grid = cells(scenario.doses, f"{seed}/{scenario.name}/doses")
        wanted = [turn_sizes(cell, scenario.prefix_tokens, scenario.output_tokens) for cell in grid]
    else:
        rng = random.Random(f"{seed}/{scenario.name}/sizes")
        counts = [scenario.turns] * math.ceil(scenario.requests / scenario.turns)
        counts[-1] -= sum(counts) - scenario.requests
        wanted = [tuple(_user_tokens(scenario, rng) for _ in range(count)) for count in counts]
    left, sizes = scenario.requests, []
    for turns in wanted:
        sizes.append(turns[:left])
        left -= len(sizes[-1])
    return [turns for turns in sizes if turns]


def _user_tokens(scenario: Scenario, rng: random.Random) -> int:
    return scenario.turn_lengths.draw(rng) if scenario.turn_lengths else rng.randint(*scenario.turn_tokens)


def _outputs(scenario: Scenario, sizes: list[tuple[int, ...]], seed: int) -> list[tuple[int | None, ...]]:
    """Output tokens of each turn of each session; None: the scenario's."""
    lengths, rng = scenario.output_lengths, random.Random(f"{seed}/{scenario.name}/outputs")
    return [tuple(lengths.draw(rng) if lengths else None for _ in turns) for turns in sizes]


def _session_turns(
    scenario: Scenario,
    sizes: tuple[int, ...],
    outputs: tuple[int | None, ...],
    session: int,
    first_index: int,
    first_with_prefix: int | None,
    prefix_tokens: int,
    own_end_tokens: int = 0,
) -> tuple[Turn, ...]:
    """The turns of one session. Turn 1 shares its prefix with the first session on it, turn k shares turn k-1's whole prompt."""
    turns: list[Turn] = []
    prompt, estimated = prefix_tokens, scenario.corpus is not None
    for number, (user_tokens, output_tokens) in enumerate(zip(sizes, outputs, strict=True), 1):
        if not turns:
            shared, source = (prefix_tokens - own_end_tokens, first_with_prefix) if first_with_prefix is not None else (0, None)
            prompt += user_tokens
        else:
            answered = turns[-1].output_tokens or scenario.output_tokens
            reply_cached = answered if scenario.reply == "server" else 0
            shared, source = turns[-1].prompt_tokens + reply_cached, turns[-1].request_index
            prompt += answered + user_tokens
        index = first_index + number - 1
        turns.append(Turn(index, session, number, user_tokens, prompt, shared, source, output_tokens, estimated=estimated))
    return tuple(turns)


def _trace_sessions(scenario: Scenario) -> tuple[Session, ...]:
    """A session of one turn per row of the trace."""
    source = scenario.trace
    assert source is not None
    rows = load_rows(source)[: scenario.requests]
    shared = shared_prefixes(rows, source.block_tokens)
    sessions = []
    for index, (row, same) in enumerate(zip(rows, shared, strict=True)):
        tokens = row.input_tokens
        turn = Turn(index, index, 1, tokens, tokens, same.tokens, same.source, row.output_tokens, row.blocks)
        sessions.append(Session(index, 0, (turn,), row.due_s))
    return tuple(sessions)


def make_plan(scenario: Scenario, calibration: Calibration, nonce: str, seed: int) -> Plan:
    """The plan of one round; every round of a run sends exactly this."""
    if scenario.trace is not None:
        return Plan(scenario, calibration, nonce, seed, _trace_sessions(scenario))
    corpus = load_corpus(scenario.corpus) if scenario.corpus is not None else None
    if corpus is not None and corpus.conversations:
        return Plan(scenario, calibration, nonce, seed, conversation_sessions(scenario, corpus, seed), corpus)
    around = round(calibration.template_tokens)
    prefix_tokens = [around + estimated_tokens(text) for text in corpus.documents] if corpus is not None else []
    # the chat template ends a question and begins the answer: half of an exchange, which a document's next question does not share
    own_end_tokens = math.ceil(calibration.exchange_tokens / 2) if corpus is not None and scenario.api == "chat" else 0
    sizes = _sizes(scenario, seed)
    outputs = _outputs(scenario, sizes, seed)
    first_with: dict[int, int] = {}
    sessions, index = [], 0
    for session_id, prefix_id in enumerate(_prefix_ids(scenario, len(sizes), seed)):
        length = prefix_tokens[prefix_id] if prefix_tokens else scenario.prefix_tokens
        turns = _session_turns(
            scenario, sizes[session_id], outputs[session_id], session_id, index, first_with.get(prefix_id), length, own_end_tokens
        )
        first_with.setdefault(prefix_id, index)
        sessions.append(Session(session_id, prefix_id, turns))
        index += len(turns)
    return Plan(scenario, calibration, nonce, seed, tuple(sessions), corpus)
