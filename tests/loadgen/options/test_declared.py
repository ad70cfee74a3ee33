"""Options are declared once: the page is made of them, Locust's parser takes them, other tools' names work."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from locust.argument_parser import get_parser

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.declared import OPTIONS
from locust_kvcache.loadgen.options.option import GROUPS, number
from locust_kvcache.loadgen.options.page import page
from locust_kvcache.loadgen.options.resolve import find_deployment
from locust_kvcache.loadgen.options.run_options import Options, read_options
from tests.conftest import ROOT


def test_the_page_is_not_stale() -> None:
    assert (ROOT / "docs" / "options.md").read_text() == page(), "make options"


def test_names_groups_and_variables_are_unique() -> None:
    names = [name for option in OPTIONS for name in (option.name, *option.aliases)]
    assert len(set(names)) == len(names)
    assert {option.group for option in OPTIONS} == set(GROUPS)


def parsed(text: str) -> argparse.Namespace:
    return get_parser(default_config_files=[]).parse_args(text.split())


def options(text: str) -> Options:
    return read_options(parsed(text))


def test_targets_replace_those_of_the_deployment_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text("endpoint: http://h:1\nkind: other\ntargets: {hit_rate_min: 0.5, hit_ttft_reduction_min: 0.4}\n")
    given = options(f"--deployment {file} --targets hit_rate_min=0.7 hit_throughput_gain_min=1.5")
    assert find_deployment(given, None).targets == {
        "hit_rate_min": 0.7,
        "hit_ttft_reduction_min": 0.4,
        "hit_throughput_gain_min": 1.5,
    }
    assert find_deployment(options("--targets hit_rate_min=0.7"), "http://h:1").targets == {"hit_rate_min": 0.7}


def test_an_option_of_several_values_adds_up_when_it_is_given_again() -> None:
    assert options("--concurrency 1 5 --concurrency 10").concurrency == (1, 5, 10)
    given = options("--targets hit_rate_min=0.7 --targets hit_throughput_gain_min=1.5")
    assert given.study.targets == {"hit_rate_min": 0.7, "hit_throughput_gain_min": 1.5}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--targets hit_rate_min=0.5 hit_rate_min=0.7", "--targets names hit_rate_min twice, as 0.5 and 0.7; expected it once"),
        ("--slo ttft_ms=2000 --slo ttft:1000", "--slo names ttft_ms twice, as 2000 and 1000; expected it once"),
    ],
)
def test_two_limits_of_one_name_are_a_contradiction(given: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        options(given)


def test_an_option_without_any_of_its_values_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """As --targets $TARGETS of an unset variable: a gate would pass without its target."""
    with pytest.raises(SystemExit):
        options("--targets")
    assert "argument --targets: no value is given; expected at least one, or leave the option out" in capsys.readouterr().err


def test_names_of_other_tools() -> None:
    found = options("--num-prompts 7 --max-concurrency 5 --goodput ttft:2000 tpot:50 e2el:9000")
    assert (found.requests, found.concurrency) == (7, (5,))
    assert found.study.slo == {"ttft_ms": 2000.0, "tpot_ms": 50.0, "e2e_ms": 9000.0}
    assert options("--slo ttft_ms=2000").study.slo == {"ttft_ms": 2000.0}
    with pytest.raises(BadInput, match="--slo is 'itl:5'; expected NAME=MS"):
        options("--goodput itl:5")


def test_each_option_reads_its_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_ROUNDS", "3")
    monkeypatch.setenv("KV_SCENARIOS", "[cold_start, code_generation]")
    monkeypatch.setenv("KV_GATE", "true")
    found = options("")
    assert (found.rounds, found.scenarios, found.gate) == (3, ("cold_start", "code_generation"), True)


def test_each_option_reads_its_key_of_a_file(tmp_path: object) -> None:
    file = tmp_path / "mine.conf"  # type: ignore[operator]
    file.write_text("rounds = 3\nscenarios = [cold_start, code_generation]\nprompt-tokens = 100\ngate = true\n")
    found = options(f"--config {file}")
    assert (found.rounds, found.scenarios, found.prompt_tokens, found.gate) == (3, ("cold_start", "code_generation"), 100, True)


@pytest.mark.parametrize("text", ["99999999999999999999", "1e308", "inf", "-inf", "nan", "1e9999"])
def test_numbers_without_end_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--burstiness is"):
        number("burstiness", text, float, 1e-6)


def test_numbers() -> None:
    assert number("rounds", "3", int, 1) == 3
    assert number("rounds", "", int, 1) is None
    with pytest.raises(BadInput, match="--rounds is '0'; expected a whole number of at least 1"):
        number("rounds", "0", int, 1)
    with pytest.raises(BadInput, match=r"--seed is 'x'; expected a whole number$"):
        number("seed", "x", int, None)
