"""Reads a user's data file entry by entry: JSON lines, one JSON array or object, plain or gzip, UTF-8 or UTF-16 with its byte order mark.

An entry that cannot be read is named by file and line. A file of lines is read line by line, so that a large one takes no memory.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import orjson

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.file_kinds import GZIP, HEAD_BYTES, MARKS, refuse_others, refuse_page

AS_ZEROS, LONG_NUMBER = bytes.maketrans(b"123456789", b"0" * 9), b"0" * 19  # 19 digits may be beyond 64 bits
LINE_BYTES, WHOLE_BYTES = 1 << 30, 1 << 31
SHOWN = 60  # characters of a line in a message


class Entry(NamedTuple):
    """One line, or one item of an array; `value` is what a JSON array's item was read as."""

    where: str  # file and line
    raw: bytes
    value: Any = None
    parsed: bool = False

    def text(self) -> str:
        try:
            return self.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{self.where}: byte {error.start + 1} is 0x{self.raw[error.start]:02x}, which is not UTF-8; expected UTF-8 text "
                "(iconv -f LATIN1 -t UTF-8 converts Latin-1)"
            ) from error

    def json(self, expected: str) -> Any:
        """BadInput where it is no JSON; `expected` says what should stand there."""
        if self.parsed:
            return self.value
        if LONG_NUMBER not in self.raw.translate(AS_ZEROS):  # orjson reads such numbers as floats
            try:
                return orjson.loads(self.raw)
            except ValueError:
                pass  # json takes more (NaN, halves of surrogate pairs), and says where it is wrong
        return parse_json(self.text(), self.where, expected)


def parse_json(text: str, where: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BadInput(f"{where} is nested too deeply; expected {expected}") from error
    except ValueError as error:
        raise BadInput(f"{where} is not JSON ({error}): {text.strip()[:SHOWN]!r}; expected {expected}") from error


def open_file(path: str | Path) -> BinaryIO:
    """A regular file: it is read more than once, and on every host."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadInput(
                f"{path}: is no regular file (a folder, a pipe or a device); expected a file, which is read more than once"
            )
        return open(path, "rb")
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{path}: cannot be read ({reason}); every host needs this file at this path") from error


def read_file(path: str | Path) -> bytes:
    with open_file(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror}); every host needs this file at this path") from error


def whole_text(path: str | Path, data: bytes) -> str:
    """The text of a file that is no list of entries."""
    return _decoded(path, _whole(path, _content(path, io.BytesIO(data))))


def sha256_of(path: str | Path) -> str:
    with open_file(path) as file:
        try:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
            return digest.hexdigest()
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror}); every host needs this file at this path") from error


def entries(path: str | Path, file: BinaryIO, expected: str) -> Iterator[Entry]:
    """All lines that are not empty; where the file is one JSON array, its items."""
    content = _content(path, file)
    lines = ((number, line) for number, line in enumerate(_checked(path, content), 1) if line.strip())
    first = next(lines, None)
    if first is None:
        return
    refuse_page(path, first[1])
    if first[1].lstrip()[:1] == b"[":
        content.seek(0)
        yield from _items(path, _whole(path, content), expected)
        return
    if _begins_object(first[1]) and (whole := _one_object(path, content)) is not None:
        yield Entry(str(path), b"", whole, True)
        return
    yield Entry(f"{path}: line {first[0]}", first[1])
    for number, line in lines:
        yield Entry(f"{path}: line {number}", line)


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
        raise BadInput(f"{path}: line {number + 1} cannot be read ({error}); the file is damaged or cut") from error


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


def _items(path: str | Path, data: bytes, expected: str) -> Iterator[Entry]:
    """The items of a JSON array, each with the line that it begins in."""
    text = _decoded(path, data)
    decoder, place, line, counted = json.JSONDecoder(), text.index("[") + 1, 1, 0
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        line, counted = line + text.count("\n", counted, place), place
        where = f"{path}: line {line}"
        if text[place : place + 1] == "]":
            if text[place + 1 :].strip():
                raise BadInput(
                    f"{where}: something follows the end of the JSON array; expected one array, or one object per line"
                )
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            found = text[place : place + SHOWN]
            raise BadInput(f"{where} is not JSON ({str(error)[:SHOWN]}): {found!r}; expected an array of {expected}") from error
        yield Entry(where, b"", value, True)


def _decoded(path: str | Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        return Entry(f"{path}: line {number}", data[start : error.start + 1]).text()


def lone_surrogate(text: str) -> str | None:
    """The first half of a pair that stands alone: it is no character, and cannot be sent. None where there is none."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x} at character {error.start + 1}"
    return None
