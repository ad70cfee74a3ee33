"""Addresses as people type them: usable, or refused in one line that names the option."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.addresses import check_url
from locust_kvcache.contract.deployment import host_deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.client.target import Target

PIECES = st.sampled_from(
    ["http://", "https://", "ftp://", "[", "]", "[::1]", ":", ":80", ":99999", ":x", "/", "/v1", "?a=1", "#", "@", "a.b", "127.0.0.1", " ",
     "\n", "%zz", "ü", "\ud800", "\x00", "a" * 64, "b" * 300, "."]
)  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=6).map("".join), st.text(max_size=20).map("http://{}".format)))
def test_every_address_is_usable_or_refused_in_one_line(text: str) -> None:
    try:
        deployment = host_deployment(text)
    except BadInput as error:
        refused = str(error)
    else:
        head = Target.from_url(deployment.endpoint).request_head("/v1/models", 0, None)
        assert head.count(b"\r\n\r\n") == 1
        assert len(deployment.name.encode()) <= 200
        return
    assert refused.startswith("--host ")
    assert "\n" not in refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http://" + "a" * 300, "which is not an address"),
        ("http://h:99999", "Port out of range"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://a b", "no spaces"),
        ("http://h/" + "x" * 3000, "at most 2000 characters"),
        ("ftp://h", "expected http://host:port"),
    ],
)
def test_what_is_said_of_them(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        check_url(text, "--host")
