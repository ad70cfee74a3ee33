"""Conversations of every form: what is sent of each, what is left out and said, and which rows are refused with file and line."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.client.request_bodies import encode_message
from locust_kvcache.workload.conversations import Conversation, Conversations, read_conversations
from tests.samples import examples


def read(*rows: Any, unusable: str = "error") -> Conversations:
    return read_conversations("chats", io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode()), unusable)


def chat(*messages: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages], **more}


def one(row: Any) -> Conversation:
    (found,) = read(row).conversations
    return found


ASKED = Conversation("", ("Why?", "Ah?"), ("So.",))


@pytest.mark.parametrize(
    "row",
    [
        chat(("user", "Why?"), ("assistant", "So."), ("user", "Ah?")),
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}, {"from": "human", "value": "Ah?"}]},
        {"id": 3, "conversations": chat(("user", "Why?"), ("assistant", "So."), ("user", "Ah?"))["messages"]},
        {"messages": None, "conversation": chat(("user", "Why?"), ("assistant", "So."), ("user", "Ah?"))["messages"]},
        {"conversation": chat(("user", "Why?"), ("assistant", "So."), ("user", "Ah?"))["messages"], "language": "English", "toxic": False},
        {"custom_id": "r-1", "body": chat(("user", "Why?"), ("assistant", "So."), ("user", "Ah?"), model="m")},
        chat(("User", [{"type": "text", "text": "Why?"}]), ("assistant", "So."), ("user", ["Ah?"])),
        chat(("user", "Why?"), ("assistant", "So."), ("user", "Ah?"), tools=[], response_format=None),
    ],
)  # fmt: skip
def test_all_forms_give_the_same_conversation(row: Any) -> None:
    assert one(row) == ASKED
    assert read(row).notes == ()


WHO = [
    ("human", "AI"), ("User ", "ASSISTANT"), ("prompter", "chatbot"),
]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        *({"conversations": [{"from": who[turn % 2], "value": text} for turn, text in enumerate(("Why?", "So.", "Ah?"))]} for who in WHO),
        {"payload": chat(("user", "Why?"), ("assistant", "So."), ("user", "Ah?"))},
        {"request": chat(("user", "Why?"), ("assistant", "So."), ("user", "Ah?"))},
        {"url": "/v1/responses", "body": {"input": chat(("user", "Why?"), ("assistant", "So."), ("user", "Ah?"))["messages"]}},
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": None, "refusal": "So."},
                      {"role": "user", "content": "Ah?"}]},
    ],
)  # fmt: skip
def test_names_and_wrappings_of_the_wild_are_read_alike(row: Any) -> None:
    assert one(row) == ASKED


@pytest.mark.parametrize("key", ["system", "system_prompt", "instructions"])
def test_a_system_text_beside_the_messages_is_sent(key: str) -> None:
    assert one({key: "Be kind.", **chat(("system", "Be brief."), ("user", "Why?"))}).system == "Be kind.\n\nBe brief."
    assert one({key: None, **chat(("user", "Why?"))}).system == ""
    with pytest.raises(BadInput, match=f"line 1: key '{key}', message 1: key 'content' is 5"):
        read({key: 5, **chat(("user", "Why?"))})


def test_the_prompt_of_a_batch_is_read_by_its_url() -> None:
    body = {"prompt": "Why?", "input": "Why?"}
    assert one({"url": "/v1/completions", "body": body}).users == ("Why?",)
    with pytest.raises(BadInput, match="expected an object with"):
        read({"url": "/v1/embeddings", "body": body})


def test_an_answer_without_content_is_empty_and_a_tools_parts_are_text() -> None:
    assert one(chat(("user", "Why?"), ("assistant", None), ("user", "Ah?"))).replies == ("",)
    use, result = (
        {"type": "tool_use", "name": "f", "input": {}},
        {"type": "tool_result", "content": [{"type": "text", "text": "42"}]},
    )
    found = read(chat(("user", "Why?"), ("assistant", [use]), ("user", [result])))
    assert found.conversations[0] == Conversation("", ("Why?", "42"), (json.dumps(use),))
    assert [note[:8] for note in found.notes] == ["1 calls ", "1 result"]


def test_an_array_gzip_and_a_mark_are_read_alike() -> None:
    rows = [chat(("user", f"Why {number}?")) for number in range(3)]
    expected = read(*rows)
    for data in (
        json.dumps(rows, indent=2).encode(),
        gzip.compress(json.dumps(rows).encode()),
        json.dumps(rows).encode("utf-16"),
    ):
        assert read_conversations("chats", io.BytesIO(data)) == expected


def test_what_stands_before_the_first_question_is_left_out_and_counted() -> None:
    found = read(chat(("system", "s"), ("assistant", "Hello!"), ("user", "Why?")))
    assert found.conversations == (Conversation("s", ("Why?",), ()),)
    assert found.notes == ("1 messages of an assistant before the first user message are left out",)


def test_images_are_left_out_and_counted() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "input_audio"},
    ]
    found = read(chat(("user", parts)))
    assert found.conversations[0].users == ("What is this?",)
    assert found.notes == ("2 parts that are no text (images, audio, files) are left out",)
    with pytest.raises(
        BadInput, match=r"line 1: key 'messages', message 1: key 'content' is \[.*expected text that is not empty"
    ):
        read(chat(("user", parts[1:])))


def test_calls_and_results_of_tools_are_text_in_their_order() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"of": "Bern"}'}}
    messages = [
        {"role": "user", "content": "Rain in Bern?"},
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "tool_call_id": "c1", "content": "dry"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "12 C"}]},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "Thanks."},
    ]
    found = read({"messages": messages, "tools": [{"type": "function", "function": {"name": "weather"}}]})
    (said,) = found.conversations
    assert said.users == ("Rain in Bern?", "dry\n\n12 C", "Thanks.")
    assert json.loads(said.replies[0]) == [call, call]
    assert said.replies[1] == "No."
    assert '"name": "weather"' in said.system
    assert found.notes == (
        "2 calls of tools are sent as text of the assistant",
        "2 results of tools are sent as messages of the user",
        "the definitions of tools of 1 conversations are sent as part of the system text",
    )


def test_shapes_of_sharegpt_with_tools_and_late_systems() -> None:
    said = [
        ("human", "a"),
        ("function_call", "f()"),
        ("observation", "3"),
        ("gpt", "Three."),
        ("system", "Be short."),
        ("human", "b"),
    ]
    found = read({"conversations": [{"from": role, "value": text} for role, text in said]})
    assert found.conversations == (Conversation("", ("a", "3", "Be short.\n\nb"), ("f()", "Three.")),)
    assert "1 system messages within a conversation are sent as messages of the user" in found.notes


def test_an_empty_answer_is_an_answer() -> None:
    assert one({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": ""}]}) == Conversation(
        "", ("hi",), ("",)
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (chat(("user", "look \ud83d here")), r"message 1: key 'content' has half of a surrogate pair, \\ud83d at character 6"),
        (
            chat(("user", "a"), ("assistant", "\ude00")),
            r"message 2: key 'content' has half of a surrogate pair, \\ude00 at character 1",
        ),
        (chat(("user", "a"), tools=["\ud83d"]), r"key 'tools' has half of a surrogate pair"),
        (chat(("user", None)), "message 1: key 'content' is None; expected text"),
        (chat(("user", [3])), r"message 1: key 'content' has a part 3"),
        (chat(("assistant", "a")), "no user's turn"),
        ({"messages": [{"content": "a"}]}, "message 1: key 'role' is None; allowed"),
        ({"messages": ["a"]}, "message 1 is 'a'; expected a mapping"),
        ({"conversation": {}}, "key 'conversation' is {}; expected a list"),
        ({"body": {"prompt": "a"}}, "expected an object with"),
        (float("nan"), "line 2 is 'NaN'"),
    ],
)
def test_a_row_that_cannot_be_sent_is_named_before_anything_is_sent(row: Any, said: str) -> None:
    good = chat(("user", "a"))
    with pytest.raises(BadInput, match=said) as caught:
        read(good, row)
    assert str(caught.value).startswith("chats: line 2")
    assert str(caught.value).isprintable()
    assert read(good, row, unusable="skip").skipped == 1


def test_bytes_that_are_no_text_are_named_or_skipped() -> None:
    good, bad = json.dumps(chat(("user", "a"))).encode(), b'{"messages": [{"role": "user", "content": "caf\xe9"}]}'
    with pytest.raises(BadInput, match="chats: line 2: byte 47 is 0xe9, which is not UTF-8"):
        read_conversations("chats", io.BytesIO(good + b"\n" + bad))
    assert read_conversations("chats", io.BytesIO(good + b"\n" + bad), "skip").skipped == 1


TEXT = st.text(st.characters(), max_size=6)  # surrogates and NUL among them
KEY = st.sampled_from(("type", "text", "role", "from", "content", "value", "tool_calls")) | TEXT
VALUE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=6,
)  # fmt: skip
ROLE = st.sampled_from(("system", "user", "human", "assistant", "gpt", "tool", "observation")) | VALUE
MESSAGE = st.fixed_dictionaries({"role": ROLE, "content": TEXT | VALUE}, optional={"tool_calls": VALUE}) | VALUE
ROW = st.fixed_dictionaries({"messages": st.lists(MESSAGE, max_size=5)}, optional={"tools": VALUE, "body": VALUE}) | VALUE


@given(st.lists(ROW, max_size=3), st.sampled_from(("error", "skip")), st.booleans())
@examples(80)
def test_whatever_a_file_holds_it_is_sent_or_named(rows: list[Any], unusable: str, array: bool) -> None:
    """What is read can be encoded and takes turns; all else is one printable line that names the file."""
    data = json.dumps(rows) if array else "\n".join(map(json.dumps, rows))
    refused = ""
    try:
        found = read_conversations("chats", io.BytesIO(data.encode()), unusable)
    except BadInput as error:
        refused = str(error)
    if refused:
        assert refused.startswith("chats: ")
        assert refused.isprintable()
        return
    for said in found.conversations:
        assert len(said.users) - len(said.replies) in (0, 1)
        for text in (said.system, *said.users, *said.replies):
            encode_message("user", text)


@given(st.binary(max_size=60))
@examples(80)
def test_any_bytes_are_read_or_named(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"^chats: "):
        read_conversations("chats", io.BytesIO(data), "skip")
