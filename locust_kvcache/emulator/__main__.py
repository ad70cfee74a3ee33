"""Runs one process of the emulator until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Callable

from locust_kvcache.emulator.api import Api
from locust_kvcache.emulator.deployment import Deployment
from locust_kvcache.emulator.faults import Faults
from locust_kvcache.emulator.fleet import Fleet, make_engines
from locust_kvcache.emulator.listener import Handler, Listener, listen, run, until_stopped
from locust_kvcache.emulator.mooncake import MasterPages
from locust_kvcache.emulator.options import parse_arguments
from locust_kvcache.emulator.proxy import Proxy
from locust_kvcache.emulator.realtime import RealTime
from locust_kvcache.emulator.remote import RemoteStore
from locust_kvcache.emulator.routing import Guard
from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.spec import Profile, load_profile, with_priority, with_ttl
from locust_kvcache.emulator.tiers import Tier, TierSpec
from locust_kvcache.emulator.truth import TruthLog


def store_spec(profile: Profile) -> TierSpec:
    """The shared store of a profile's servers; ValueError if it has none."""
    for server in profile.servers.values():
        if server.store:
            return server.store
    raise ValueError(f"profile {profile.name!r} has no store")


def make_deployment(options: argparse.Namespace, profile: Profile) -> Deployment:
    store: Tier | None = None
    if options.store:
        store = RemoteStore(options.store, store_spec(profile), profile.kv_bytes_per_token, options.time_scale)
    return Deployment(
        profile, options.role, Simulation(), options.time_scale, options.proxy, store, options.prefillers, options.decoders
    )


def make_handler(
    options: argparse.Namespace, profile: Profile, refuse: Callable[[float], None]
) -> tuple[Handler, TruthLog | None, Tier | None]:
    """(what answers requests, the truth if there is one, the store if it is here)."""
    model = options.model or profile.served_name
    if options.role == "store":
        store = Tier("store", store_spec(profile), profile.kv_bytes_per_token, options.time_scale)
        return MasterPages(store).handle, None, store
    if options.role == "proxy":
        name = f"emulator ({profile.name}, proxy, time scale {options.time_scale:g})"
        return Proxy(options.prefiller, options.decoder, options.proxy, options.bare_proxy, name).handle, None, None
    deployment = make_deployment(options, profile)
    key = os.environ.get(options.api_key_env) if options.api_key_env else None
    clock = RealTime(deployment.simulation, asyncio.get_running_loop())
    api = Api(deployment, clock, model, key, Faults(options.rules, deployment.lies), refuse, gpu_watts=options.gpu_watts)
    return api.handle, api.log, deployment.store


def where(host: str, listening: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"


async def serve_fleet(
    options: argparse.Namespace, profile: Profile, listening: socket.socket, ports: list[socket.socket]
) -> None:
    """The front at `listening`, an engine at each of `ports`."""
    tasks: set[asyncio.Task[None]] = set()
    listeners: list[Listener] = []

    def refuse(number: int) -> Callable[[float], None]:
        def refuse_one(seconds: float) -> None:
            tasks.add(asyncio.get_running_loop().create_task(listeners[number].refuse(seconds)))

        return refuse_one

    clock = RealTime(Simulation(), asyncio.get_running_loop())
    key = os.environ.get(options.api_key_env) if options.api_key_env else None
    engines = make_engines(options, profile, clock, key, refuse)
    urls = {name: where(options.host, port) for name, port in zip(engines, ports, strict=True)}
    guard = Guard(options.cache_threshold, options.balance_abs_threshold, options.balance_rel_threshold)
    fleet = Fleet(engines, urls, options.routing, guard, options.max_open)
    listeners += [Listener(port, api.handle) for port, api in zip(ports, engines.values(), strict=True)]
    for listener in (*listeners, Listener(listening, fleet.handle)):
        await listener.open()
    model = options.model or profile.served_name
    print(
        f"emulator: {model}, fleet of {len(engines)}, routing {options.routing}, at {where(options.host, listening)}", flush=True
    )
    print(f"emulator: engines at {', '.join(urls.values())}", flush=True)
    await until_stopped()
    counts = ", ".join(f"{name} {fleet.counts.workers[url]}" for name, url in urls.items())
    print(f"emulator: requests routed: {counts}; shed {fleet.counts.errors_of('shed')}", flush=True)


async def serve(
    options: argparse.Namespace, profile: Profile, listening: socket.socket, master_page: socket.socket | None
) -> None:
    """`master_page`: where the store's mooncake_master page is, if anywhere beside `listening`."""
    tasks: set[asyncio.Task[None]] = set()

    def refuse(seconds: float) -> None:
        task = asyncio.get_running_loop().create_task(listener.refuse(seconds))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    handler, log, store = make_handler(options, profile, refuse)
    listener = Listener(listening, handler)
    await listener.open()
    if master_page is not None and store is not None:
        await Listener(master_page, MasterPages(store).handle).open()
        print(f"emulator: page of mooncake_master at {where(options.host, master_page)}/metrics", flush=True)
    for rule in options.rules:
        if rule.name == "refuse_connections":
            refuse(rule.value or 0.0)
    model = options.model or profile.served_name
    print(
        f"emulator: {model}, {options.role}, time scale {options.time_scale:g}, at {where(options.host, listening)}", flush=True
    )
    await until_stopped()
    if log:
        lateness = log.lateness()
        late = lateness["late_us"]
        words = f"p50 {late['p50']:.0f}, p99 {late['p99']:.0f}, max {late['max']:.0f} us"
        print(f"emulator: {lateness['chunks']} tokens sent; later than due: {words}", flush=True)


def check(options: argparse.Namespace, profile: Profile) -> None:
    """ValueError if the profile has not what the role needs."""
    needed = {"pd": ("prefiller", "decoder"), "proxy": (), "store": (), "fleet": ("single",)}.get(options.role, (options.role,))
    servers = [profile.server(name) for name in needed]
    if options.mooncake_port is not None and options.role != "store" and not any(one.store for one in servers):
        raise ValueError(
            f"--mooncake-port needs a store, and --role {options.role} of profile {profile.name!r} has none; "
            "give --role pd or store, or a profile whose servers have a store"
        )
    if options.store or options.role == "store":
        store_spec(profile)


def main() -> int:
    options = parse_arguments()
    try:
        profile = load_profile(options.profile)
        if options.scheduling_policy == "priority":
            profile = with_priority(profile)
        if options.ttl_s:
            store_spec(profile)
            profile = with_ttl(profile, options.ttl_s)
        check(options, profile)
        listening = listen(options.host, options.port, "--port")
        ports = [listen(options.host, port, "--engine-ports") for port in options.ports if options.role == "fleet"]
        page = options.mooncake_port
        master_page = None if page is None else listen(options.host, page, "--mooncake-port")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.role == "fleet":
        run(lambda: serve_fleet(options, profile, listening, ports))
    else:
        run(lambda: serve(options, profile, listening, master_page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
