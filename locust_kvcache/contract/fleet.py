"""Reads `engines` and `router` of a deployment file: the engines behind one address, and how the router names them."""

from __future__ import annotations

from dataclasses import dataclass

from locust_kvcache.contract.addresses import check_url
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section

ROLES = {"prefill": "prefiller", "decode": "decoder"}  # other words for the names that the analysis knows


@dataclass(frozen=True)
class Engine:
    """One engine of a deployment that has several behind its address. `url`: its metrics page."""

    name: str
    role: str
    url: str
    gpus: int | None = None


def parse_engines(top: Section, source: str) -> tuple[Engine, ...]:
    entries = top.raw("engines") or []
    if not isinstance(entries, list):
        raise BadInput(
            f"{top.name('engines')} is {entries!r}; expected a list of {{name, metrics}}, with role and gpus if you like"
        )
    engines: list[Engine] = []
    for number, entry in enumerate(entries):
        section = Section(entry, source, f"engines[{number}].")
        url = check_url(section.take("metrics", str), section.name("metrics"), page=True)
        role = section.take("role", str, "server")
        role = ROLES.get(role, role)
        engines.append(Engine(section.take("name", str), role, url, section.take("gpus", int, None, low=1)))
        section.done()
    for what, values in (("name", [engine.name for engine in engines]), ("metrics", [engine.url for engine in engines])):
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise BadInput(f"{top.name('engines')} has the {what} {twice!r} twice; each engine needs its own")
    return tuple(engines)


def parse_router(top: Section, endpoint: str) -> tuple[tuple[tuple[str, str], ...], str, str]:
    """Its metrics page as (role, URL), if given, the response header in which it names the engine, and where its list of workers is asked
    for (`discover: true`: at the endpoint); empty: nowhere."""
    router = top.section("router")
    url, header = router.take("metrics", str, None), router.take("engine_header", str, "")
    discover = router.raw("discover", False)
    router.done()
    if not isinstance(discover, bool | str):
        raise BadInput(f"{router.name('discover')} is {discover!r}; expected true, or the address of the router's own pages")
    asked = check_url(discover, router.name("discover")) if isinstance(discover, str) else endpoint if discover else ""
    return ((("router", check_url(url, router.name("metrics"), page=True)),) if url else ()), header, asked


def parse_gpus(top: Section, engines: tuple[Engine, ...]) -> int | None:
    """As given, else the sum over the engines where each says how many it has."""
    given: int | None = top.take("gpus", int, None, low=1)
    each = [engine.gpus for engine in engines if engine.gpus is not None]
    return given if given is not None or not each or len(each) < len(engines) else sum(each)
