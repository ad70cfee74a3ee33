"""Workloads from a user's own files: what is read, what is sent, what is shared, and what is refused with its place."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_kvcache.contract.deployment import Transport
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.client.target import Target
from locust_kvcache.loadgen.dry_run.notes import corpus_notes
from locust_kvcache.loadgen.worker.prepared_requests import PreparedRequests
from locust_kvcache.workload.conversations import Conversation, read_conversations
from locust_kvcache.workload.corpus import cut, load_corpus
from locust_kvcache.workload.estimate import estimated_tokens
from locust_kvcache.workload.footprint import working_set_tokens
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration, Plan, planned_cached_tokens
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.working_set import filling

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "workloads"
CALIBRATION = Calibration({"document": 1, "question": 1, "dialogue": 1}, {}, 0, 8, 4, "assumed")
SHAREGPT = {
    "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}, {"from": "human", "value": "Ah?"}]
}
OPENAI = {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}


def line(row: Any) -> str:
    return json.dumps(row) + "\n"


def written(folder: Path, rows: list[Any], **conversations: Any) -> Scenario:
    (folder / "chats.jsonl").write_text("".join(map(line, rows)))
    values = {"name": "chats", "summary": "x", "conversations": {"file": "chats.jsonl", **conversations}, "output": {"tokens": 9}}
    (folder / "chats.yaml").write_text(yaml.safe_dump(values))
    return load_scenario(str(folder / "chats.yaml"))


def documents(folder: Path, texts: dict[str, bytes], **prefix: Any) -> Scenario:
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    values = {"name": "docs", "summary": "x", "requests": 6, "prefix": {"files": ["*.txt"], **prefix},
              "turns": {"text": "question", "tokens": 20}, "output": {"tokens": 9}}  # fmt: skip
    (folder / "docs.yaml").write_text(yaml.safe_dump(values))
    return load_scenario(str(folder / "docs.yaml"))


def plan(one: Scenario, nonce: str = "nonce") -> Plan:
    return make_plan(one, CALIBRATION, nonce, 1)


def prepared(planned: Plan) -> PreparedRequests:
    found = PreparedRequests(planned, Target.from_url("http://x", Transport()), "m", None, {"max_tokens": 9})
    for session in planned.sessions:
        found.prepare(session)
    return found


def messages(found: PreparedRequests, session: int, turn: int) -> list[dict[str, str]]:
    planned = found.plan.sessions[session]
    request = found.request(planned, planned.turns[turn])
    assert request is not None
    sent: list[dict[str, str]] = json.loads(request.split(b"\r\n\r\n", 1)[1])["messages"]
    return sent


def test_both_forms_are_read() -> None:
    found = read_conversations("x", io.BytesIO((line(SHAREGPT) + "\n" + line(OPENAI)).encode()))
    assert found.conversations == (Conversation("", ("Why?", "Ah?"), ("So.",)), Conversation("Be kind.", ("Hi",), ()))
    assert (found.skipped, found.notes) == (0, ())


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": "a"}, "expected"),
        ({"messages": "a"}, "key 'messages' is 'a'"),
        ({"messages": []}, "no user's turn"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "no user's turn"),
        ({"messages": [{"role": "user", "content": "a"}] * 2}, "'user' where 'assistant' must stand"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "message 1: key 'role' is 'robot'; allowed: system"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "message 1: key 'content'"),
        ({"conversations": [{"from": "human", "value": " "}]}, "message 1: key 'value' is ' '"),
    ],
)
def test_a_row_that_is_no_conversation_is_refused_or_counted(row: Any, told: str) -> None:
    text = (line(SHAREGPT) + line(row)).encode()
    with pytest.raises(BadInput, match=told) as raised:
        read_conversations("chats.jsonl", io.BytesIO(text))
    assert str(raised.value).startswith("chats.jsonl: line 2")
    found = read_conversations("chats.jsonl", io.BytesIO(text), "skip")
    assert (len(found.conversations), found.skipped) == (1, 1)
    assert found.notes == ("1 rows are not conversations and are skipped",)


def test_nothing_but_unusable_rows_is_an_error() -> None:
    with pytest.raises(BadInput, match=r"no conversation .1 rows skipped"):
        read_conversations("x", io.BytesIO(b"{\n"), "skip")


def test_skipped_rows_are_counted_in_the_run(tmp_path: Path) -> None:
    one = written(tmp_path, [SHAREGPT, {"text": "a"}, OPENAI, []], unusable="skip")
    assert one.corpus is not None
    assert (one.corpus.skipped, one.requests) == (2, 3)
    assert corpus_notes([plan(one)])[0].startswith("chats: 2 conversations, 3 user turns, 2 rows skipped")


def test_a_working_set_sweep_refuses_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="made of files and cannot grow"):
        filling(written(tmp_path, [SHAREGPT]), 10_000, 1)


def test_user_turns_are_sent_with_the_files_answers(tmp_path: Path) -> None:
    found = prepared(plan(written(tmp_path, [SHAREGPT, OPENAI])))
    assert [m["role"] for m in messages(found, 0, 1)] == ["system", "user", "assistant", "user"]
    assert [m["content"] for m in messages(found, 0, 1)][1:] == ["Why?", "So.", "Ah?"]
    assert messages(found, 0, 0) == messages(found, 0, 1)[:2]
    assert messages(found, 1, 0)[0]["content"].startswith("nonce 1 ")  # the run's nonce before everything, so that cold is cold
    assert messages(found, 1, 0)[0]["content"].endswith("Be kind.")


def test_what_a_turn_shares_is_what_the_server_counted_before(tmp_path: Path) -> None:
    """Turn 1 was counted as 100 tokens: turn 2 shares 100, of which whole blocks of 16 are cached. By estimate it would be a guess."""
    found = prepared(plan(written(tmp_path, [SHAREGPT])))
    session = found.plan.sessions[0]
    first, second = session.turns
    assert found.planned_cached(session, first, 1, False, 100, 16) == 0
    assert found.planned_cached(session, second, 1, False, 130, 16) is None  # its first turn was not counted here
    found.remember(first, 1, "ignored", 100, 9)
    assert found.planned_cached(session, second, 1, False, 130, 16) == 96
    assert found.planned_cached(session, second, 2, True, 130, 16) == 128  # all but the last token


def test_generated_answers_are_carried_and_their_plan_is_honest(tmp_path: Path) -> None:
    found = prepared(plan(written(tmp_path, [SHAREGPT], history="generated")))
    session = found.plan.sessions[0]
    first, second = session.turns
    assert found.request(session, second) is None  # waits for the answer, and has none
    found.remember(first, 1, "Because.", 100, 13)
    assert [m["content"] for m in messages(found, 0, 1)][1:] == ["Why?", "Because.", "Ah?"]
    assert found.planned_cached(session, second, 1, False, 130, 16) == 112  # 100 and all but the last of 13 tokens
    found.remember(first, 2, "Another.", 100, 13)
    assert messages(found, 0, 1)[2]["content"] == "Because."  # round 2 repeats round 1's
    assert found.planned_cached(session, second, 2, True, 130, 16) == 128


def test_a_first_answer_in_a_later_round_leaves_the_plan_unknown(tmp_path: Path) -> None:
    found = prepared(plan(written(tmp_path, [SHAREGPT], history="generated")))
    session = found.plan.sessions[0]
    found.remember(session.turns[0], 2, "Late.", 100, 13)
    assert found.planned_cached(session, session.turns[1], 2, True, 130, 16) is None
    assert found.planned_cached(session, session.turns[1], 3, True, 130, 16) == 128


def test_requests_are_the_files_turns(tmp_path: Path) -> None:
    one = written(tmp_path, [SHAREGPT, OPENAI])
    assert (one.requests, one.with_requests(99).requests) == (3, 3)
    assert [len(session.turns) for session in plan(one.with_requests(2)).sessions] == [2]
    assert [turn.request_index for turn in plan(one).turns] == [0, 1, 2]


def test_documents_are_sent_as_they_are(tmp_path: Path) -> None:
    planned = plan(documents(tmp_path, {"a.txt": "Älter, größer.".encode(), "b.txt": b"two\n\nparts"}))
    texts = [planned.prefix_message(session) for session in planned.sessions]
    assert [session.prefix_id for session in planned.sessions] == [0, 1] * 3
    assert texts[0].endswith("Älter, größer.")
    assert texts[1].endswith("two\n\nparts")
    assert texts[0].startswith("nonce 0 ")
    assert texts[1].startswith("nonce 1 ")
    assert texts[2] == texts[0]


def test_a_shared_document_is_what_stands_before_the_calibrated_question(tmp_path: Path) -> None:
    """20 tokens of question and 2 of the template (half of an exchange's 4) after it: of a prompt that the server counts as 1,020,
    998 are the document, 62 blocks of 16."""
    planned = plan(documents(tmp_path, {"a.txt": b"word " * 300}))
    first, second = planned.turns[:2]
    assert planned_cached_tokens(first, False, 1020, 16) == 0
    assert planned_cached_tokens(second, False, 1020, 16) == 992
    assert planned_cached_tokens(second, True, 1020, 16) == 1008
    assert working_set_tokens(planned) == (8 + 300 - 2) + 6 * (20 + 2)  # 8 of the template around it


def test_documents_cut_to_length_lose_nothing(tmp_path: Path) -> None:
    text = "The river, and 12345 stones. " * 40
    pieces = list(cut(text, 32))
    assert "".join(pieces) == text
    assert [estimated_tokens(piece) for piece in pieces[:-1]] == [32] * (len(pieces) - 1)
    one = documents(tmp_path, {"a.txt": text.encode()}, cut_tokens=32)
    assert one.documents == len(pieces)


def test_own_documents_by_popularity(tmp_path: Path) -> None:
    one = documents(tmp_path, {"a.txt": b"one", "b.txt": b"two"}, popularity={"zipf": 1.0})
    drawn = [session.prefix_id for session in plan(one.with_requests(3000)).sessions]
    assert drawn.count(0) / 3000 == pytest.approx(2 / 3, abs=0.035)  # 1 / (1 + 1/2), four standard errors


@pytest.mark.parametrize(
    ("text", "prefix", "told"),
    [
        (b"caf\xe9", {}, "a.txt: line 1: byte 4 is 0xe9, which is not UTF-8"),
        (b" \n", {}, "a.txt: holds no text"),
        (b"a", {"files": ["*.md"]}, "'\\*.md' matches no file"),
        (b"a", {"files": "a.txt"}, "expected a list"),
        (b"a", {"shared_by": 2}, "stands beside 'files'"),
        (b"a", {"tokens": 99}, "key 'prefix.tokens' is unknown"),
        (b"a", {"cut_tokens": 3}, "expected at least 32"),
        (b"a", {"popularity": {"documents": 3, "zipf": 1}}, "documents' is unknown"),
    ],
)
def test_errors_of_documents(tmp_path: Path, text: bytes, prefix: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        documents(tmp_path, {"a.txt": text}, **prefix)


def test_errors_of_conversations(tmp_path: Path) -> None:
    for more, told in (({"history": "none"}, "allowed: file, generated"), ({"prefix": 1}, "'conversations.prefix' is unknown")):
        with pytest.raises(BadInput, match=told):
            written(tmp_path, [SHAREGPT], **more)


def test_another_file_than_the_masters_is_refused(tmp_path: Path) -> None:
    one = written(tmp_path, [SHAREGPT])
    assert one.corpus is not None
    assert one.corpus.sha256 == (hashlib.sha256((tmp_path / "chats.jsonl").read_bytes()).hexdigest(),)
    again = Scenario.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert plan(again).sessions == plan(one).sessions
    (tmp_path / "chats.jsonl").write_text(line(OPENAI))
    with pytest.raises(BadInput, match=r"chats.jsonl: its sha256 is .* every host needs the same file"):
        plan(again)
    (tmp_path / "chats.jsonl").unlink()
    with pytest.raises(BadInput, match=r"cannot be read .* every host needs this file"):
        load_corpus(one.corpus)


@pytest.mark.parametrize(("name", "requests"), [("sharegpt", 6), ("messages", 5), ("handbook", 24)])
def test_the_examples_load(name: str, requests: int) -> None:
    planned = plan(load_scenario(str(EXAMPLES / f"{name}.yaml")))
    assert len(planned.turns) == requests
    assert all(turn.prompt_tokens > turn.shared_tokens for turn in planned.turns)
