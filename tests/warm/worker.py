"""A worker of pytest-xdist in a fork of an interpreter that has collected the tests once: `python -m tests.warm.worker ID` there.

execnet has written a line for a new interpreter to execute. This does what the line says, but with threads of the operating system.
"""

from __future__ import annotations

import gc
import sys

import gevent
from execnet.gateway_base import init_popen_io, serve

from tests.warm.threads import SystemThreads

if __name__ == "__main__":
    gevent.reinit()  # the loop of the interpreter that forked is not to be waited in
    gc.disable()  # until all is collected, as in conftest.py
    sys.stdin.readline()
    model = SystemThreads()
    io = init_popen_io(model)
    io.write(b"1")
    serve(io, id=f"{sys.argv[1]}-worker")
