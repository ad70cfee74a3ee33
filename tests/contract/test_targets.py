"""Thresholds of targets, from a file and from words: what cannot be one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.contract.deployment import load_deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.targets import parse_targets


def test_words_become_thresholds() -> None:
    assert parse_targets(["hit_rate_min=0.6", "hit_throughput_gain_min=1.5"]) == {
        "hit_rate_min": 0.6,
        "hit_throughput_gain_min": 1.5,
    }
    assert parse_targets([]) == {}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("hit_rate=0.6", "--targets is 'hit_rate=0.6'; expected NAME=NUMBER with one of hit_rate_min, "),
        ("hit_rate_min=60%", "--targets is 'hit_rate_min=60%'; expected a number behind hit_rate_min="),
        ("hit_throughput_gain_min=nan", "expected a number behind hit_throughput_gain_min="),
        ("hit_rate_min=60", "--targets hit_rate_min is 60; expected a share from 0 to 1, e.g. 0.6 for 60 %"),
    ],
)
def test_what_is_no_threshold_is_named(word: str, says: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_targets([word])
    assert says in str(raised.value)


def test_a_hit_rate_of_a_file_is_a_share(tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    text = "endpoint: http://h:1\nkind: other\ntargets: {hit_rate_min: VALUE}\n"
    file.write_text(text.replace("VALUE", "0.6"))
    assert load_deployment(file).targets == {"hit_rate_min": 0.6}
    file.write_text(text.replace("VALUE", "60"))
    with pytest.raises(BadInput, match=r"'targets.hit_rate_min' is 60; expected a share from 0 to 1"):
        load_deployment(file)


@pytest.mark.parametrize("word", ["hit_rate_min=0.6 hit_ttft_reduction_min=0.5", "hit_rate_min=0.6,hit_ttft_reduction_min=0.5"])
def test_one_word_of_the_environment_may_hold_several(word: str) -> None:
    assert parse_targets([word]) == {"hit_rate_min": 0.6, "hit_ttft_reduction_min": 0.5}


def test_an_empty_word_is_no_target() -> None:
    with pytest.raises(BadInput, match="--targets is ''"):
        parse_targets([""])
