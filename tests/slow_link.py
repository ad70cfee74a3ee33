"""A slow and lossy link of user space, for kernels without netem: python slow_link.py TAP_HERE TAP_THERE DELAY_MS LOSS SEED.

Frames from the far end come out here DELAY_MS later, a share LOSS of them never; those towards it pass at once. Needs root.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME_BYTES = 65_536


def open_tap(name: str) -> int:
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return handle


def send(handle: int, frame: bytes) -> None:
    try:
        os.write(handle, frame)
    except OSError:
        pass  # the other end is not up yet: lost, as on any link


def main() -> None:
    here_name, there_name, delay_ms, loss, seed = sys.argv[1:]
    here, there = open_tap(here_name), open_tap(there_name)
    print("ready", flush=True)
    delay_s, share, rng = float(delay_ms) / 1000, float(loss), random.Random(int(seed))
    waiting: list[tuple[float, int, bytes]] = []
    count = 0
    while True:
        wait_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
        readable, _, _ = select.select([here, there], [], [], wait_s)
        for handle in readable:
            frame = os.read(handle, FRAME_BYTES)
            if handle == here:
                send(there, frame)
            elif rng.random() >= share:
                count += 1
                heapq.heappush(waiting, (time.monotonic() + delay_s, count, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            send(here, heapq.heappop(waiting)[2])


if __name__ == "__main__":
    main()
