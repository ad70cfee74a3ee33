"""Recognises by its words a server's refusal of a request that is longer than the model's context.

The status says little: one and the same refusal comes as HTTP 400, 413, 422, 500, or with HTTP 200 as an error inside the stream.
"""

from __future__ import annotations

import re

_CONTEXT = r"context[ _-]?(?:length|window|size|limit)"
_CODE = re.compile(  # OpenAI's, LiteLLM's, llama.cpp's
    r"context_?(?:length|window|size|limit)_?exceed|exceed(?:s|ed)?_?context_?(?:length|window|size)|prompt_?too_?long"
)
_WORDS = re.compile(
    "|".join(
        (
            # vLLM, SGLang, llama.cpp, OpenAI, Mistral, Ollama
            rf"(?:exceed|maximum|larger|longer|greater|beyond|too (?:long|large)|at most|only)[^\n]{{0,80}}{_CONTEXT}",
            rf"{_CONTEXT}[^\n]{{0,80}}(?:exceed|is (?:only )?\d)",
            r"max(?:imum)? (?:model|sequence) length|max_model_len|max_seq_len|session_len",  # vLLM, TensorRT-LLM, LMDeploy
            # Anthropic, Bedrock, vLLM, llama.cpp
            r"(?:prompt|inputs?|request|messages?)\W*(?:\([^)]*\)\s*)?(?:is|are) (?:too (?:long|large)|longer|larger)",
            # SGLang, TensorRT-LLM, Gemini
            r"(?:prompt|input|sequence) (?:token )?(?:length|count)\b[^\n]{0,60}(?:exceed|longer than|larger than|greater than)",
            r"inputs?\W* (?:tokens \+ \S+ )?must (?:have less|be <)",  # TGI
            r"reduce the length of (?:the|your) (?:messages|prompt|input)",  # OpenAI and those after it
            r"exceeded model token limit|range of input length should be",  # Moonshot, DashScope
        )
    )
)
_LIMIT_OF_ANOTHER_KIND = re.compile(  # of requests or tokens in some time, of a contract, of waiting: the next request may be let through
    r"rate[ _-]?limit|quota|\bper[ _-]?(?:min(?:ute)?|sec(?:ond)?|hour|day)\b|too many requests|subscription|deadline|\bqueue|\bseconds\b"
)


def says_too_long(text: str) -> bool:
    """Whether an error says that the request does not fit into the model's context."""
    words = text.lower()
    return _CODE.search(words) is not None or (_WORDS.search(words) is not None and not _LIMIT_OF_ANOTHER_KIND.search(words))
