"""Splits the lines of a CSV into cells: a cell in quotes may go over several lines."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.file_entry import Entry

SEPARATORS = (",", ";", "\t")  # spreadsheets write the others
LONGEST = 100  # lines of one record; a quote that ends nowhere would take the whole file


def cells(entry: Entry, between: str, expected: str) -> list[str]:
    try:
        return next(csv.reader([entry.text()], delimiter=between))
    except (csv.Error, StopIteration) as error:
        raise BadInput(f"{entry.where} is not a line of a CSV ({error}); expected {expected}") from error


def records(lines: Iterable[Entry]) -> Iterator[Entry]:
    """Lines, joined where a quote that begins in one ends in another. Rows of empty cells are empty lines of a spreadsheet."""
    begun: list[Entry] = []
    for line in lines:
        if begun or line.raw.count(b'"') % 2:
            begun.append(line)
            if sum(one.raw.count(b'"') for one in begun) % 2:
                if len(begun) == LONGEST:
                    break
                continue
            line = Entry(begun[0].where, b"".join(one.raw for one in begun))
            begun = []
        if line.raw.strip(b' ,;\t\r\n"'):
            yield line
    if begun:
        raise BadInput(f"{begun[0].where}: a cell's quote begins and does not end in {len(begun)} lines; expected a second quote")
