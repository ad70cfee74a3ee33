"""Reads a scenario's YAML; unknown or missing keys are errors that name file and key."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.extensions import SCENARIOS, extensions, scenario_values
from locust_kvcache.contract.schema import Section, load_yaml
from locust_kvcache.contract.shipped import shipped
from locust_kvcache.workload.apis import APIS, CHAT, CONVERSING, check_api
from locust_kvcache.workload.chunk_sessions import parse_chunks
from locust_kvcache.workload.corpus import load_corpus, parse_conversations, parse_documents
from locust_kvcache.workload.dose_response import Doses, parse_doses
from locust_kvcache.workload.estimate import estimated_tokens
from locust_kvcache.workload.identity import parse_identity
from locust_kvcache.workload.lengths import Lengths, parse_lengths
from locust_kvcache.workload.scenario_conflicts import check_parts
from locust_kvcache.workload.session_shape import parse_shape
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.tenants import TENANTS, mixed, parse_tenants
from locust_kvcache.workload.text import KINDS
from locust_kvcache.workload.waits import Waits, parse_waits

FOLDER = shipped("scenarios")
REPLIES = ("planned", "server")
SMALLEST_PREFIX_TOKENS = 32
ORDERS = ("interleaved", "grouped")


def _range(section: Section, key: str) -> tuple[int, int]:
    value = section.raw(key)
    low, high = value if isinstance(value, list) and len(value) == 2 else (value, value)
    whole = all(isinstance(v, int) and not isinstance(v, bool) for v in (low, high))
    if not whole or not 1 <= low <= high:
        raise BadInput(f"{section.name(key)} is {value!r}; expected a whole number of tokens, [low, high], or a distribution")
    return low, high


def _lengths(section: Section, key: str) -> Lengths | None:
    return parse_lengths(section, key) if isinstance(section.raw(key), dict) else None


def _bounds(turns: Section, lengths: Lengths | None) -> tuple[int, int]:
    return (lengths.low, lengths.high) if lengths else _range(turns, "tokens")


def _popularity(prefix: Section, files: int) -> tuple[int, float]:
    """Documents and Zipf's exponent; (0, 0) where the scenario does not speak of popularity. With `files` they are the documents."""
    if prefix.raw("popularity") is None:
        return files, 0.0
    given = prefix.section("popularity")
    found = files or given.take("documents", int, low=1), given.take("zipf", float, low=0)
    given.done()
    if prefix.raw("shared_by") is not None:
        raise BadInput(f"{prefix.name('popularity')} and 'shared_by' both say who shares a prefix; leave one out")
    return found


def _think_time(section: Section, source: str) -> Waits:
    """`think_time`, or its old name for a number."""
    if section.raw("think_time_s") is not None and section.raw("think_time") is not None:
        raise BadInput(f"{section.name('think_time_s')} stands beside 'think_time'; leave one out")
    key = "think_time_s" if section.raw("think_time_s") is not None else "think_time"
    if key == "think_time_s":
        section.take(key, float, low=0)
    return parse_waits(section, key, Path(source).parent)


def _shared_by(prefix: Section) -> int:
    """0: all of them."""
    shared_by = prefix.raw("shared_by", 1)
    if shared_by != "all" and (not isinstance(shared_by, int) or isinstance(shared_by, bool) or shared_by < 1):
        raise BadInput(f"{prefix.name('shared_by')} is {shared_by!r}; expected a number of sessions (1: unique) or all")
    return 0 if shared_by == "all" else shared_by


def _prefix(prefix: Section, source: str) -> dict[str, Any]:
    """What the sessions start with: made-up text, or the user's own documents."""
    if prefix.raw("files") is None:
        documents, zipf = _popularity(prefix, 0)
        return {
            "prefix_text": prefix.take("text", str, choices=KINDS),
            "prefix_tokens": prefix.take("tokens", int, low=SMALLEST_PREFIX_TOKENS),
            "prefix_shared_by": _shared_by(prefix),
            "documents": documents,
            "zipf": zipf,
        }
    corpus = parse_documents(prefix, Path(source).parent)
    texts = load_corpus(corpus).documents
    if prefix.raw("shared_by") is not None:
        raise BadInput(
            f"{prefix.name('shared_by')} stands beside 'files'; sessions take the documents in turn, or by 'popularity'"
        )
    documents, zipf = _popularity(prefix, len(texts))
    longest = max(map(estimated_tokens, texts))
    shape = {"prefix_text": "document", "prefix_tokens": longest, "prefix_shared_by": 0}
    return {**shape, "documents": documents, "zipf": zipf, "corpus": corpus}


def _output(output: Section) -> dict[str, Any]:
    lengths = _lengths(output, "tokens")
    return {
        "output_tokens": lengths.high if lengths else output.take("tokens", int, low=1),
        "ignore_eos": output.take("ignore_eos", bool, True),
        "temperature": output.take("temperature", float, 0.0, low=0),
        "output_lengths": lengths,
    }


def _doses(top: Section, prefix: Section, output: Section) -> Doses:
    return parse_doses(
        top.section("doses"), prefix.take("tokens", int, low=SMALLEST_PREFIX_TOKENS), output.take("tokens", int, low=1)
    )


def _conversations(values: dict[str, Any], source: str) -> Scenario:
    """A scenario whose turns are those of a file; without `requests`, all of them."""
    top = Section(values, source)
    given, output = top.section("conversations"), top.section("output")
    corpus = parse_conversations(given, Path(source).parent)
    found = load_corpus(corpus)
    held = sum(len(one.users) for one in found.conversations)
    requests = top.take("requests", int, held, low=1)
    if requests > held:
        raise BadInput(f"{top.name('requests')} is {requests}; the file holds {held} user turn{'s' * (held != 1)}")
    scenario = Scenario(
        name=top.take("name", str),
        summary=top.take("summary", str),
        api=top.take("api", str, CHAT, choices=CONVERSING),
        requests=requests,
        rounds=top.take("rounds", int, 2, low=1),
        prefix_text="document",
        prefix_tokens=0,
        prefix_shared_by=1,
        turns=max(len(one.users) for one in found.conversations),
        turn_text="question",
        turn_tokens=(1, 1),
        reply="server" if corpus.history == "generated" else "planned",
        think_time=_think_time(given, source),
        order=top.take("order", str, "interleaved", choices=ORDERS),
        corpus=dataclasses.replace(corpus, skipped=found.skipped, notes=found.notes),
        identity=parse_identity(top),
        **_output(output),
    )
    for section in (top, given, output):
        section.done()
    return scenario


def parse_scenario(values: dict[str, Any], source: str) -> Scenario:
    """A Scenario from the parsed YAML `values`; `source` names the file in errors, and its folder is where a user's files are."""
    if TENANTS in values:
        return mixed(*parse_tenants(values, source, parse_scenario, load_scenario))
    if "conversations" in values:
        return _conversations(values, source)
    top = Section(values, source)
    prefix, turns, output = top.section("prefix"), top.section("turns"), top.section("output")
    doses = _doses(top, prefix, output) if "doses" in values else None
    turn_lengths = _lengths(turns, "tokens")
    shape = parse_shape(top, turns, Path(source).parent)
    scenario = Scenario(
        name=top.take("name", str),
        summary=top.take("summary", str),
        api=top.take("api", str, CHAT, choices=APIS),
        requests=doses.requests if doses else top.take("requests", int, low=1),
        rounds=top.take("rounds", int, 2, low=1),
        turns=2 if doses else shape.counts.high if shape and shape.counts else turns.take("count", int, 1, low=1),
        turn_text=turns.take("text", str, choices=KINDS),
        turn_tokens=(1, max(doses.prompt_tokens)) if doses else _bounds(turns, turn_lengths),
        reply=turns.take("reply", str, "planned", choices=REPLIES),
        think_time=_think_time(turns, source),
        order=top.take("order", str, "interleaved", choices=ORDERS),
        doses=doses,
        turn_lengths=turn_lengths,
        shape=shape,
        chunks=parse_chunks(top),
        identity=parse_identity(top),
        **_prefix(prefix, source),
        **_output(output),
    )
    for section in (top, prefix, turns, output):
        section.done()
    check_parts(scenario, prefix, source)
    if shape is not None:  # the schemas of tools are part of the prefix
        scenario = dataclasses.replace(scenario, prefix_tokens=scenario.prefix_tokens + shape.schema_tokens)
    check_api(scenario, f"{source}: key 'api'")
    return scenario


def folders() -> tuple[Path, ...]:
    """Where a scenario's name is looked up: the working directory's own, then those that come with the product."""
    return tuple(dict.fromkeys((Path("scenarios").resolve(), FOLDER)))


def available_scenarios() -> list[str]:
    """Names of all scenarios: one YAML file each, and those of installed packages."""
    return sorted({path.stem for folder in folders() for path in folder.glob("*.yaml")} | extensions(SCENARIOS).keys())


def scenario_file(name_or_path: str) -> Path:
    """The YAML file of a scenario; BadInput lists what there is."""
    is_path = name_or_path.endswith((".yaml", ".yml"))
    candidates = [Path(name_or_path)] if is_path else [folder / f"{name_or_path}.yaml" for folder in folders()]
    for path in candidates:
        if path.is_file():
            return path
    raise BadInput(
        f"scenario {name_or_path!r} is unknown; available: {', '.join(available_scenarios())}, or the path of a YAML file"
    )


def load_scenario(name_or_path: str) -> Scenario:
    """The scenario of that name, or of that YAML file; BadInput names the key that is wrong. Files come before installed packages."""
    named = not name_or_path.endswith((".yaml", ".yml")) and not any(
        (folder / f"{name_or_path}.yaml").is_file() for folder in folders()
    )
    given = scenario_values(name_or_path) if named else None
    if isinstance(given, dict):
        package = extensions(SCENARIOS)[name_or_path].package
        return parse_scenario({"name": name_or_path, **given}, f"scenario {name_or_path} of the package {package}")
    path = given or scenario_file(name_or_path)
    scenario = dataclasses.replace(parse_scenario(load_yaml(path), str(path)), file=str(path.resolve()))
    if scenario.name != path.stem:
        raise BadInput(f"{path}: key 'name' is {scenario.name!r}; expected {path.stem!r}, the file's own name")
    return scenario
