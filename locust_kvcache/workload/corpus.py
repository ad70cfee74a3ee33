"""Reads a user's own documents or conversations; every host must hold the same bytes.

Lengths are estimates: only the server's tokenizer knows, and its count of each prompt stands in the records.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section
from locust_kvcache.workload.conversations import HISTORIES, UNUSABLE, Conversation, read_conversations
from locust_kvcache.workload.data_files import whole_text
from locust_kvcache.workload.estimate import PIECE
from locust_kvcache.workload.regular_files import open_file, read_file, sha256_of


@dataclass(frozen=True)
class CorpusSource:
    """Which files, and how they are used. Paths are those of the master; every host needs the same files there."""

    kind: str  # documents | conversations
    files: tuple[str, ...]
    sha256: tuple[str, ...]  # of each, as the master read it; workers refuse others
    cut_tokens: int | None = None  # documents: cut each file into pieces of about so many tokens
    history: str = "file"  # conversations: what later turns carry as the answers
    unusable: str = "error"  # conversations: what to do with a row that is none
    skipped: int = 0  # rows that were left out
    notes: tuple[str, ...] = ()  # what was left out or changed of the others

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> CorpusSource | None:
        lists = ("files", "sha256", "notes")
        return cls(**{**values, **{key: tuple(values.get(key) or ()) for key in lists}}) if values else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Corpus:
    """What the files hold: documents, or conversations and how many rows were skipped."""

    documents: tuple[str, ...] = ()
    conversations: tuple[Conversation, ...] = ()
    skipped: int = 0
    notes: tuple[str, ...] = ()


def cut(text: str, tokens: int) -> Iterator[str]:
    """Pieces of `tokens` estimated tokens each, the last one shorter; together they are the text."""
    starts = [match.start() for match in itertools.islice(PIECE.finditer(text), 0, None, tokens)]
    for start, end in zip([0, *starts[1:]], [*starts[1:], len(text)], strict=True):
        yield text[start:end]


def _text(path: str, data: bytes) -> str:
    text = whole_text(path, data)
    if not PIECE.search(text):
        raise BadInput(f"{path}: holds no text; expected UTF-8 text with at least one word")
    return text


def load_corpus(source: CorpusSource) -> Corpus:
    """The files' content; BadInput where a file is missing, another one than the master's, or malformed."""
    for path, known in zip(source.files, source.sha256, strict=True):
        if (found := sha256_of(path)) != known:
            raise BadInput(
                f"{path}: its sha256 is {found[:12]}..., the master read {known[:12]}...; every host needs the same file"
            )
    if source.kind == "conversations":
        with open_file(source.files[0]) as file:
            rows = read_conversations(source.files[0], file, source.unusable)
        return Corpus(conversations=rows.conversations, skipped=rows.skipped, notes=rows.notes)
    texts = (_text(path, read_file(path)) for path in source.files)
    return Corpus(
        documents=tuple(part for text in texts for part in (cut(text, source.cut_tokens) if source.cut_tokens else (text,)))
    )


def _noted(kind: str, files: list[str], **more: Any) -> CorpusSource:
    return CorpusSource(kind, tuple(files), tuple(map(sha256_of, files)), **more)


def parse_documents(prefix: Section, folder: Path) -> CorpusSource:
    """prefix.files and prefix.cut_tokens; patterns are relative to the scenario's own folder."""
    patterns = prefix.raw("files")
    if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) and p for p in patterns):
        raise BadInput(f"{prefix.name('files')} is {patterns!r}; expected a list of paths or patterns such as [texts/*.txt]")
    files: dict[str, None] = {}
    for pattern in patterns:
        matched = sorted(path for path in glob.glob(str(folder / pattern), recursive=True) if Path(path).is_file())
        if not matched:
            raise BadInput(
                f"{prefix.name('files')}: {pattern!r} matches no file in {folder}; paths are relative to the YAML file"
            )
        files |= dict.fromkeys(matched)
    return _noted("documents", list(files), cut_tokens=prefix.take("cut_tokens", int, None, low=32))


def parse_conversations(section: Section, folder: Path) -> CorpusSource:
    """conversations.file, .history and .unusable."""
    file = section.take("file", str)
    history = section.take("history", str, "file", choices=HISTORIES)
    unusable = section.take("unusable", str, "error", choices=UNUSABLE)
    return _noted("conversations", [str(folder / file)], history=history, unusable=unusable)
