"""The YAML file of a run: its keys and values, what wins over it, and the schema that editors check it by."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from locust.argument_parser import get_parser

import locust_kvcache.loadgen.user  # noqa: F401  declares our options on Locust's parser
from locust_kvcache.cli.run import locust_arguments
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.config_file import read_config, settings, with_config_file, without_secrets
from locust_kvcache.loadgen.options.config_schema import config_schema
from locust_kvcache.loadgen.options.declared import OPTIONS
from tests.conftest import ROOT

SCHEMA = config_schema(get_parser())


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "run.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rounds: 2", ["--rounds=2"]),
        ("users: 4\nspawn-rate: 0.5", ["--users=4", "--spawn-rate=0.5"]),
        ("headless: true\ngate: false", ["--headless"]),
        ("scenarios: [cold_start, mine.yaml]", ["--scenarios", "cold_start", "mine.yaml"]),
        ("scenarios: cold_start", ["--scenarios", "cold_start"]),
        ("warm-up: off\ncontrol: on", ["--warm-up=off", "--control=on"]),
        ("slo: {ttft_ms: 2000, tpot_ms: 50.5}", ["--slo", "ttft_ms=2000", "tpot_ms=50.5"]),
        ("targets: {hit_rate_min: 0.6}", ["--targets", "hit_rate_min=0.6"]),
        ("header: {X-A: b}", ["--header=X-A: b"]),
        ("header: ['X-A: b', 'X-C: d']", ["--header=X-A: b", "--header=X-C: d"]),
        ("extra-body: {priority: 1, a: [true]}", ['--extra-body={"priority": 1, "a": [true]}']),
        ("num-prompts: 8", ["--num-prompts=8"]),
        ("run-time: 10m", ["--run-time=10m"]),
    ],
)
def test_values_become_words_and_the_schema_takes_them(text: str, words: list[str]) -> None:
    found = read_config(Path(written(text)))
    assert [word for each in found.words.values() for word in each] == words
    jsonschema.validate(yaml.safe_load(text), SCHEMA)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("round: 2", "key 'round' is not an option; did you mean 'rounds'?"),
        ("spawn_rate: 2", "did you mean 'spawn-rate'?"),
        ("zzz: 2", "`locust-kvcache config schema` lists them all"),
        ("rounds: two", "key 'rounds' is 'two'; expected a whole number of at least 1"),
        ("rounds: 0", "key 'rounds' is '0'; expected a whole number of at least 1"),
        ("rounds:", "key 'rounds' is None; expected text or a number"),
        ("rounds: [1, 2]", "key 'rounds' is [1, 2]; expected text or a number"),
        ("users: 2.5", "key 'users' is '2.5'; expected a whole number"),
        ("headless: 1", "key 'headless' is 1; expected true or false"),
        ("arrival: even", "key 'arrival' is 'even'; allowed: closed, constant, poisson, gamma"),
        ("scenarios: {a: b}", "expected text, a number, or a list of them"),
        ("config: other.yaml", "key 'config' is not an option"),
    ],
)
def test_what_is_refused_is_refused_by_the_schema_too(text: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_config(Path(written(text)))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), SCHEMA)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("requests: 8\nnum-prompts: 8", "keys 'requests' and 'num-prompts' are the same option"),
        ("deployments: []", "start it with `locust-kvcache campaign run.yaml`"),
    ],
)
def test_what_the_schema_cannot_see(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_config(Path(written(text)))


def test_command_line_and_environment_win(monkeypatch: pytest.MonkeyPatch) -> None:
    file = written("scenarios: [a, b]\nrounds: 2\nusers: 4\nheader: ['X-A: b']\nslo: [ttft_ms=1]\nseed: 5")
    monkeypatch.setenv("KV_SEED", "6")
    words, found = with_config_file(["--config", file, "-u", "8", "--header", "X-C: d", "--goodput", "ttft_ms=2"])
    assert words == ["-u", "8", "--header", "X-C: d", "--goodput", "ttft_ms=2", "--scenarios", "a", "b", "--rounds=2"]
    assert found is not None
    assert set(found.words) == {"scenarios", "rounds"}


def test_scenarios_that_are_named_win() -> None:
    file = written("scenarios: [code_generation]\nrounds: 2")
    words = locust_arguments([f"--config={file}", "cold_start", "--headless"])
    parsed = get_parser().parse_args(words)
    assert (parsed.scenarios, parsed.rounds, parsed.headless) == (["cold_start"], 2, True)
    assert words[1].endswith("cold_start.py")


def test_locusts_own_files_stay_locusts() -> None:
    own = written("rounds = 7\nusers = 3\nseed = 9", "locust.ini")
    words = locust_arguments(["--config", own, "--config", written("users: 5"), "cold_start"])
    assert words[2:] == ["--config", own, "--users=5", "--scenarios", "cold_start"]
    parsed = get_parser().parse_args(words)
    assert (parsed.num_users, parsed.rounds, parsed.seed) == (5, 7, 9)


def test_one_yaml_file_and_no_more() -> None:
    with pytest.raises(BadInput, match=r"--config names a.yaml and b.yml; a run has one YAML file"):
        with_config_file(["--config", "a.yaml", "--config=b.yml"])


def test_a_header_is_kept_without_its_value_unless_it_names_a_variable() -> None:
    words = ["--rounds=2", "--header=Authorization: Bearer abc", "--header=X: ${KEY}"]
    assert without_secrets(words) == ["--rounds=2", "--header=Authorization: (not shown)", "--header=X: ${KEY}"]


def test_every_option_of_ours_is_in_the_schema_with_its_meaning() -> None:
    properties: dict[str, Any] = SCHEMA["properties"]
    assert all(option.help.split()[0] in properties[option.name]["description"] for option in OPTIONS)
    assert {"host", "users", "locustfile", "web-port"} <= properties.keys()
    assert not {"config", "help", "version"} & properties.keys()
    assert properties.keys() == settings(get_parser()).keys()
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_the_shipped_schema_is_the_one_that_is_made() -> None:
    """`make options` makes it, or: python -m locust_kvcache config schema > configs/run.schema.json."""
    pinned = next(line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("locust=="))
    if version("locust") != pinned.partition("==")[2]:
        pytest.skip("Locust's own options are those of the pinned version")
    assert json.loads((ROOT / "configs" / "run.schema.json").read_text(encoding="utf-8")) == SCHEMA


def test_the_shipped_file_is_usable() -> None:
    jsonschema.validate(yaml.safe_load((ROOT / "configs" / "run.yaml").read_text()), SCHEMA)
    assert read_config(ROOT / "configs" / "run.yaml").words["scenarios"] == ("--scenarios", "long_context_high_reuse")
