"""Keeps Locust's own tables and routine log lines off the console; warnings and errors always pass.

`--locust-tables` shows the tables. A `--loglevel` or `--logfile` that the user gives restores every log line.
"""

from __future__ import annotations

import logging
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import ENGLISH, default_language, language, told, told_line, use_language
from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.typed_locust import listen

TABLES = "locust.stats_logger"
DETAIL = "kvcache.detail"  # our own lines that the progress line replaces
ROUTINE = ("locust.main", "locust.runners", "locust.dispatch", DETAIL)
# Of Locust's INFO lines these tell the user something. That the last worker quits ends every distributed run; one that is missing is news.
WANTED = ("Starting web interface", "Got SIG", "Not all users", "The last worker went missing", "Waiting for workers",
          "failed to send heartbeat", "limit reached", "self-healed")  # fmt: skip
OURS = ("kvcache", DETAIL)
BESIDE_STREAMS = str(Path(__file__).parent / "worker")  # what these modules say takes no time from open streams
DIRECTIVE = re.compile(r"%[,.\d]*[sdfgr]")  # where a value stands in a line
RESTORED_BY = ("loglevel", "logfile")


class Quiet(logging.Filter):
    """One filter for all loggers whose lines may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.parser: LocustArgumentParser | None = None
        self.tables = False
        self._restored: bool | None = None

    @property
    def restored(self) -> bool:
        """Whether the user asked for log lines; the parser knows where each value came from."""
        if self._restored is None:
            sources: dict[str, Any] = getattr(self.parser, "_source_to_settings", None) or {}
            given = {name for source, settings in sources.items() if source != "defaults" for name in _names(settings)}
            self._restored = bool(given & set(RESTORED_BY))
        return self._restored

    def filter(self, record: logging.LogRecord) -> bool:
        shown = self._is_shown(record)
        if shown:
            console().clear()
            _tell(record)
        return shown

    def _is_shown(self, record: logging.LogRecord) -> bool:
        if record.name == TABLES:
            return self.tables
        if record.levelno >= logging.WARNING or self.restored:
            return True
        return record.name not in ROUTINE or any(word in record.getMessage() for word in WANTED)


def _tell(record: logging.LogRecord) -> None:
    """Our own lines in the reader's language; bad input stays as it is."""
    if record.name not in OURS or language() == ENGLISH or any(isinstance(value, BadInput) for value in record.args or ()):
        return
    said = _told_in_haste(record) if record.pathname.startswith(BESIDE_STREAMS) else told(record.getMessage())
    if said is not None:
        record.msg, record.args = said, ()


def _told_in_haste(record: logging.LogRecord) -> str | None:
    """Values stay as they are: what stands in them would have to be searched for."""
    args = record.args if isinstance(record.args, tuple) else ()
    directives = DIRECTIVE.findall(str(record.msg))
    if len(directives) != len(args):
        return None
    return told_line(DIRECTIVE.sub("{}", str(record.msg)), [one % (value,) for one, value in zip(directives, args, strict=True)])


def speak_as_worker(environment: Environment) -> None:
    """The language of the worker's own --lang or locale; `--processes` gives each worker the command line."""
    use_language(getattr(environment.parsed_options, "lang", None) or default_language(os.environ))


def _names(settings: dict[str, Any]) -> list[str]:
    """The destinations of the settings of one source: the command line's come as one list of words."""
    if "" in settings:
        _, words = settings[""]
        long = [str(word).removeprefix("--").partition("=")[0] for word in words if str(word).startswith("--")]
        return long + ["loglevel" for word in words if str(word).startswith("-L")]
    return [action.dest for action, _ in settings.values() if action is not None]


@cache
def quiet() -> Quiet:
    """The filter of this process."""
    return Quiet()


def _filter_logs(parser: LocustArgumentParser, **_: Any) -> None:
    """Before Locust has said anything: a filter that is there already is not added twice."""
    quiet().parser = parser
    for name in (TABLES, *ROUTINE, "kvcache"):
        logging.getLogger(name).addFilter(quiet())


def show_tables_if_asked(environment: Environment) -> None:
    """With --locust-tables, or where users of other classes run too: Locust's tables are all that shows their requests."""
    parsed = environment.parsed_options
    foreign = any(not getattr(user_class, "drives_plan", False) for user_class in environment.user_classes)
    quiet().tables = foreign or bool(getattr(parsed, "locust_tables", False)) or bool(getattr(parsed, "print_stats", False))


listen(events.init_command_line_parser, _filter_logs)
