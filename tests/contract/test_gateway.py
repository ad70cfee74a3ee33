"""What a gateway wants beside the requests: what is taken, what is refused by name, and where secrets come from."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.deployment import load_deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.gateway import body_option, header_option, resolved, without_secrets


def deployment(folder: Path, *lines: str) -> Path:
    file = folder / "gateway.yaml"
    file.write_text("\n".join(["kind: other", "endpoint: http://127.0.0.1:9", *lines]) + "\n")
    return file


def test_headers_and_fields_of_a_deployment_file(tmp_path: Path) -> None:
    lines = ("headers: {x-tenant: a, x-api-key: '${KEY}'}", "extra_body: {priority: 1}", "api_path: /openai/", "query: '?v=1'")
    found = load_deployment(deployment(tmp_path, *lines))
    assert found.transport.headers == (("x-tenant", "a"), ("x-api-key", "${KEY}"))
    assert found.extra_body == {"priority": 1}
    assert (found.transport.api_path, found.transport.query) == ("/openai", "v=1")


def test_a_secret_is_read_where_it_is_used() -> None:
    headers = header_option(["Authorization: Basic ${LOGIN}", "x-tenant: a"])
    assert resolved(headers, {"LOGIN": "dTpw"}) == (("Authorization", "Basic dTpw"), ("x-tenant", "a"))
    with pytest.raises(BadInput, match="LOGIN is not set: export LOGIN="):
        resolved(headers, {})


def test_a_servers_words_are_written_without_the_secrets_that_it_was_sent() -> None:
    head = b"POST /v1 HTTP/1.1\r\nx-tenant: a\r\napi-key: k-123456\r\nAuthorization: Bearer sk-abcdef\r\nx-token: 1"
    said = "wrong key sk-abcdef ('Bearer sk-abcdef', k-123456) of tenant a, 1 try"
    assert without_secrets(said, head) == "wrong key *** ('***', ***) of tenant a, 1 try"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("no colon", "expected 'Name: value'"),
        ("bad name: 1", "not a name of an HTTP header"),
        ("Host: x", "set by the load generator itself"),
        ("x-api-key: abc123", "holds a secret; write it as"),
        ("Cookie: a=b", "holds a secret"),
        ("x: a\r\ny: b", "a text of one line"),
    ],
)
def test_headers_that_are_refused(word: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        header_option([word])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"model": "x"}', "sets 'model'"),
        ("[1]", "expected a mapping"),
        ("{", "expected a JSON object"),
        ('{"a": NaN}', "JSON cannot"),
    ],
)
def test_fields_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        body_option(text)


@given(st.text(max_size=40))
def test_any_header_is_taken_or_named(word: str) -> None:
    with contextlib.suppress(BadInput):
        ((name, value),) = header_option([word])
        assert "\n" not in name + value


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://user:secret@127.0.0.1:9", "holds a user or password"),
        ("http://127.0.0.1:9/?key=1", "`query` in the deployment file"),
    ],
)
def test_secrets_do_not_stand_in_addresses(tmp_path: Path, endpoint: str, said: str) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(f"kind: other\nendpoint: {endpoint}\n")
    with pytest.raises(BadInput, match=said) as raised:
        load_deployment(file)
    assert "secret@" not in str(raised.value)
