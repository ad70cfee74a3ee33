"""Finds the translation of a finished text: as a whole, by a text with placeholders, or part by part.

Of several ways to take a text apart, the one that leaves the fewest English letters is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"\{(\w+)\}")
ADJACENT = re.compile(r"(?:\{\w+\})+")
AROUND = " ;,:.。"
STOPS = {".": "。", ";": "；", ":": "：", ",": "，"}
CJK = re.compile(r"[\u3000-\u9fff\uff00-\uffef]")
LETTERS = re.compile(r"[A-Za-z]")
KEY = 4
LETTER_RUN = re.compile(rf"[A-Za-z]{{{KEY},}}")
HAS_WORD = re.compile(r"[A-Za-z]{2}")
NUMBER = r"[−+-]?\d[\d.,]*(?: [%x](?![\w]))?(?: \[[^\]]*\])?"
LEADING_NUMBER = re.compile(rf"({NUMBER}) (.+)", re.S)
TRAILING_NUMBER = re.compile(rf"(.+?) ({NUMBER}(?: ms| s)?(?: to {NUMBER})?)", re.S)
FIGURE = re.compile(rf"{NUMBER}(?:, {NUMBER})*(?: (?:ms|s|tokens/s))?")  # needs no translation: 175, 199 ms
OUTSIDE_OF_BRACKETS = r"(?![^\[]*\])"
SEPARATORS = tuple(
    (re.compile(pattern + OUTSIDE_OF_BRACKETS), joint)
    for pattern, joint in (
        (r"\. (?=\S)", "。"), ("; ", "；"), (": ", "："), (", ", "，"), (", and ", "，"), (" and ", "和"),
        (" to ", " 到 "), (r" \+ ", " + "), (" / ", " / "),
    )
)  # fmt: skip
FEW_LETTERS = 5  # a text with fewer letters beside its placeholders stands for numbers only: {done} of {planned}
NUMBERS = r"(?:(?:(?![;:] )[^A-Za-z])*[\d%–\]])?"
NAME = r"single|[\w./-]*[A-Z0-9_./-][\w./-]*"  # of a run or a deployment: PD, lab_single
NEIGHBOURS = re.compile(r"(?<=[A-Za-z0-9%\])])(?=[\u4e00-\u9fff])|(?<=[\u4e00-\u9fff])(?=[A-Za-z0-9−+\[(])")
ONE_PART = r"(?:(?![;.,:] ).)*"  # what a text of few letters may hold
SHORT = 10  # letters beside the placeholders
NUMERIC = frozenset({"n", "n2", "number", "round"})  # placeholders of these names hold numbers: {n} requests
VERBATIM = "typed"  # the placeholder for what a person types as it stands: --accept "{typed}"
SENTENCE = re.compile(r"(?<![\w-])[a-z]{2,}(?: [a-z]{2,}){2}(?![\w-])")  # three words in a row
MOST_OF_IT = 0.6  # of a text's letters
JOINTS = re.compile(r"[;:.,](?= |$)| \(")
JOINTS_OR_AND = re.compile(JOINTS.pattern + "| and ")
SURE = 4  # times as much: where a clause ends, a placeholder does
# Joints of one kind at which a text is cut one by one. A longer list is cut at all of them at once, as each way takes time.
MOST_CUTS = 12
CLAUSE_ENDS = re.compile(r"[;:.](?= |$)")
WITHIN_CLAUSES = re.compile(r",(?= |$)| \(| and ")


def core(text: str) -> str:
    """Without the punctuation around it, which joins it to other texts."""
    return _parted(text)[1]


def _parted(text: str) -> tuple[str, str, str]:
    inner = text.strip(AROUND + "\n")
    start = text.index(inner) if inner else 0
    before, after = text[:start], text[start + len(inner) :]
    if inner.startswith("(") and inner.endswith(")") and _is_one_pair(inner):
        return f"{before}(", inner[1:-1], f"){after}"
    return before, inner, after


def _is_one_pair(text: str) -> bool:
    """Whether its first bracket is closed by its last character."""
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return place == len(text) - 1
    return False


@dataclass(frozen=True)
class _Template:
    """A text with placeholders. Of adjacent ones the first takes all that they hold."""

    patterns: tuple[re.Pattern[str], ...]  # each placeholder as short, and as long as can be
    names: tuple[str, ...]
    longest: str
    letters: int
    translation: str
    ends_open: bool  # with a placeholder
    joins_clauses: bool  # it has a colon, a comma, ...: what stands in a placeholder may be a sentence of its own

    def filled(self, values: Mapping[str, str]) -> str:
        return PLACEHOLDER.sub(lambda found: values.get(found[1], ""), self.translation)


def _template(text: str, translation: str) -> _Template:
    literals = ADJACENT.split(text)
    names = tuple(PLACEHOLDER.findall(found)[0] for found in ADJACENT.findall(text))
    letters = sum(len(LETTERS.findall(literal)) for literal in literals)
    first, rest = literals[0], literals[1:]
    head = f"[{first[0].upper()}{first[0].lower()}]{re.escape(first[1:])}" if first[:1].isalpha() else re.escape(first)
    patterns = tuple(
        re.compile(
            head
            + "".join(
                _group(name, SHORT if before.endswith(": ") and not literal else letters, lazy) + re.escape(literal)
                for name, before, literal in zip(names, literals, rest, strict=False)
            ),
            re.S,
        )
        for lazy in ("?", "")[: len(names)]
    )
    joins = letters >= SHORT or any(JOINTS.search(literal) for literal in literals)
    return _Template(patterns, names, max(literals, key=len)[1:], letters, translation, not rest[-1], joins)


def _beginning_of_a_word(text: str) -> str:
    """KEY letters of the longest word, since long words are rare; empty where no word has so many."""
    word = max(LETTER_RUN.findall(text), key=len, default="")
    return word[:KEY]


def _group(name: str, letters: int, lazy: str) -> str:
    if name in NUMERIC:
        return f"({NUMBERS})"
    if letters < FEW_LETTERS:
        return f"({NUMBERS}|{NAME})"
    return f"({ONE_PART}{lazy})" if letters < SHORT else f"(.*{lazy})"


class Catalogue:
    """The texts of one language: English to it, both without the punctuation around them."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        whole = {text: translation for text, translation in texts.items() if not PLACEHOLDER.search(text)}
        self._whole = {_small(text): translation for text, translation in whole.items()} | whole
        made = (_template(text, translation) for text, translation in texts.items() if PLACEHOLDER.search(text))
        self._templates = sorted(
            (one for one in made if one.letters), key=lambda one: (-one.letters, -len(NUMERIC.intersection(one.names)))
        )
        self._places: dict[str, list[int]] = {}  # of templates, by the beginning of a word that a text must have
        for place, one in enumerate(self._templates):
            self._places.setdefault(_beginning_of_a_word(one.longest), []).append(place)
        self._lines = {PLACEHOLDER.sub("{}", text): (PLACEHOLDER.findall(text), said) for text, said in texts.items()}
        self._known: dict[str, str] = {}

    def told(self, text: str) -> str:
        if not HAS_WORD.search(text):
            return text
        if text not in self._known:
            before, inner, after = _parted(text)
            found = min(self._ways(inner), key=_unlikeliness).text
            self._known[text] = text if found == inner else NEIGHBOURS.sub(" ", _joined(before, found, after))
        return self._known[text]

    def line(self, text: str, values: Sequence[str]) -> str | None:
        """A line whose values stand at `{}`, at the cost of a look-up: they stay as they are. None where it is not known."""
        before, inner, after = _parted(text)
        if inner not in self._lines:
            return None
        names, said = self._lines[inner]
        held = dict(zip(names, values, strict=True))
        filled = PLACEHOLDER.sub(lambda found: held.get(found[1], ""), said)
        return NEIGHBOURS.sub(" ", _joined(before, filled, after))

    def _ways(self, text: str) -> Iterator[_Way]:
        whole = self._whole.get(text, self._whole.get(_small(text)))
        if whole is not None:
            yield _Way(whole)
            return
        letters = len(LETTERS.findall(text))
        for template in self._candidates(text):
            joints = list[int]()
            for pattern in template.patterns:
                if match := pattern.fullmatch(text):
                    held = zip(template.names, match.groups(), strict=True)
                    said = [value if name == VERBATIM else self.told(value) for name, value in held]
                    if template.joins_clauses or not _leaves_a_sentence(match.groups(), said):
                        joints.append(_joints(match.groups(), template.ends_open))
                        values = dict(zip(template.names, said, strict=True))
                        yield _Way(template.filled(values), joints[-1])
            if joints and min(joints) == 0 and template.letters > MOST_OF_IT * letters:
                return  # no other way is better, and each takes time
        for parts, joint in _in_parts(text):
            said = [self.told(part) for part in parts]
            if joint.strip() not in STOPS.values() and _leaves_a_sentence(parts, said):
                continue
            if said != parts or all(map(FIGURE.fullmatch, parts)):
                yield _Way(joint.join(said).replace(" （", "（"))
        yield _Way(text)

    def _candidates(self, text: str) -> Iterator[_Template]:
        """The templates whose longest literal is in the text, in their order."""
        starts = {text[place : place + KEY] for place in range(len(text) - KEY + 1)} | {""}
        places = sorted(place for start in starts for place in self._places.get(start, ()))
        return (one for one in map(self._templates.__getitem__, places) if one.longest in text)


@dataclass(frozen=True)
class _Way:
    """A text as one way of taking it apart tells it. `joints`: how often a placeholder holds what looks like several parts."""

    text: str
    joints: int = 0


def _joints(values: Sequence[str], ends_open: bool) -> int:
    """Clauses end within a placeholder at the very end more likely than within another: `{what}: {reason}`."""
    values = values if ends_open else (*values, "")
    found = sum(len(JOINTS_OR_AND.findall(value)) + SURE * len(CLAUSE_ENDS.findall(value)) for value in values[:-1])
    return found + len(WITHIN_CLAUSES.findall(values[-1]))


def _unlikeliness(way: _Way) -> tuple[int, int]:
    return len(LETTERS.findall(way.text)), way.joints


def _in_parts(text: str) -> Iterator[tuple[list[str], str]]:
    """The text cut at every joint of one kind, at the first, at the last; at a number; before a bracket."""
    for separator, joint in SEPARATORS:
        cuts = [match.span() for match in separator.finditer(text)]
        if len(cuts) > 1:
            yield separator.split(text), joint
        if len(cuts) > MOST_CUTS:
            continue
        yield from (([text[:start], text[end:]], joint) for start, end in {*cuts[:1], *cuts[-1:]})
    if (match := LEADING_NUMBER.fullmatch(text)) and not JOINTS.search(match[2]):
        yield [match[1], match[2]], " "
    if (match := TRAILING_NUMBER.fullmatch(text)) and not JOINTS.search(match[1]):
        yield [match[1], match[2]], " "
    if match := re.fullmatch(r"(.+?) (\(.+\))", text, re.S):
        yield [match[1], match[2]], " "


def _leaves_a_sentence(parts: Sequence[str], said: Sequence[str]) -> bool:
    """A part of several words that is not known: nobody reads English within a Chinese clause."""
    return any(part == told and SENTENCE.search(part) for part, told in zip(parts, said, strict=True))


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]


def _joined(before: str, text: str, after: str) -> str:
    """With the punctuation of Chinese where the text is Chinese."""
    if not CJK.search(text):
        return before + text + after
    marks = str.maketrans({**STOPS, "(": "（", ")": "）"})
    said = before.translate(marks) + text + after.translate(marks)
    return re.sub(r"(?<=[。；：，（）]) | (?=[。；：，（）])", "", said) if before.strip() or after.strip() else said
