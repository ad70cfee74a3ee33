"""Load test for LLM servers that measures what the KV cache gains. Your own locustfile imports `KVCacheUser` from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locust_kvcache.loadgen.user import KVCacheUser as KVCacheUser

__version__: str
__all__ = ["KVCacheUser", "__version__"]


def __getattr__(name: str) -> Any:
    """Load gevent and Locust only when a locustfile asks for its user class, and ask for the installed version when it is needed."""
    if name == "__version__":
        return _installed_version()
    if name == "KVCacheUser":
        from locust_kvcache.loadgen.user import KVCacheUser

        return KVCacheUser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _installed_version() -> str:
    """Of the package as it was installed (build_version.py); a checkout that is not installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("locust-kvcache")
    except PackageNotFoundError:
        return "0+unknown"
