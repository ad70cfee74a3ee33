"""Reads deployment files and the model list: where to send, and what is known about it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from locust_kvcache.contract.addresses import check_url
from locust_kvcache.contract.cache_tiers import CacheAction, parse_caches
from locust_kvcache.contract.dialects import NamedDialect, find_dialect, reset_entries, with_headers
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.fault_events import FaultEvent, parse_events
from locust_kvcache.contract.fleet import Engine, parse_engines, parse_gpus, parse_router
from locust_kvcache.contract.gateway import Headers, checked_body, checked_headers
from locust_kvcache.contract.restart import Restart, parse_restart
from locust_kvcache.contract.schema import Section, load_yaml
from locust_kvcache.contract.shipped import find_config, shipped
from locust_kvcache.contract.targets import read_targets

CONFIGS = shipped("configs")
MODELS = Path("configs/models.yaml")
OBJECTIVES = ("ttft_ms", "tpot_ms", "e2e_ms")
CAPACITIES = ("gpu_tokens", "cpu_gb", "store_gb")  # GB: 10^9 bytes
KINDS = ("pd_disagg", "non_disagg", "other")


# Response headers in which the engine is looked for where no `router.engine_header` is given; the emulated fleet sends it
ENGINE_HEADERS = ("x-engine",)


@dataclass(frozen=True)
class Transport:
    """How connections to a deployment are made; files are read on every worker."""

    ca_file: str | None = None  # certificates to trust instead of the system's
    client_cert: str | None = None
    client_key: str | None = None
    verify: bool = True
    proxy: str | None = None  # http://host:port, for http and https endpoints
    headers: Headers = ()  # of every request, with ${NAME} where the environment has the value
    query: str = ""  # behind every path, without the question mark
    api_path: str = "/v1"  # in front of /chat/completions, /completions and /models
    engine_header: str = ""  # of a response, with the engine's name; empty: ENGINE_HEADERS are looked for
    dialect: str = ""  # of another package, by its name (contract/dialects.py); every worker needs the package


@dataclass(frozen=True)
class Access:
    """How a deployment's pages are asked for: over its transport, with its key."""

    transport: Transport = Transport()
    api_key_env: str = "OPENAI_API_KEY"


@dataclass(frozen=True)
class Deployment:
    """A deployment under test. `metrics` are (role, URL) pairs of the servers' own metrics pages, those of `engines` included."""

    name: str
    kind: str
    endpoint: str
    api_key_env: str = "OPENAI_API_KEY"
    model_key: str | None = None
    gpus: int | None = None
    price_per_gpu_hour: float | None = None  # in any currency
    price_per_gb_month: float | None = None  # of the KV store; GB: 10^9 bytes
    metrics: tuple[tuple[str, str], ...] = ()
    engines: tuple[Engine, ...] = ()
    discover: str = ""  # address of a router whose workers are the engines, or are compared with them; empty: none is asked
    transport: Transport = Transport()
    caches: tuple[CacheAction, ...] = ()  # how each tier is emptied
    restart: Restart | None = None  # how the engine is started again, for the arm after_restart
    events: tuple[FaultEvent, ...] = ()  # what the master does to the servers while a round is under way
    link_gb_per_s: float | None = None  # of the slowest link between the GPU and the KV store, GB (10^9 bytes) per second
    targets: dict[str, float] = field(default_factory=dict)
    slo: dict[str, float] = field(
        default_factory=dict
    )  # of OBJECTIVES: limits in ms that a request must keep to count as goodput
    capacity: dict[str, float] = field(default_factory=dict)  # of CAPACITIES: what each cache tier holds
    leases_s: dict[str, float] = field(default_factory=dict)  # TTLs and leases of its tiers by name, marked in a retention study
    extra_body: dict[str, Any] = field(default_factory=dict)  # fields of every request's body, beside ours
    fold_system: bool = False  # no system message: its text stands in front of the first user message

    @property
    def access(self) -> Access:
        return Access(self.transport, self.api_key_env)

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "metrics": [{"role": role, "url": url} for role, url in self.metrics]}


def _amounts(section: Section, names: tuple[str, ...]) -> dict[str, float]:
    chosen = {name: section.take(name, float, None, low=0.001) for name in names}
    section.done()
    return {name: value for name, value in chosen.items() if value is not None}


def _leases(top: Section) -> dict[str, float]:
    section = top.section("leases_s")
    return {str(name): section.take(name, float, low=0.001) for name in _mapping(top, "leases_s")}


def _metrics(top: Section, source: str) -> tuple[tuple[str, str], ...]:
    entries = top.raw("metrics") or []
    if not isinstance(entries, list):
        raise BadInput(f"{top.name('metrics')} is {entries!r}; expected a list of {{role, url}}")
    pairs = []
    for number, entry in enumerate(entries):
        section = Section(entry, source, f"metrics[{number}].")
        pairs.append((section.take("role", str), check_url(section.take("url", str), section.name("url"), page=True)))
        section.done()
    return tuple(pairs)


def _mapping(top: Section, key: str) -> dict[Any, Any]:
    found = top.raw(key) or {}
    if not isinstance(found, dict):
        raise BadInput(f"{top.name(key)} is {found!r}; expected a mapping")
    return found


def _api_path(top: Section) -> str:
    path = str(top.take("api_path", str, "/v1")).rstrip("/")
    if path and not path.startswith("/"):
        raise BadInput(f"{top.name('api_path')} is {path!r}; expected a path such as /v1 or /openai/v1, or an empty text")
    return path


def _transport(top: Section, engine_header: str, dialect: NamedDialect) -> Transport:
    tls = top.section("tls")
    proxy = top.take("proxy", str, None)
    transport = Transport(
        **{key: tls.take(key, str, None) for key in ("ca_file", "client_cert", "client_key")},
        verify=tls.take("verify", bool, True),
        proxy=check_url(proxy, top.name("proxy")) if proxy else None,
        headers=checked_headers(with_headers(dialect, _mapping(top, "headers")).items(), top.name("headers")),
        query=top.take("query", str, "").removeprefix("?"),
        api_path=_api_path(top),
        engine_header=(engine_header or dialect.of.engine_header).lower(),
        dialect=dialect.name,
    )
    tls.done()
    for key in ("ca_file", "client_cert", "client_key"):
        file = getattr(transport, key)
        if file and not Path(file).is_file():
            raise BadInput(f"{tls.name(key)} is {file!r}; there is no such file")
    if transport.client_key and not transport.client_cert:
        raise BadInput(f"{tls.name('client_key')} needs 'client_cert' beside it")
    return transport


def load_deployment(path: Path) -> Deployment:
    """The deployment described in a YAML file, or in the shipped one of that name (configs/pd_disagg.yaml shows every key)."""
    path = find_config(path)
    source = str(path)
    top = Section(load_yaml(path), source)
    targets = top.section("targets")
    engines = parse_engines(top, source)
    endpoint = check_url(top.take("endpoint", str), top.name("endpoint"))
    router_page, engine_header, discover = parse_router(top, endpoint)
    listed = [*_metrics(top, source), *((engine.role, engine.url) for engine in engines), *router_page]
    dialect = find_dialect(top.take("dialect", str, ""), top.name("dialect"))
    deployment = Deployment(
        name=top.take("name", str, path.stem),
        kind=top.take("kind", str, choices=KINDS),
        endpoint=endpoint,
        api_key_env=top.take("api_key_env", str, "OPENAI_API_KEY"),
        model_key=top.take("model", str, None),
        gpus=parse_gpus(top, engines),
        price_per_gpu_hour=top.take("price_per_gpu_hour", float, None, low=0),
        price_per_gb_month=top.take("price_per_gb_month", float, None, low=0),
        metrics=tuple(dict.fromkeys(listed)),
        engines=engines,
        discover=discover,
        transport=_transport(top, engine_header, dialect),
        caches=parse_caches(top.raw("caches") or reset_entries(dialect, endpoint), source),
        restart=parse_restart(top, endpoint),
        events=parse_events(top.raw("events") or [], source),
        link_gb_per_s=top.take("link_gb_per_s", float, None, low=1e-6),
        targets=read_targets(targets),
        slo=_amounts(top.section("slo"), OBJECTIVES),
        capacity=_amounts(top.section("capacity"), CAPACITIES),
        leases_s=_leases(top),
        extra_body=checked_body({**dialect.of.extra_body, **_mapping(top, "extra_body")}, top.name("extra_body")),
        fold_system=top.take("fold_system", bool, False),
    )
    top.done()
    return deployment


def host_deployment(host: str) -> Deployment:
    """What is known when only --host is given: any OpenAI-compatible server, its metrics page tried at /metrics."""
    endpoint = check_url(host, "--host")
    return Deployment(_slug(urlsplit(endpoint).netloc), "other", endpoint, metrics=(("server", f"{endpoint}/metrics"),))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:100]  # a folder's name has at most 255 bytes


@dataclass(frozen=True)
class ModelInfo:
    """One entry of configs/models.yaml: what the served name stands for, and its targets."""

    key: str
    served_name: str
    kv_bytes_per_token: int | None
    values: dict[str, Any]
    targets: dict[str, float]


def load_models(path: Path | None = None) -> tuple[str, dict[str, ModelInfo]]:
    """(key of the active model, all models by key) of ./configs/models.yaml, else of the one that comes with the product."""
    path = path or find_config(MODELS)
    source = str(path)
    top = Section(load_yaml(path), source)
    active, entries = top.take("active", str), top.take("models", dict)
    top.done()
    models = {}
    for key, values in entries.items():
        section = Section(values, source, f"models.{key}.")
        for name in ("active_parameters", "attention_flop_per_token2"):
            section.take(name, int, None, low=1)
        models[key] = ModelInfo(
            key,
            section.take("served_name", str),
            section.take("kv_bytes_per_token", int, None, low=1),
            {name: value for name, value in values.items() if name != "targets"},
            read_targets(section.section("targets")),
        )
    if active not in models:
        raise BadInput(f"{source}: key 'active' is {active!r}; allowed: {', '.join(models)}")
    return active, models
