"""Run by an interpreter that has lmcache or mooncake: `parse FILE`, `keys` or `put FILE MASTER METADATA`; prints one line of JSON, last.

LMCache's own code reads the file and turns it into the set-up of Mooncake's client, where it can be imported with torch.
"""

from __future__ import annotations

import json
import sys
from typing import Any

SMALL_BYTES = str(64 * 1024**2)
VALUE = bytes(range(256)) * 4096


def by_lmcache(file: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(the config's values, the set-up of Mooncake's client), both as LMCache makes them."""
    from lmcache.v1.config import LMCacheEngineConfig
    from lmcache.v1.storage_backend.connector.mooncakestore_connector import MooncakeStoreConfig

    config = LMCacheEngineConfig.from_file(file)
    config.validate()
    names = ("chunk_size", "remote_storage_plugins", "remote_serde", "local_cpu", "max_local_cpu_size", "extra_config")
    return {name: getattr(config, name) for name in names}, MooncakeStoreConfig.load_from_lmcache_config(config).setup_config


def by_names(file: str) -> dict[str, str]:
    """The same set-up by LMCache's rule (a mooncake_ prefix is taken off), where lmcache is not installed."""
    import yaml

    with open(file, encoding="utf-8") as stream:
        extra = yaml.safe_load(stream)["extra_config"]
    return {key.removeprefix("mooncake_"): str(value) for key, value in extra.items()}


def client_setup(file: str, master: str, metadata: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The set-up from the file's keys with our addresses and small sizes, and how it was made; a key the file lacks stays lacking."""
    try:
        setup, reader = by_lmcache(file)[1], "lmcache"
    except ImportError:
        setup, reader = by_names(file), "names"
    here = {"local_hostname": "127.0.0.1", "metadata_server": metadata, "master_server_addr": master}
    setup |= {key: value for key, value in here.items() if key in setup}
    setup |= {"global_segment_size": SMALL_BYTES, "local_buffer_size": SMALL_BYTES}
    return setup, {"reader": reader, "missing": sorted(set(here) - set(setup))}


def put(setup: dict[str, str]) -> dict[str, Any]:
    """One put and one get by Mooncake's own client."""
    from mooncake.store import MooncakeDistributedStore

    store = MooncakeDistributedStore()
    code = store.setup(setup)
    put_code = store.put("probe", VALUE) if code == 0 else None
    got = code == 0 and store.get("probe") == VALUE
    return {"setup": code, "put": put_code, "got": got}


def answer(command: str, file: str, *addresses: str) -> dict[str, Any]:
    if command == "parse":
        return dict(zip(("config", "setup"), by_lmcache(file), strict=True))
    setup, made = client_setup(file, *addresses)
    return made if command == "keys" else made | put(setup)


if __name__ == "__main__":
    print(json.dumps(answer(*sys.argv[1:])), flush=True)
