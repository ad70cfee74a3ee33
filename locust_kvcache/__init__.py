"""Load test of LLM servers that tells whether the KV cache pays. Your own locustfile imports `KVCacheUser` from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locust_kvcache.loadgen.user import KVCacheUser as KVCacheUser

__version__ = "0.1.0"
__all__ = ["KVCacheUser", "__version__"]


def __getattr__(name: str) -> Any:
    """Load gevent and Locust only when a locustfile asks for its user class."""
    if name == "KVCacheUser":
        from locust_kvcache.loadgen.user import KVCacheUser

        return KVCacheUser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
