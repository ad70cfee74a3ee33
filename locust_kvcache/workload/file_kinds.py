"""Recognises unreadable kinds of data files by their first bytes, to name them in an error."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput

HEAD_BYTES = 512  # a tar archive has its mark at 257
GZIP = b"\x1f\x8b"
TABLE = "pandas.read_{}(FILE).to_json('rows.jsonl', orient='records', lines=True) converts it"
OTHERS = {
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "zstd -d unpacks it"),
    b"\xfd7zXZ\x00": ("compressed by xz", "xz -d unpacks it"),
    b"BZh": ("compressed by bzip2", "bzip2 -d unpacks it"),
    b"\x04\x22\x4d\x18": ("compressed by lz4", "lz4 -d unpacks it"),
    b"PAR1": ("a Parquet file", TABLE.format("parquet")),
    b"ARROW1": ("an Arrow file", TABLE.format("feather")),
    b"PK\x03\x04": ("a zip archive", "unzip it"),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "git lfs pull fetches it"),
}
PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml")
# The marks of UTF-32 begin with those of UTF-16, so they are looked for first.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def refuse_others(path: str | Path, head: bytes, packed: bool = False) -> None:
    """BadInput that names the kind and the way out; `packed`: these are the first bytes of what gzip holds."""
    if (found := _kind(head, packed)) is not None:
        kind, way_out = found
        raise BadInput(f"{path}: {'holds' if packed else 'is'} {kind}; expected text, or text compressed by gzip ({way_out})")


def refuse_page(path: str | Path, line: bytes) -> None:
    """BadInput where a file of rows begins as a web page does: what a login or an error gave instead of it."""
    if line.lstrip().lower().startswith(PAGE_STARTS):
        raise BadInput(f"{path}: is a web page; expected rows of text (download the file itself, not the page that shows it)")


def _kind(head: bytes, packed: bool) -> tuple[str, str] | None:
    for start, told in OTHERS.items():
        if head.startswith(start):
            return told
    if packed and head.startswith(GZIP):
        return "what gzip has compressed twice", "gunzip it once"
    if head[257:262] == b"ustar":
        return "a tar archive", "tar -x unpacks it"
    if any(head.startswith(mark) for mark, _ in MARKS):
        return None
    for first, name in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        zeros, others = head[first:16:2], head[1 - first : 16 : 2]
        if len(zeros) >= 4 and not any(zeros) and all(others):
            return "text in UTF-16 without a byte order mark", f"iconv -f {name} -t UTF-8 converts it"
    return None


def inner(value: Any) -> str:
    """A way out where an object holds the rows in one of its keys; empty where it does not."""
    for key, found in value.items() if isinstance(value, dict) else ():
        if isinstance(found, list) and found and all(isinstance(one, dict) for one in found):
            return f" (its rows may be those in key {str(key)[:60]!r}: write that list to a file of its own)"
    return ""
