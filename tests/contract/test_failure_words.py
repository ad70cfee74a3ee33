"""Why requests failed, in the words of whoever refused them."""

from __future__ import annotations

import pytest

from locust_kvcache.contract.failure_words import cause_of, counted_causes, listed

NGINX = (
    "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body><center><h1>413 Request Entity Too Large</h1>"
)


@pytest.mark.parametrize(
    ("status", "error", "cause"),
    [
        ("http_error", f"HTTP 413: {NGINX}", "413 Request Entity Too Large"),
        ("http_error", 'HTTP 429: {"error": {"message": "Rate limit reached", "type": "x"}}', "429 Rate limit reached"),
        ("http_error", 'HTTP 400: {"object": "error", "message": "too long", "code": 400}', "400 too long"),
        ("http_error", 'HTTP 422: {"detail": [{"loc": ["body"], "msg": "Field required"}]}', "422 Field required"),
        ("http_error", 'HTTP 401: {"error": "auth"}', "401 auth"),
        ("http_error", 'HTTP 500: {"error": {"message": "cut off in the mid', "500 cut off in the mid"),
        ("http_error", "HTTP 503: busy", "503 busy"),
        ("http_error", "HTTP 502: ", "HTTP 502"),
        ("http_error", "HTTP 500: " + "x" * 100, "500 " + "x" * 60 + "..."),
        ("stream_error", "CUDA out of memory", "stream_error (CUDA out of memory)"),
        ("stream_error", None, "stream_error"),
        (
            "malformed",
            "Content-Encoding 'zstd' although only identity",
            "malformed (Content-Encoding 'zstd' although only identity)",
        ),
        ("malformed", "not JSON: b'abc'", "malformed (not JSON)"),
        ("malformed", "expected a JSON object, got b'[1]'", "malformed (expected a JSON object)"),
        ("timeout", "no complete response within 5 s", "timeout"),
    ],
)
def test_a_cause_is_the_status_and_the_servers_first_words(status: str, error: str | None, cause: str) -> None:
    assert cause_of(status, error) == cause


def test_messages_that_differ_in_numbers_and_ids_are_one_cause_and_two_statuses_are_two() -> None:
    failed = [
        ("http_error", "HTTP 429: try again in 12 s (req 5f3a9c01)", 3),
        ("http_error", "HTTP 429: try again in 7 s (req 0b7d11e2)", 4),
        ("http_error", "HTTP 503: try again in 7 s (req 0b7d11e2)", 2),
        ("timeout", "whatever", 1),
    ]
    causes = counted_causes(failed)
    assert list(causes.values()) == [7, 2, 1]
    assert listed(causes) == "7 x 429 try again in 12 s (req 5f3a9c01), 2 x 503 try again in 7 s (req 0b7d11e2), 1 x timeout"


def test_more_than_four_causes_are_added_up() -> None:
    assert listed({"a": 9, "b": 4, "c": 3, "d": 2, "e": 1, "f": 1}) == "9 x a, 4 x b, 3 x c, 2 x d, 2 x other causes"
