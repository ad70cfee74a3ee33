"""Texts that the load writes into run.json have a Chinese form, are found by it as finished sentences, and unknown ones stay English."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from locust_kvcache.contract.language import CHINESE, ENGLISH, catalogue, told, use_language
from tests import texts

WRITERS = frozenset({"warn", "_warn", "append", "Outcome", "Finding", *texts.STAND_IN_RUN_JSON})
FOLDERS = ("loadgen/master", "loadgen/run", "loadgen/server", "loadgen/studies", "workload")
SENTENCE = re.compile(r"(?:(?<![\w./:-])[a-z]{2,} ){2}[a-z]{2,}\b(?![/=:_])")  # three English words in a row
PLACEHOLDER = re.compile(r"\{\w+\}")


@pytest.fixture(autouse=True)
def chinese() -> Iterator[None]:
    use_language(CHINESE)
    yield
    use_language(ENGLISH)


def _written(folder: str) -> Iterator[tuple[str, str]]:
    """(file and line, text) of each sentence that is handed to a call which writes into run.json."""
    for path in sorted((texts.ROOT / "locust_kvcache" / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in WRITERS:
                for line, text in texts.Texts().of(ast.Tuple([*node.args], ast.Load())):
                    yield f"{path.name}:{line}", " ".join(texts.core(text).split())


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_that_the_load_writes_has_a_chinese_form(folder: str) -> None:
    known = texts.translated()
    found = {where: text for where, text in _written(folder) if SENTENCE.search(PLACEHOLDER.sub("", text))}
    assert {where: text for where, text in found.items() if not known.get(text)} == {}
    assert found or folder == "loadgen/studies" or folder == "workload"


def test_every_text_of_the_load_is_found_when_its_placeholders_are_filled() -> None:
    """By its own template or by parts: no English clause is left."""
    left = {}
    for text, source in texts.in_sources().items():
        if any(f"/{folder}/" in source for folder in FOLDERS):
            shown = told(PLACEHOLDER.sub("7", text))
            if SENTENCE.search(shown):
                left[text] = shown
    assert left == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "run a_single_1 is incomplete: 8 of 60 requests failed (8 x 503 Service Unavailable, 1 x cut); --max-failures allows 5%",
            "运行 a_single_1 不完整：60 个请求中 8 个失败（8 x 503 Service Unavailable, 1 x cut）；--max-failures 允许 5%",
        ),
        (
            "worker vm#0 was lost in round 1 of cold_start: 56 sessions that it had not begun go to other workers, 12 requests may "
            "have been sent",
            "worker vm#0 在 cold_start 第 1 轮中丢失：它尚未开始的 56 个会话重新分配，12 个请求可能已由它发出",
        ),
        (
            "the store cache could not be emptied by sglang_flush (HTTP 404: POST /flush_cache is not there): the round measures what is "
            "left in it",
            "sglang_flush 未能清空 存储 缓存（HTTP 404：POST /flush_cache 不存在）：该轮测到的是其中剩余的内容",
        ),
        (
            "prompts that return after 1 to 8 s beside 5,000 new tokens/s",
            "在 1 到 8 s 后重新出现的 prompt，其间每秒 5,000 个新 token",
        ),
        (
            "every worker was lost; stopped in round 2 of long_context (2/3 (1 failed))",
            "所有 worker 都已丢失；在 long_context 第 2 轮中停止（2/3（1 失败））",
        ),
    ],
)
def test_a_text_of_run_json_is_told(text: str, expected: str) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "users of other classes sent requests to the same server",
        "the kernel dropped packets of a flow that nobody knows",
        "they slow the measured requests and may fill or empty some caches",
    ],
)
def test_a_sentence_that_the_catalogue_does_not_know_stays_english_as_a_whole(text: str) -> None:
    assert told(text) == text


def test_a_text_is_found_without_trying_all_ways() -> None:
    """A line of the log is told while a round may run: the template that is most of the text ends the search."""
    text = "the clock of worker vm_1 is 0.3 s from the master's: start times are corrected for it, durations do not depend on it; set the hosts' clocks by NTP"  # noqa: E501
    assert len(list(catalogue(CHINESE)._ways(text))) <= 2
