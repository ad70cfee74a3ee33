"""Extracts the texts that readers see (babel.cfg), and adds new ones to the Chinese catalogue: `make texts`.

An f-string becomes a text with named placeholders: f"{plural(n, 'request')} failed" is `{n} failed`; so does a line of the log,
"%s is lost". Not extracted: docstrings, what is raised (errors stay English; what ends a run is its reason in run.json, and is
extracted), help texts, keys, and single words of small letters (columns, codes); words of tables stand in
locust_kvcache/contract/shown_words.py.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import normalize, read_po

from locust_kvcache.contract.catalogue import core
from locust_kvcache.contract.language import CHINESE, catalogue_file

ROOT = Path(__file__).resolve().parent.parent
HEADER = """# Chinese texts of the report and the console. `make texts` adds new ones; a test names those without a translation.
msgid ""
msgstr ""
"Project-Id-Version: locust-kvcache\\n"
"Language: zh\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"""

WORD = re.compile(r"[^\W\d_]{2,}")
CODE = re.compile(
    r"[a-z0-9][\w.\-/+=]*|[A-Z_]+|\S*[/\\<>_:|*{}\-^]\S*|#\w+|&\w+|--\S+ .* --\S+ .*"
)  # identifiers, options, paths
UNSEEN_ARGUMENTS = frozenset({"help", "metavar", "epilog", "loc", "xycoords", "textcoords", "method", "va", "ha", "transform"})
STAND_IN_RUN_JSON = frozenset(
    {"RunIncomplete", "LimitReached", "AlertFired", "CountsRefused", "TextRefused"}
)  # errors: their messages
DIRECTIVE = re.compile(r"%[,.\d]*[sdfgr]")  # of a line of the log
UNSEEN_CALLS = frozenset(
    {
        "add_argument",
        "add_argument_group",
        "command_parser",
        "error",
        "BadInput",
        "compile",
        "Path",
        "get",
        "startswith",
        "endswith",
        "query",
        "partition",
    }
)


def extract(
    fileobj: IO[bytes], keywords: Mapping[str, Any], comment_tags: Iterable[str], options: Mapping[str, Any]
) -> Iterator[tuple[int, None, str, list[str]]]:
    """Babel's interface: line, function, text, comments."""
    tree = ast.parse(fileobj.read())
    every = "shown_words" in options
    for line, text in sorted(set(Texts().of(tree))):
        cleaned = " ".join(core(text).split())
        if WORD.search(re.sub(r"\{\w+\}", "", cleaned)) and (every or not CODE.fullmatch(cleaned)):
            yield line, None, cleaned, []


class Texts(ast.NodeVisitor):
    """Collects (line, text) of a file's shown strings."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def of(self, tree: ast.AST) -> list[tuple[int, str]]:
        self.visit(tree)
        return self._found

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        if isinstance(node.exc, ast.Call) and getattr(node.exc.func, "id", "") in STAND_IN_RUN_JSON:
            self.visit(node.exc)

    def visit_Compare(self, node: ast.Compare) -> None:
        for part in (node.left, *node.comparators):
            if not isinstance(part, (ast.Constant, ast.Tuple, ast.Set, ast.List)):
                self.visit(part)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def visit_Dict(self, node: ast.Dict) -> None:
        for value in node.values:
            self.visit(value)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        splits = name == "split" and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Constant)
        if _is_log_line(node):
            self._log_line(node)
        elif name not in UNSEEN_CALLS and not splits:
            self.generic_visit(node)

    def _log_line(self, node: ast.Call) -> None:
        """Its directives become placeholders, as those of an f-string do."""
        line, *values = node.args
        for value in values:
            self.visit(value)
        assert isinstance(line, ast.Constant)
        names = iter(_placeholders(values))
        self._found.append((line.lineno, DIRECTIVE.sub(lambda _: next(names), str(line.value))))

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in UNSEEN_ARGUMENTS:
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and not _is_program(node.value):
            self._found.append((node.lineno, node.value))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        values = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        for value in values:
            self.visit(value)
        names = iter(_placeholders(values))
        parts = (str(part.value) if isinstance(part, ast.Constant) else next(names) for part in node.values)
        self._found.append((node.lineno, "".join(parts)))


def _is_program(text: str) -> bool:
    """Lines of Python, for another interpreter."""
    return "\nimport " in f"\n{text}"


def _is_log_line(node: ast.Call) -> bool:
    """log.warning("worker %s is lost", name)."""
    logs = (
        isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id in ("log", "detail")
    )
    return logs and bool(node.args) and isinstance(node.args[0], ast.Constant)


def _placeholders(values: Iterable[ast.expr]) -> Iterator[str]:
    """{name}, {name2} where another has that name already."""
    used: list[str] = []
    for value in values:
        name = _name(value)
        used.append(name)
        yield "{" + (name if used.count(name) == 1 else f"{name}{used.count(name)}") + "}"


def _name(node: ast.expr) -> str:
    """A placeholder's name, from the expression that fills it."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower()
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return re.sub(r"\W", "_", name)
        case ast.Subscript(value=inner) | ast.Starred(value=inner):
            return _name(inner)
        case ast.Call(args=[ast.Constant(), first, *_]) | ast.Call(args=[first, *_]) if not isinstance(first, ast.Constant):
            return _name(first)
        case ast.Call(func=ast.Attribute(value=inner)) if isinstance(inner, (ast.Name, ast.Call, ast.Attribute)):
            return _name(inner)
        case ast.Call(func=ast.Name(id=name)):
            return name.strip("_")
        case ast.BinOp(left=left) | ast.BoolOp(values=[left, *_]) | ast.UnaryOp(operand=left):
            return _name(left)
        case ast.IfExp(body=body) if not isinstance(body, ast.Constant):
            return _name(body)
    return "value"


def in_sources() -> dict[str, str]:
    """Text -> the file that has it."""
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file, "babel.cfg")
    found = extract_from_dir(ROOT, methods, options, directory_filter=lambda path: "locust_kvcache" in Path(path).parts)
    return {str(text): name for name, _, text, _, _ in found}


def translated() -> dict[str, str]:
    """Text -> its Chinese one, as the catalogue has it."""
    with catalogue_file(CHINESE).open("rb") as file:
        return {str(entry.id): str(entry.string or "") for entry in read_po(file) if entry.id}


def main() -> None:
    """Write the catalogue again, in the order of its texts: new ones without translation, those that are gone left out."""
    known = translated()
    entries = [f"\nmsgid {normalize(text)}\nmsgstr {normalize(known.get(text, ''))}\n" for text in sorted(in_sources())]
    catalogue_file(CHINESE).write_text(HEADER + "".join(entries), encoding="utf-8")
    print(f"{catalogue_file(CHINESE)}: {sum(not known.get(text) for text in in_sources())} texts have no translation")


if __name__ == "__main__":
    main()
