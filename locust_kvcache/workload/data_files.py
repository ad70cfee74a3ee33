"""Reads a user's data file entry by entry: JSON lines, one JSON array or object, plain or gzip, UTF-8 or UTF-16 with its byte order mark.

An entry that cannot be read is named by file and line. A file of lines or one array is read entry by entry, so that a large one takes no
memory; one that is a single object is read as a whole.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.file_entry import Entry
from locust_kvcache.workload.file_kinds import GZIP, HEAD_BYTES, MARKS, refuse_others, refuse_page
from locust_kvcache.workload.json_array import READ_BYTES, ArrayCutter, Item

LINE_BYTES, WHOLE_BYTES = 1 << 30, 1 << 31


def whole_text(path: str | Path, data: bytes) -> str:
    """The text of a file that is no list of entries."""
    return _decoded(path, _whole(path, _content(path, io.BytesIO(data))))


def entries(path: str | Path, file: BinaryIO, expected: str) -> Iterator[Entry]:
    """All lines that are not empty; where the file is one JSON array, its items."""
    content = _content(path, file)
    if _begins_array(path, content):
        yield from _items(path, content, expected)
        return
    lines = ((number, line) for number, line in enumerate(_checked(path, content), 1) if line.strip())
    first = next(lines, None)
    if first is None:
        return
    refuse_page(path, first[1])
    if _begins_object(first[1]) and (whole := _one_object(path, content)) is not None:
        yield Entry(str(path), b"", whole, True)
        return
    yield Entry(f"{path}: line {first[0]}", first[1])
    for number, line in lines:
        yield Entry(f"{path}: line {number}", line)


def _begins_array(path: str | Path, content: BinaryIO) -> bool:
    """Looked at before any line is read: the whole array may be one line."""
    try:
        start = content.read(READ_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
        while not start and (more := content.read(READ_BYTES)):
            start = more.lstrip()
        content.seek(0)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, 1, error) from error
    return start.startswith(b"[")


def _begins_object(line: bytes) -> bool:
    """Whether an object begins on the line and does not end there."""
    try:
        return line.lstrip()[:1] == b"{" and _loads(line) is None
    except (ValueError, RecursionError):
        return True


def _loads(data: bytes) -> Any:
    """As an entry is read: json takes more than orjson."""
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data)


def _one_object(path: str | Path, content: BinaryIO) -> Any:
    """A file that is one object, written over several lines; None where it is not, and the content is as before."""
    place = content.tell()
    content.seek(0)
    try:
        return _loads(_whole(path, content))
    except (ValueError, RecursionError):
        content.seek(place)
        return None


def _content(path: str | Path, file: BinaryIO) -> BinaryIO:
    """What is in the file, as UTF-8 without a mark wherever a mark tells another encoding."""
    head = _head(path, file)
    refuse_others(path, head)
    if head.startswith(GZIP):
        file = cast(BinaryIO, gzip.GzipFile(fileobj=file))
        head = _head(path, file)
        refuse_others(path, head, packed=True)
    encoding = next((name for mark, name in MARKS if head.startswith(mark)), None)
    if encoding is None:
        return file
    data = _whole(path, file)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "replace").count("\n") + 1
        raise BadInput(
            f"{path}: line {line} is not {encoding.upper()}, which the file's first bytes announce; expected UTF-8"
        ) from error
    return io.BytesIO(text.encode("utf-8", "surrogatepass"))


def _head(path: str | Path, file: BinaryIO) -> bytes:
    file.seek(0)
    try:
        return file.read(HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: cannot be read ({error}); expected a text file, or one compressed by gzip") from error
    finally:
        file.seek(0)


def _checked(path: str | Path, file: BinaryIO) -> Iterator[bytes]:
    """Lines, without the mark at the start; a damaged archive is named with the line that it ends in."""
    number = 0
    try:
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b""), 1):
            if len(line) > LINE_BYTES:
                raise BadInput(f"{path}: line {number} is longer than {LINE_BYTES >> 20:,} MB; expected one row per line")
            yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, number + 1, error) from error


def _damaged(path: str | Path, line: int, error: Exception) -> BadInput:
    return BadInput(f"{path}: line {line} cannot be read ({error}); the file is damaged or cut")


def _whole(path: str | Path, file: BinaryIO) -> bytes:
    """All of it at once; a small archive may hold more than any memory does."""
    lines, size = [], 0
    for line in _checked(path, file):
        lines.append(line)
        size += len(line)
        if size > WHOLE_BYTES:
            raise BadInput(
                f"{path}: has more than {WHOLE_BYTES >> 20:,} MB that must be read at once; expected UTF-8 with one row per line, which is "
                "read line by line"
            )
    return b"".join(lines)


def _items(path: str | Path, file: BinaryIO, expected: str) -> Iterator[Entry]:
    """The items of a JSON array, each with the line that it begins in."""

    def read(count: int) -> bytes:
        try:
            return file.read(count)
        except (OSError, EOFError, zlib.error) as error:
            raise _damaged(path, cutter.line, error) from error

    def refuse_long(size: int) -> None:
        if size > LINE_BYTES + READ_BYTES:
            raise BadInput(f"{path}: line {cutter.line}: an item is longer than {LINE_BYTES >> 20:,} MB; expected {wanted}")

    cutter, wanted = ArrayCutter(read, refuse_long), f"an array of {expected}"
    try:
        for item in cutter.items():
            yield _item(path, item, wanted)
    except EOFError as error:
        raise BadInput(f"{path}: line {cutter.line} is not JSON (the array has no end); expected {wanted}") from error
    if not cutter.ends_here():
        raise BadInput(
            f"{path}: line {cutter.line}: something follows the end of the JSON array; expected one array, or one object per line"
        )


def _item(path: str | Path, item: Item, wanted: str) -> Entry:
    where = f"{path}: line {item.line}"
    try:
        return Entry(where, b"", Entry(where, item.raw, before=item.before).json(wanted), True)
    except BadInput:
        if b"\n" in item.raw:
            _decoded(path, item.raw, item.line)
        raise


def _decoded(path: str | Path, data: bytes, first_line: int = 1) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + first_line
        start = data.rfind(b"\n", 0, error.start) + 1
        return Entry(f"{path}: line {number}", data[start : error.start + 1]).text()
