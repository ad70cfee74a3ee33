"""Plans the sessions of agents: turns, results of tools, forks into sub-agents, and compaction.

Each session is drawn from the seed and its own number, so that cutting the requests of a round changes nothing before the cut.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, field

from locust_kvcache.workload.session_shape import Shape
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.steps import Pause
from locust_kvcache.workload.turn import Session, Turn


class _Full(Exception):
    """The round has all its requests."""


@dataclass
class _Draft:
    """A session under way. `prefix_source`: the request that sent the session's prefix first, None where that is this session's own."""

    scenario: Scenario
    shape: Shape
    number: int
    start: int  # its first request_index
    exchange_tokens: int  # of an assistant's and a user's message without text
    prefix_source: int | None
    rng: random.Random
    turns: list[Turn] = field(default_factory=list)
    firsts: dict[tuple[int, ...], int] = field(default_factory=dict)  # by what is carried: the first request that does

    def output(self, number: int) -> int:
        return self.turns[number - 1].output_tokens or self.scenario.output_tokens

    def base_tokens(self, carries: tuple[int, ...]) -> int:
        """A prompt without its own last message: the turn before carries all that is before it."""
        if not carries:
            return self.scenario.prefix_tokens
        return self.turns[carries[-1] - 1].prompt_tokens + self.output(carries[-1])

    def add(self, tokens: int, wait_s: float, carries: tuple[int, ...], after: tuple[int, ...], lane: int, tool: bool) -> int:
        """The number of the new turn."""
        if self.start + len(self.turns) == self.scenario.requests:
            raise _Full
        drawn = self.scenario.output_lengths
        output = drawn.draw(self.rng) if drawn is not None else None
        shared, source = self._shares(carries)
        self.firsts.setdefault(carries, self.start + len(self.turns))
        tools = self.shape.tools
        self.turns.append(
            Turn(
                self.start + len(self.turns),
                self.number,
                len(self.turns) + 1,
                tokens,
                self.base_tokens(carries) + tokens,
                shared,
                source,
                output,
                wait_s=self.scenario.gaps.of(wait_s),
                estimated=True,
                role=tools.role if tool and tools is not None else "user",
                text=tools.result_text if tool and tools is not None else "",
                carries=carries,
                after=after,
                lane=lane,
            )
        )
        return len(self.turns)

    def _shares(self, carries: tuple[int, ...]) -> tuple[int, int | None]:
        """The whole prompt of the turn before, with an answer of the server's own; where another turn has carried the same, all up to the
        text that is its own; without a turn before the prefix."""
        first, own_end_tokens = self.firsts.get(carries), math.ceil(self.exchange_tokens / 2)
        if carries and first is not None:
            return self.base_tokens(carries) + self.exchange_tokens - own_end_tokens, first
        if carries:
            before = self.turns[carries[-1] - 1]
            answered = self.output(carries[-1]) if self.scenario.reply == "server" else 0
            return before.prompt_tokens + answered, before.request_index
        source = self.prefix_source if first is None else first
        return (0, None) if source is None else (self.scenario.prefix_tokens - own_end_tokens, source)


def _message_tokens(draft: _Draft) -> int:
    scenario = draft.scenario
    return scenario.turn_lengths.draw(draft.rng) if scenario.turn_lengths else draft.rng.randint(*scenario.turn_tokens)


def _fill(draft: _Draft) -> None:
    """The main line of the session, with its forks."""
    scenario, shape, rng = draft.scenario, draft.shape, draft.rng
    count = shape.counts.draw(rng) if shape.counts is not None else scenario.turns
    carries, after, returned = tuple[int, ...](), tuple[int, ...](), 0
    for place in range(1, count + 1):
        tools = shape.tools if place > 1 and not returned and shape.tools and rng.random() < shape.tools.share else None
        wait_s = 0.0 if returned else (tools.time if tools else scenario.think_time).draw(place, rng)
        tokens = returned + (tools.result_tokens.draw(rng) if tools else _message_tokens(draft))
        compaction = shape.compaction
        if compaction and carries and draft.base_tokens(carries) + tokens > compaction.at_tokens:
            carries, tokens, tools = (), tokens + compaction.summary_tokens, None
        number = draft.add(tokens, wait_s, carries, after, 0, tools is not None)
        carries, after, returned = (*carries, number), (number,), 0
        if shape.forks and place % shape.forks.every == 0 and place < count:
            after = _fork(draft, carries)
            returned = shape.forks.branches * shape.forks.summary_tokens


def _fork(draft: _Draft, carries: tuple[int, ...]) -> tuple[int, ...]:
    """Sub-agents on what the last turn has; the numbers of their last turns."""
    forks, tools, ends = draft.shape.forks, draft.shape.tools, list[int]()
    assert forks is not None
    for branch in range(1, forks.branches + 1):
        mine, after = carries, carries[-1:]
        for place in range(1, forks.turns + 1):
            if place == 1:
                tokens, wait_s = forks.task_tokens, 0.0
            elif tools is not None:
                tokens, wait_s = tools.result_tokens.draw(draft.rng), tools.time.draw(place, draft.rng)
            else:
                tokens, wait_s = _message_tokens(draft), draft.scenario.think_time.draw(place, draft.rng)
            number = draft.add(tokens, wait_s, mine, after, branch, place > 1 and tools is not None)
            mine, after = (*mine, number), (number,)
        ends.append(after[0])
    return tuple(ends)


def agent_sessions(scenario: Scenario, shape: Shape, exchange_tokens: float, seed: int, pause: Pause) -> tuple[Session, ...]:
    """As many sessions as the requests fill; the last one is cut. `exchange_tokens`: of the calibration."""
    sessions, firsts, start = list[Session](), dict[tuple[int, int], int](), 0
    for number in itertools.count():
        if start == scenario.requests:
            break
        prefix = number // scenario.prefix_shared_by if scenario.prefix_shared_by else 0
        group = (prefix, scenario.identity.salt_group(number))
        rng = random.Random(f"{seed}/{scenario.name}/session/{number}")
        draft = _Draft(scenario, shape, number, start, round(exchange_tokens), firsts.get(group), rng)
        try:
            _fill(draft)
        except _Full:
            pass
        firsts.setdefault(group, start)
        sessions.append(Session(number, prefix, tuple(draft.turns)))
        start += len(draft.turns)
        pause()
    return tuple(sessions)
