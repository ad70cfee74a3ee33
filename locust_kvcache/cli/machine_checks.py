"""Checks the machine of a load generator for anything that can make its times wrong or end a run early."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import resource
import socket
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from locust_kvcache.contract.finding import NOTE, OK, WARNING, Finding
from locust_kvcache.loadgen.client.poller import SO_TIMESTAMPNS
from locust_kvcache.loadgen.worker.client_certificate import PATH as CERTIFICATE

FILES_FOR_USERS = 1_064  # 1,000 users in one process and what it opens beside them
STEADY_CLOCKS = {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"}  # read without leaving the process
CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
BUSY_SHARE = 0.5  # of the cores: from there on a load generator shares them
CERTIFICATE_DAYS = 90
STAMP_TRIES = 20
DAY_S = 86_400


def check_versions() -> Finding:
    found = {name: version(name) for name in ("locust", "gevent", "geventhttpclient")}
    said = ", ".join(f"{name} {number}" for name, number in found.items())
    return Finding(OK, "versions", f"Python {platform.python_version()}, {said}")


def check_cores() -> Finding:
    """A load generator needs a core for each worker: what this process may use, and how much of it is in use."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    said = f"{cores} cores for this process, load average {load:.1f} over the last minute"
    if load > BUSY_SHARE * cores:
        out = "Wait until the machine is quiet, or give the load generator cores of its own (taskset)."
        return Finding(WARNING, "cores", said, out, "Other work delays the reading of answers, and times become too long.")
    return Finding(OK, "cores", said)


def check_open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES_FOR_USERS:
        return Finding(
            OK, "open_files", f"{'any number of' if soft == resource.RLIM_INFINITY else f'{soft:,}'} open files a process"
        )
    raised = "Locust raises it itself" if hard >= FILES_FOR_USERS else f"the hard limit is {hard:,}: LimitNOFILE= or ulimits"
    out = f"For 1,000 users in a process: ulimit -n {FILES_FOR_USERS} ({raised})."
    return Finding(NOTE if hard >= FILES_FOR_USERS else WARNING, "open_files", f"{soft:,} open files a process", out)


def check_clock(source: Path = CLOCK_SOURCE) -> Finding:
    """Every chunk reads the clock: a clock source outside the processor costs a system call and jitters."""
    try:
        name = source.read_text(encoding="ascii").strip()
    except OSError:
        return Finding(NOTE, "clock_source", f"the clock source is unknown: {source} cannot be read")
    if name in STEADY_CLOCKS:
        return Finding(OK, "clock_source", f"clock source {name}")
    out = "Choose tsc or the hypervisor's own (kvm-clock) at boot, or use another machine."
    return Finding(WARNING, "clock_source", f"clock source {name}: reading it is slow", out)


def check_kernel_stamps() -> Finding:
    """Bytes over the loopback, with the kernel's stamp of their arrival: what TTFT and ITL rest on."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as reader:
        writer, _ = server.accept()
        with writer:
            try:
                stamped = _is_stamped(writer, reader)
            except OSError:  # the option is unknown
                stamped = False
    if stamped:
        return Finding(OK, "kernel_stamps", "the kernel stamps what arrives: times do not wait for the process")
    out = "Use Linux without a sandboxed network stack (gVisor), or keep the load per worker low."
    return Finding(WARNING, "kernel_stamps", "the kernel does not stamp what arrives", out, "Times count from the read.")


def _is_stamped(writer: socket.socket, reader: socket.socket) -> bool:
    """The kernel begins to stamp a moment after the first socket of the machine asks for it."""
    reader.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    for _ in range(STAMP_TRIES):
        writer.send(b"x")
        if any(kind == SO_TIMESTAMPNS for _, kind, _ in reader.recvmsg(1, 256)[1]):
            return True
        time.sleep(0.01)
    return False


def check_port(port: int, what: str, option: str) -> Finding:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            out = f"End what holds it, or choose another one: {option}."
            if error.errno == errno.EADDRINUSE:
                return Finding(WARNING, "port", f"port {port} ({what}) is taken by another process", out)
            return Finding(WARNING, "port", f"port {port} ({what}) cannot be used: {error.strerror}", out)
    return Finding(OK, "port", f"port {port} ({what}) is free")


def check_certificate(path: Path = CERTIFICATE, now_s: float | None = None) -> Finding:
    """Whether this host has measured its own timing error, and how long ago."""
    out = "Measure it on the quiet machine: locust-kvcache certificate"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rate, age_s = float(found["certified_chunks_per_s"]), (now_s or time.time()) - path.stat().st_mtime
    except FileNotFoundError:
        return Finding(NOTE, "certificate", "this machine's timing error was not measured", out)
    except (OSError, ValueError, KeyError, TypeError):
        return Finding(WARNING, "certificate", f"{path} cannot be read as a certificate", out)
    if found.get("host") != socket.gethostname():
        return Finding(NOTE, "certificate", f"the certificate at {path} is of another host, {found.get('host')}", out)
    days = age_s / DAY_S
    said = f"certified up to {rate:,.0f} chunks/s a worker, {days:.0f} days ago"
    return Finding(NOTE, "certificate", said, out) if days > CERTIFICATE_DAYS else Finding(OK, "certificate", said)


def machine_findings(web_port: int, master_port: int) -> Iterator[Finding]:
    yield check_versions()
    yield check_cores()
    yield check_open_files()
    yield check_clock()
    yield check_kernel_stamps()
    yield check_port(web_port, "Locust's page", "--web-port")
    yield check_port(master_port, "connections of workers", "--master-bind-port and --master-port")
    yield check_certificate()
