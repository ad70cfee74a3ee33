"""Says texts of the report and the console in the reader's language (`--lang zh`).

Every text is made in English, and files for programs keep it. What a person reads goes through `told` last. The catalogue
(locale/zh/LC_MESSAGES/locust_kvcache.po) has texts with named placeholders: `{count} requests failed` is found in `3 requests failed`,
and what stands in a placeholder is told in its turn. So a report that is made again from a stats.json can be in any language.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from locust_kvcache.contract.catalogue import Catalogue, core

ENGLISH, CHINESE = LANGUAGES = ("en", "zh")
HTML_LANGUAGES = {ENGLISH: "en", CHINESE: "zh-CN"}
VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # as gettext reads them: the first that is set
LOCALE = Path(__file__).resolve().parent.parent / "locale"
HELP = "Language of the report and the console's summary"
BY_LOCALE = "by LC_ALL, LC_MESSAGES or LANG: zh for a Chinese locale, else en"


class _Spoken:
    """The language of this process."""

    name = ENGLISH


@cache
def _spoken() -> _Spoken:
    return _Spoken()


def default_language(environment: Mapping[str, str]) -> str:
    """zh where the locale is Chinese, else en."""
    locale = next((environment[name] for name in VARIABLES if environment.get(name)), "")
    return CHINESE if locale.lower().startswith(CHINESE) else ENGLISH


def add_language(parser: argparse.ArgumentParser) -> None:
    """--lang; its value goes to `use_language`."""
    parser.add_argument("--lang", choices=LANGUAGES, default=default_language(os.environ), help=f"{HELP} (default: {BY_LOCALE})")


def use_language(name: str) -> None:
    """From now on `told` speaks it, in the whole process. Its catalogue is read now, while no round runs."""
    _spoken().name = name
    if name != ENGLISH:
        catalogue(name)


def language() -> str:
    return _spoken().name


def told(text: str) -> str:
    """A finished English text in the language of this process; as it is where the catalogue does not have it."""
    return text if language() == ENGLISH or not text else catalogue(language()).told(text)


def told_line(text: str, values: Sequence[str]) -> str | None:
    """As `told`, for a process that has no time: one look-up, for a text that the code holds with `{}` where values stand. None: say it in
    English."""
    return None if language() == ENGLISH else catalogue(language()).line(text, values)


def catalogue_file(name: str) -> Path:
    return LOCALE / name / "LC_MESSAGES" / "locust_kvcache.po"


@cache
def catalogue(name: str) -> Catalogue:
    """Read once, and only where a language other than English is spoken."""
    from babel.messages.pofile import read_po

    with catalogue_file(name).open("rb") as file:
        return Catalogue({core(str(entry.id)): core(str(entry.string)) for entry in read_po(file) if entry.id and entry.string})
