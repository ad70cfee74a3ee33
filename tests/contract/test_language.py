"""The language of report and console: chosen by option or locale; every text of the sources has its Chinese one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from locust_kvcache.contract.catalogue import Catalogue, core
from locust_kvcache.contract.language import CHINESE, ENGLISH, catalogue, default_language, language, told, use_language
from tests import texts

PLACEHOLDER = re.compile(r"\{\w+\}")


@pytest.fixture
def chinese() -> Iterator[None]:
    use_language(CHINESE)
    yield
    use_language(ENGLISH)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_MESSAGES": "zh_TW", "LANG": "de_DE.UTF-8"}, "zh"),
        ({"LC_ALL": "", "LANG": "zh_CN.UTF-8"}, "zh"),
    ],
)
def test_the_locale_chooses_the_language(environment: dict[str, str], expected: str) -> None:
    assert default_language(environment) == expected


def test_what_a_person_types_is_not_translated(chinese: None) -> None:
    """--accept takes the English words alone."""
    said = told('Run both with the same value, or accept the difference: --accept "load: users".')
    assert said == '两边用相同的值重跑，或接受这一差异：--accept "load: users"。'


def test_both_sides_of_a_stroke_are_translated(chinese: None) -> None:
    assert told("cold_start: requests 4 / cold_start: requests 30") == "cold_start：请求数 4 / cold_start：请求数 30"


def test_english_is_told_as_it_is() -> None:
    assert language() == ENGLISH
    assert told("2 of 3 targets met.") == "2 of 3 targets met."


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Contents", "目录"),
        ("2 of 3 targets met, 1 not judged.", "3 项目标中达成 2 个，1 项未判定。"),
        (
            "cold_start: repeating the requests cuts the mean TTFT by 66.5 % (95 % interval 61.2 to 70.1 %), from 21,200 to 7,100 ms.",
            "cold_start：重复请求使平均 TTFT 降低 66.5 %（95 % 区间 61.2 到 70.1 %），从 21,200 到 7,100 ms。",
        ),
        ("cold_start, round 1 of 2", "cold_start，第 1/2 轮"),
        ("1,234.5", "1,234.5"),
        ("tp2 or dp2 (1,280 and 1,310 ms; intervals overlap)", "tp2 或 dp2（1,280 和 1,310 ms；区间重叠）"),
        ("1, 5 and 10 ms", "1，5 和 10 ms"),
        ("3 runs of PD and 6 runs of single", "PD 3 次运行和单机 6 次运行"),
        ("Round 2 of cold_start (hit)", "cold_start 第 2 轮（命中）"),
        ("cold_start", "cold_start"),
        ("what a server said: nobody knows it", "what a server said: nobody knows it"),
    ],
)
def test_a_finished_text_is_told_in_chinese(text: str, expected: str) -> None:
    assert told(text) == expected


def test_a_text_is_taken_apart_where_the_least_english_is_left() -> None:
    texts = Catalogue(
        {"{a} of {b} failed": "{b} 中 {a} 失败", "{n} requests": "{n} 个请求", "so": "如此", "{x} is {y}": "{x} 为 {y}"}
    )
    assert texts.told("3 of 4 requests failed; so.") == "4 个请求 中 3 失败；如此。"
    assert texts.told("(3 requests)") == "（3 个请求）"
    assert texts.told("Nothing of this") == "Nothing of this"


def test_punctuation_around_a_text_is_no_part_of_it() -> None:
    assert core("; (a text of it).\n") == "a text of it"
    assert core("(a) and (b)") == "(a) and (b)"


# -- the catalogue


@pytest.fixture(scope="module")
def chinese_texts() -> dict[str, str]:
    return texts.translated()


@pytest.fixture(scope="module")
def in_sources() -> dict[str, str]:
    return texts.in_sources()


def test_every_text_of_report_and_console_has_a_chinese_one(chinese_texts: dict[str, str], in_sources: dict[str, str]) -> None:
    missing = {text: name for text, name in in_sources.items() if not chinese_texts.get(text)}
    assert not missing, "run `make texts` and translate them in locust_kvcache/locale/zh"


def test_the_catalogue_has_no_text_that_is_gone(chinese_texts: dict[str, str], in_sources: dict[str, str]) -> None:
    assert sorted(set(chinese_texts) - set(in_sources)) == [], "run `make texts`"
    assert len(chinese_texts) > 1000


def test_placeholders_are_the_same_in_both_languages(chinese_texts: dict[str, str]) -> None:
    differing = {en: zh for en, zh in chinese_texts.items() if sorted(PLACEHOLDER.findall(en)) != sorted(PLACEHOLDER.findall(zh))}
    assert not differing


def test_a_long_list_is_told_in_little_time() -> None:
    """Each of 2,000 items is cut off by itself no more: that took minutes, and then all depth that Python has."""
    told_list = catalogue(CHINESE).told("; ".join(f"a{n}: {n} of {n}" for n in range(2000)))
    assert told_list.startswith("a0：0 中 0；")
    assert told_list.endswith("a1999：1999 中 1999")


def test_templates_are_found_by_a_word_and_none_is_missed() -> None:
    """Looking through all of them for each unknown word took seconds of a report."""
    known = catalogue(CHINESE)
    filled = [PLACEHOLDER.sub("x9_7", core(text)) for text in texts.in_sources()]
    for text in (*filled[::7], "", "abc", "a requ", "requests", "17 of 20 requests failed, 3 of them (HTTP 503) in round 2"):
        assert list(known._candidates(text)) == [one for one in known._templates if one.longest in text]
    looked_at = [len(known._places.get(start, ())) for start in ("", "qwzx", "wzxv")]
    assert sum(looked_at) < len(known._templates) / 8  # of a word that no text has
