"""Turns an unexpected exception of a damaged file into a one-line error instead of a traceback."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from locust_kvcache.contract.errors import BadInput

SHOWS_TRACEBACK = "KV_TRACEBACK"


class Unusable(BadInput):
    """Files of a run whose content no check named."""


@contextmanager
def unusable_is_bad_input(*paths: Path) -> Iterator[None]:
    """Any other exception becomes one line that names the run's files and where the analysis stopped."""
    try:
        yield
    except (BadInput, OSError, MemoryError):
        raise
    except Exception as error:
        if os.environ.get(SHOWS_TRACEBACK):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        place = next((frame for frame in reversed(frames) if "locust_kvcache" in frame.filename), frames[-1])
        said = " ".join(str(error).split())[:200]
        raise Unusable(
            f"{', '.join(map(str, paths))}: the files hold something that the analysis cannot use ({type(error).__name__}: {said}; "
            f"{Path(place.filename).name}:{place.lineno}). If nobody changed them, report this with the folder; "
            f"{SHOWS_TRACEBACK}=1 shows the traceback"
        ) from error
