"""Refits a drawing to the width of a phone: long labels are folded, and those that would overlap are turned or left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

from locust_kvcache.contract.text_width import wrap

TITLE_COLUMNS, LABEL_COLUMNS, GROUP_COLUMNS, NOTE_COLUMNS = 40, 44, 14, 16
LEAST_COLUMNS = 7
POINTS_PER_LETTER, POINTS_PER_LINE = 6.0, 12.0
PIECES = re.compile(r".+?(?:[\s_:-]+|$)")  # a line may end behind a blank, and inside of a name
Folds = dict[str, tuple[str, ...]]  # a text, and the lines that it became


def folded(text: str, columns: int) -> str:
    """In lines of so many columns; a word that is longer stays whole."""
    lines = [""]
    for piece in PIECES.findall(text):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > columns:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def fold_labels(figure: Figure) -> Folds:
    """Fold what is too long on a narrow figure; what was folded, so that each line can be translated."""
    found: Folds = {}
    for axes in _all_axes(figure):
        title = axes.title if axes.title.get_text() else axes._left_title  # type: ignore[attr-defined]
        _fold(title, TITLE_COLUMNS, found)
        for label in (axes.xaxis.label, axes.yaxis.label):
            _fold(label, LABEL_COLUMNS, found)
        for text in axes.texts:
            _fold_note(text, found)
        _fold_groups(axes, found)
    return found


def settle(figure: Figure, renderer: Any, pad: float) -> None:
    """After the layout: the title begins at the figure's edge; of tick labels that overlap each second one goes."""
    for axes in _all_axes(figure):
        axes._left_title.set_x((pad - axes.bbox.x0) / axes.bbox.width)  # type: ignore[attr-defined]
        low, high = sorted(axes.get_xlim())
        labels = [label for label in axes.get_xticklabels() if label.get_text() and low <= label.get_position()[0] <= high]
        while _overlap(labels, renderer):
            for label in labels[1::2]:
                label.set_visible(False)
            labels = labels[::2]


def translated_lines(folds: Folds, told: Any) -> dict[str, str]:
    """What each line of a folded text says in the reader's language: the translation in as many lines."""
    found: dict[str, str] = {}
    for text, lines in folds.items():
        said = told(text)
        if said == text:
            continue
        columns = max(map(len, lines))
        parts = wrap(said, columns, len(lines), "")
        while "".join(parts).replace(" ", "") != said.replace(" ", "") and columns < 200:
            columns += 2
            parts = wrap(said, columns, len(lines), "")
        found |= dict(zip(lines, [*parts, *[""] * len(lines)], strict=False))
    return found


def _all_axes(figure: Figure) -> Iterator[Axes]:
    for axes in figure.axes:
        yield axes
        yield from (inner for inner in axes.child_axes if isinstance(inner, Axes))


def _fold(text: Text, columns: int, found: Folds) -> None:
    said = text.get_text()
    lines = folded(said, columns)
    if "\n" in lines:
        text.set_text(lines)
        found[said] = tuple(lines.split("\n"))


def _fold_note(text: Text, found: Folds) -> None:
    """Behind a bar, or beside a mark: before a bracket, so that a change stands over its interval."""
    said = text.get_text()
    if len(said) > NOTE_COLUMNS and "[" in said:
        text.set_text(re.sub(r"\s+\[", "\n[", said, count=1))
        found[said] = tuple(text.get_text().split("\n"))


def _fold_groups(axes: Axes, found: Folds) -> None:
    """The names of groups, beside bars in as many lines as a bar has room for; an axis of numbers stays as it is."""
    width, height = 72 * 0.8 * axes.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    for axis, room in ((axes.xaxis, width), (axes.yaxis, height)):
        places, names = axis.get_ticklocs(), [label.get_text() for label in axis.get_ticklabels()]
        if not isinstance(axis.get_major_locator(), FixedLocator) or not names:
            continue
        each = room / len(names)
        if axis is axes.xaxis:
            lines = [folded(name, max(LEAST_COLUMNS, int(each / POINTS_PER_LETTER))) for name in names]
        else:
            lines = [_in_lines(name, max(1, int(each / POINTS_PER_LINE))) for name in names]
        axis.set_ticks(places, labels=lines)
        found |= {name: tuple(text.split("\n")) for name, text in zip(names, lines, strict=True) if "\n" in text}


def _in_lines(name: str, most: int) -> str:
    """As narrow as so many lines allow, but no narrower than GROUP_COLUMNS."""
    return next(
        lines
        for columns in range(GROUP_COLUMNS, max(GROUP_COLUMNS, len(name)) + 1)
        if (lines := folded(name, columns)).count("\n") < most
    )


def _overlap(labels: Iterable[Text], renderer: Any) -> bool:
    boxes = [label.get_window_extent(renderer) for label in labels]
    return any(left.x1 + 2 > right.x0 for left, right in pairwise(boxes) if left.x0 <= right.x0)
