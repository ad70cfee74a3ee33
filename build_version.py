"""Tells hatchling the version: the tag of the commit that is built, v1.2.3, or what comes after it.

`git tag v0.1.0` makes 0.1.0; five commits later the version is 0.1.1.dev5+g1a2b3c4. Without a tag (a shallow clone, an image's build
context) it is UNTAGGED, or the environment's LOCUST_KVCACHE_VERSION. A source distribution has its version in PKG-INFO instead.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent
UNTAGGED = "0.1.0"  # the release that is worked on
ARCHIVED = "$Format:%(describe:tags,match=v[0-9]*)$"  # git archive puts the description here (.gitattributes)
DESCRIPTION = re.compile(r"v(?P<base>\d+(?:\.\d+)*)\.(?P<last>\d+)(?:-(?P<commits>\d+)-(?P<commit>g[0-9a-f]+))?")


def version() -> str:
    return os.environ.get("LOCUST_KVCACHE_VERSION") or from_description(described() or ARCHIVED) or UNTAGGED


def described() -> str:
    """What git says of the commit that is built; empty without git, without a tag, and inside somebody else's repository."""
    if git("rev-parse", "--show-toplevel") != str(ROOT):
        return ""
    return git("describe", "--tags", "--match", "v[0-9]*")


def from_description(description: str) -> str:
    """`v0.1.0` is 0.1.0, `v0.1.0-5-g1a2b3c4` is 0.1.1.dev5+g1a2b3c4; empty for everything else."""
    found = DESCRIPTION.fullmatch(description)
    if found is None:
        return ""
    if found["commits"] is None:
        return f"{found['base']}.{found['last']}"
    return f"{found['base']}.{int(found['last']) + 1}.dev{found['commits']}+{found['commit']}"


def git(*words: str) -> str:
    try:
        done = subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
