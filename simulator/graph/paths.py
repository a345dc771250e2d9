"""Paths below the version, in all forms that Graph accepts, and the table of the paths that are simulated."""

import re
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

_KEYED = re.compile(r"^([^()']+)\('((?:[^']|'')*)'\)$", re.DOTALL)
_CALL = re.compile(r"^([A-Za-z.$]+)\(\)$")

KEY = "{}"
"""The place of an id in a template."""

FUNCTIONS = frozenset(("delta", "getbyids", "validateproperties", "getavailableextensionproperties"))
"""Names after a collection that are functions or actions of it, and no ids."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One decoded segment of a path; `quoted` is true for the id of `messages('id')`, which is no name."""

    text: str
    quoted: bool = False

    @property
    def may_be_id(self) -> bool:
        """Whether the segment may stand in the place of an id."""
        name = self.text.lower()
        is_call = name in FUNCTIONS or name.startswith(("$", "microsoft.graph.")) or "(" in name
        return self.quoted or not is_call


def parse_path(raw: str) -> tuple[Segment, ...]:
    """The segments of a percent-encoded path; an encoded `/` is part of a segment."""
    segments: list[Segment] = []
    for part in raw.split("/"):
        if not part:
            continue
        text = unquote(part)
        keyed, call = _KEYED.match(text), _CALL.match(text)
        if keyed:
            segments += [Segment(keyed[1]), Segment(keyed[2].replace("''", "'"), quoted=True)]
        else:
            segments.append(Segment(call[1] if call else text))
    return tuple(segments)


def is_below(segments: tuple[Segment, ...], name: str) -> bool:
    """Whether the first segment has this name."""
    return bool(segments) and segments[0].text.lower() == name


class Routes(Generic[T]):
    """Values by method and template, such as `users/{}/messages`; names are compared without case."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, int], list[tuple[tuple[str, ...], T]]] = {}

    def add(self, method: str, template: str, value: T) -> None:
        """Add a value; the first one that matches a request counts."""
        parts = tuple(template.lower().split("/"))
        self._routes.setdefault((method, len(parts)), []).append((parts, value))

    def find(self, method: str, segments: tuple[Segment, ...]) -> tuple[T, tuple[str, ...]] | None:
        """The value of the template that matches, and the ids in the path; None without a match."""
        for parts, value in self._routes.get((method, len(segments)), ()):
            keys = _match(parts, segments)
            if keys is not None:
                return value, keys
        return None


def _match(parts: tuple[str, ...], segments: tuple[Segment, ...]) -> tuple[str, ...] | None:
    keys = []
    for part, segment in zip(parts, segments, strict=True):
        if part == KEY:
            if not segment.may_be_id:
                return None
            keys.append(segment.text)
        elif segment.quoted or segment.text.lower() != part:
            return None
    return tuple(keys)
