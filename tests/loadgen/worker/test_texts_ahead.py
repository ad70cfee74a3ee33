"""Texts of a large share: the first are made before the round, the others ahead of need, and each is dropped when it was sent."""

from __future__ import annotations

import dataclasses
import json

import gevent
import pytest

from locust_kvcache.contract.deployment import Transport
from locust_kvcache.contract.round_kinds import COLD
from locust_kvcache.loadgen.client.target import Target
from locust_kvcache.loadgen.protocol.session_ids import SessionLine
from locust_kvcache.loadgen.worker import texts_ahead
from locust_kvcache.loadgen.worker.prepared_requests import PreparedRequests
from locust_kvcache.loadgen.worker.share import Share
from locust_kvcache.loadgen.worker.shared_texts import ENTRY_BYTES, SharedTexts
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.scenario_file import load_scenario
from tests.workload.test_plan import ONE_EACH


def requests_of(name: str, requests: int) -> PreparedRequests:
    scenario = dataclasses.replace(load_scenario(name), requests=requests, prefix_tokens=100)
    plan: Plan = make_plan(scenario, ONE_EACH, "n0", 1)
    return PreparedRequests(plan, Target.from_url("http://127.0.0.1:9", Transport()), "m", None, {"max_tokens": 5})


def settle(ahead: texts_ahead.TextsAhead | None) -> None:
    """Until what is wanted is made."""
    assert ahead is not None
    assert ahead._maker is not None
    ahead._maker.join()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test reaches."""
    monkeypatch.setattr(texts_ahead, "MOST_TOKENS", 2000)
    monkeypatch.setattr(texts_ahead, "FIRST_SESSIONS", 4)


def test_a_small_share_is_made_whole() -> None:
    prepared = requests_of("cold_start", 20)
    texts_ahead.prepare(prepared, range(20), users=2)
    assert prepared.few is None
    assert all(map(prepared.has, range(20)))


@pytest.mark.parametrize("name", ["cold_start", "multi_turn_conversation", "long_context_high_reuse"])
def test_a_large_share_is_made_ahead_of_need_and_sends_the_same(small: None, name: str) -> None:
    prepared, whole = requests_of(name, 60), requests_of(name, 60)
    sessions = len(prepared.plan.sessions)
    texts_ahead.prepare(prepared, range(sessions), users=1)
    assert prepared.few is not None
    assert sum(map(prepared.has, range(sessions))) == min(sessions, 4)
    share = Share(None, name, 1, COLD, prepared, None, window=3)  # type: ignore[arg-type]
    share.add(range(sessions))
    received = 0
    while received < sessions:
        settle(share.ahead)
        count = share.wanted(0)
        assert 0 < count <= 3, "only what is made is asked for"
        ids = list(range(received, received + count))
        for session in share.take_release(received, ids, sessions - received - count, 0):
            whole.prepare(session)
            for turn in session.turns:
                assert prepared.request(session, turn) == whole.request(session, turn)
            assert not prepared.has(session.session_id)
        received += count
        assert sum(map(prepared.has, range(sessions))) <= 6, "two windows at most"
    assert not prepared._texts


def test_sessions_of_a_lost_worker_come_into_the_line(small: None) -> None:
    prepared = requests_of("cold_start", 100)
    texts_ahead.prepare(prepared, range(50, 100), users=1)
    share = Share(None, "cold_start", 1, COLD, prepared, None, window=3)  # type: ignore[arg-type]
    share.add(range(50, 100))
    settle(share.ahead)
    assert share.wanted(0) == 3
    share.add(range(10, 20))
    settle(share.ahead)
    assert (share.unreleased[0], share.wanted(0)) == (10, 3)
    assert all(map(prepared.has, range(10, 13)))
    (session,) = share.take_release(0, [30], 40, 0)  # released before it was made
    assert prepared.request(session, session.turns[0])


def test_slices_let_the_loop_go_on() -> None:
    seen: list[int] = []

    def steps():
        for number in range(5):
            seen.append(number)
            yield

    other = gevent.spawn(lambda: seen.append(-1))
    texts_ahead.in_slices(steps(), slice_s=0.0)
    other.join()
    assert seen.index(-1) < 4


def test_the_line_is_looked_at_from_its_front() -> None:
    prepared = requests_of("cold_start", 10)
    line = SessionLine(range(10))
    ahead = texts_ahead.TextsAhead(prepared, line)
    prepared.keep_few(10)
    ahead.changed(4)
    settle(ahead)
    assert (ahead.made(), prepared.has(4)) == (4, False)
    line.take(2)
    ahead.go_on(2, 4)
    assert ahead.made() == 2
    settle(ahead)
    assert (ahead.made(), prepared.has(5), prepared.has(6)) == (4, True, False)


def test_shared_texts_forget_what_was_not_used_for_longest() -> None:
    texts = SharedTexts(most_bytes=10 + 2 * ENTRY_BYTES)
    for key in (1, 2):
        texts.keep(key, b"12345")
    assert texts.get(1) == b"12345"
    texts.keep(3, b"123")
    assert (texts.get(2), texts.get(1), texts.get(3)) == (None, b"12345", b"123")
    assert texts.keep(4, b"much too long") == b"much too long"
    assert texts.get(4) == b"much too long"


def test_a_conversation_folds_its_system_text_into_the_first_message_of_every_turn() -> None:
    plain = requests_of("multi_turn_conversation", 8)
    folding = dataclasses.replace(plain, fold_system=True)
    session = plain.session(0)
    plain.prepare(session)
    folding.prepare(session)
    for number in (0, 1):
        bodies = []
        for requests in (plain, folding):
            for turn in session.turns[:number]:
                requests.remember(turn, 1, "an answer", None, None)
            request = requests.request(session, session.turns[number])
            assert request is not None
            bodies.append(json.loads(request.split(b"\r\n\r\n", 1)[1])["messages"])
        usual, one_less = bodies
        assert one_less[0] == {"role": "user", "content": f"{usual[0]['content']}\n\n{usual[1]['content']}"}
        assert one_less[1:] == usual[2:]
