"""Checks addresses that people write: http(s)://host:port, without a user and password."""

from __future__ import annotations

from urllib.parse import urlsplit

from locust_kvcache.contract.errors import BadInput

LONGEST_URL = 2000


def check_url(url: str, where: str, page: bool = False) -> str:
    """The URL without a trailing slash; BadInput if it is not http(s)://host. `page`: a whole address, which may have a query."""
    expected = f"expected http://host:port or https://host:port, with an optional base path, at most {LONGEST_URL} characters"
    try:
        parts = urlsplit(url)
        _ = parts.port  # read only now: 99999 is refused here
        (parts.hostname or "").encode("idna")
        url.encode("latin-1")
    except ValueError as error:
        raise BadInput(f"{where} is {url[:80]!r}, which is not an address ({error}); {expected}") from error
    if len(url) > LONGEST_URL or not url.isprintable() or " " in url:
        raise BadInput(f"{where} is {url[:80]!r}; {expected}, no spaces")
    if parts.username is not None or parts.password is not None:
        raise BadInput(
            f"{where} holds a user or password, which would be written into files and logs; give the address without them, and "
            "'Authorization: Basic ${NAME}' as a header (`headers` in the deployment file, or --header)"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{where} is {url!r}; {expected}")
    if (parts.query or parts.fragment) and not page:
        raise BadInput(f"{where} is {url!r}; give the address without ?... and #...; `query` in the deployment file is for those")
    return url.rstrip("/").removesuffix("/v1")  # clients of other tools write http://host:port/v1
