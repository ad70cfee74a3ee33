"""The words by which servers refuse what is longer than the model's context, and words that are something else."""

from __future__ import annotations

import pytest

from locust_kvcache.contract.too_long import says_too_long


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 2048 tokens. However, your request has 2900 input tokens.",
        "The decoder prompt (length 2900) is longer than the maximum model length of 2048.",
        "The input (2900 tokens) is longer than the model's context length (2048 tokens).",
        "Input length (2900 tokens) exceeds the maximum allowed length (2042 tokens).",
        "Input validation error: `inputs` must have less than 2048 tokens. Given: 2900",
        "`inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2000 `inputs` tokens and 90 `max_new_tokens`",
        "request (2900 tokens) exceeds the available context size (2048 tokens), try increasing it",
        "input is too large to process. increase the physical batch size",
        "litellm.ContextWindowExceededError: upstream said 400",
        "no (context_length_exceeded)",
        "prompt is too long: 2900 tokens > 2048 maximum",
        "Invalid request: Your request exceeded model token limit: 8192",
        "Range of input length should be [1, 6000]",
        "Your input exceeds the context window of this model.",
        "prompt length (2900) should not exceed max_num_tokens (2048)",
        "The input token count (2900) exceeds the maximum number of tokens allowed (2048).",
    ],
)
def test_a_request_longer_than_the_context_is_known_by_the_words_of_many_servers(said: str) -> None:
    assert says_too_long(said)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory",
        "KV cache pool is full",
        "the request queue is too long",
        "Too many tokens, please wait",
        "413 Request Entity Too Large",
        "context deadline exceeded",
        "Rate limit exceeded for context window tier 2",
        "You exceeded the limit of long context window requests per minute",
        "The input token count per minute exceeds what your project has",
        "exceeded your current quota of context window 1M",
        "Your request is larger than your rate limit",
        "The request is too large for the queue",
        "message is longer than 3 seconds old",
        "Request header fields too long",
        "stop: a stop word is too long; at most 4 stop sequences",
        "max_tokens must be at least 16",
        "The model `m` does not exist",
        "worker died while the prompt was computed",
    ],
)
def test_other_failures_are_not_taken_for_it(said: str) -> None:
    assert not says_too_long(said)
