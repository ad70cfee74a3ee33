"""What a Mooncake store of two clients takes and gives by TCP for one batch: keys that succeed, and GB/s.

usage: store_batch.py PEER_PORT                        holds the second segment until it is ended
       store_batch.py PORT KEYS TRANSFERS BYTES        puts KEYS of TRANSFERS buffers of BYTES each, reads them, twice
Called by store_batch.sh. Needs mooncake-transfer-engine-non-cuda.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import time
from typing import Any

from mooncake.store import MooncakeDistributedStore, ReplicateConfig

SEGMENT_BYTES, BUFFER_BYTES = 3 << 30, 256 << 20


def client(port: str) -> Any:
    store = MooncakeDistributedStore()
    found = store.setup(
        f"127.0.0.1:{port}", "http://127.0.0.1:8090/metadata", SEGMENT_BYTES, BUFFER_BYTES, "tcp", "", "127.0.0.1:50051"
    )
    if found != 0:
        sys.exit(f"the client of port {port} does not start: code {found}")
    return store


def batch(store: Any, number: int, address: int, keys: int, transfers: int, size: int) -> None:
    names = [f"{os.getpid()}-{number}-{key}" for key in range(keys)]
    addresses = [[address + (key * transfers + at) * size for at in range(transfers)] for key in range(keys)]
    sizes = [[size] * transfers for _ in range(keys)]
    for verb in ("put", "get"):
        begun_s = time.perf_counter()
        if verb == "put":
            codes = store.batch_put_from_multi_buffers(names, addresses, sizes, ReplicateConfig())
        else:
            codes = store.batch_get_into_multi_buffers(names, addresses, sizes)
        seconds = time.perf_counter() - begun_s
        done = sum(code >= 0 for code in codes)
        rate = done * transfers * size / seconds / 1e9
        print(
            f"{verb}: {done} of {keys} keys in {seconds:.2f} s, {rate:.2f} GB/s, codes {sorted({code for code in codes if code < 0})}",
            flush=True,
        )


def main() -> None:
    store = client(sys.argv[1])
    if len(sys.argv) == 2:
        while True:
            time.sleep(1)
    keys, transfers, size = map(int, sys.argv[2:5])
    memory = mmap.mmap(-1, keys * transfers * size)
    for at in range(0, len(memory), 4096):
        memory[at] = 1
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if store.register_buffer(address, len(memory)) != 0:
        sys.exit("the buffer could not be registered")
    for number in range(2):
        batch(store, number, address, keys, transfers, size)
    os._exit(0)  # the store's own threads do not end


if __name__ == "__main__":
    main()
