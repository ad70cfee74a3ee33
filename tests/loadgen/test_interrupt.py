"""SIGINT while one of our greenlets runs: the main greenlet gets it, the other one's work and result stay."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import hear_sigint

SCRIPT = """
import os, signal, sys
from locust.env import Environment  # first: it patches
import gevent
from locust_kvcache.loadgen.interrupt import interrupt_main_only

environment = Environment()
if sys.argv[1] == "ours":
    interrupt_main_only(environment)

def work():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100_000):  # Python raises between two of its instructions
        pass
    return "finished"

worker = gevent.spawn(work)
try:
    gevent.sleep(30)
    print("not interrupted", end=" ")
except KeyboardInterrupt:
    print("main interrupted", end=" ")
try:
    print(worker.get(timeout=10))
except KeyboardInterrupt:
    print("raised again")
environment.events.quit.fire(exit_code=0)
"""


@pytest.mark.parametrize(
    ("who", "outcome"),
    [("ours", "main interrupted finished"), ("python's", "main interrupted raised again")],
    ids=["with our handler", "without: what it is for"],
)
def test_interrupt_reaches_the_main_greenlet_only(who: str, outcome: str) -> None:
    command = [sys.executable, "-c", SCRIPT, who]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=hear_sigint, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == outcome, done.stdout + done.stderr
