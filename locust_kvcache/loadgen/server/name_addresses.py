"""Says where an endpoint's name stands for several addresses, as a headless Service does: nothing spreads the requests then."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from gevent import socket

from locust_kvcache.contract.deployment import Deployment

SHOWN = 4


def addresses_of(host: str) -> list[str]:
    """Of the family that has more of them; empty where the name is an address, or nothing resolves it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return []
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # the first request says so
        return []
    families = {family: list(dict.fromkeys(str(at[0]) for of, _, _, _, at in found if of == family)) for family, *_ in found}
    return max(families.values(), key=len, default=[])


def several_addresses(deployment: Deployment) -> list[str]:
    """A warning where connections are ours to spread; a proxy resolves the name by itself."""
    host = urlsplit(deployment.endpoint).hostname or ""
    found = [] if deployment.transport.proxy else addresses_of(host)
    if len(found) < 2:
        return []
    listed = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    return [
        f"{host} has {len(found)} addresses ({listed}): each connection goes to the one that the resolver names first, and a user stays "
        "there. If they are engines, some may stand idle: name each engine's own page under `engines` in the deployment file "
        "(docs/routers.md)"
    ]
