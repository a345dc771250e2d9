"""Query options and preferences of a request, read as OData has them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from . import errors as errors
from .errors import GraphError

MOST = 1000
"""The largest page that Outlook gives."""

PAGE = 10
"""The page that Outlook gives unasked."""

ZONES = {name.lower(): zone for name, zone in WINDOWS_TO_OLSON.items()}

_TOKEN = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<text>'(?:[^']|'')*')"
    r"|(?P<word>[^\s()']+))"
)
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: bool(a == b),
    "ne": lambda a, b: bool(a != b),
    "gt": lambda a, b: a is not None and bool(a > b),
    "ge": lambda a, b: a is not None and bool(a >= b),
    "lt": lambda a, b: a is not None and bool(a < b),
    "le": lambda a, b: a is not None and bool(a <= b),
}

Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the Prefer header asks for."""

    immutable: bool = False
    zone: str = "UTC"
    zone_name: str | None = None
    body: str | None = None
    page: int | None = None

    def applied(self) -> str:
        """The Preference-Applied header."""
        said = []
        if self.immutable:
            said.append("IdType=ImmutableId")
        if self.zone_name is not None:
            said.append(f'outlook.timezone="{self.zone_name}"')
        if self.body is not None:
            said.append(f'outlook.body-content-type="{self.body}"')
        if self.page is not None:
            said.append(f"odata.maxpagesize={self.page}")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class Options:
    """The query options of one request, names without `$` and lower-cased."""

    raw: Mapping[str, str]
    select: tuple[str, ...] | None
    filter: str | None
    orderby: tuple[tuple[str, bool], ...]
    top: int | None
    skip: int
    expand: str | None
    count: bool


def preferences(header: str) -> Preferences:
    """The preferences in a Prefer header; unknown ones are ignored, as Graph does."""
    immutable, zone, zone_name, body, page = False, "UTC", None, None, None
    for part in re.findall(r'[^,"]+(?:"[^"]*")?', header):
        name, _, value = part.strip().partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "idtype":
            immutable = value.lower() == "immutableid"
        elif name == "outlook.timezone":
            zone, zone_name = _zone(value), value
        elif name == "outlook.body-content-type" and value.lower() in ("text", "html"):
            body = value.lower()
        elif name == "odata.maxpagesize" and value.isdigit() and int(value) > 0:
            page = min(int(value), MOST)
    return Preferences(immutable, zone, zone_name, body, page)


def _zone(name: str) -> str:
    found = ZONES.get(name.lower(), name)
    try:
        ZoneInfo(found)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise GraphError(errors.TIME_ZONE, name) from error
    return found


def options(query: str) -> Options:
    """The options in a query string."""
    raw = {
        name.strip().lower().lstrip("$"): value for name, value in parse_qsl(query, keep_blank_values=True)
    }
    select = tuple(s.strip() for s in raw.get("select", "").split(",") if s.strip()) or None
    ordered = []
    for part in raw.get("orderby", "").split(","):
        words = part.split()
        if words:
            if len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
                raise GraphError(errors.OPTION, "$orderby", raw["orderby"])
            ordered.append((words[0], len(words) == 2 and words[1].lower() == "desc"))
    top = _number(raw, "top")
    if top is not None and not 0 < top <= MOST:
        raise GraphError(errors.OPTION, "$top", top)
    return Options(
        raw=raw,
        select=select,
        filter=raw.get("filter") or None,
        orderby=tuple(ordered),
        top=top,
        skip=_number(raw, "skip") or 0,
        expand=raw.get("expand") or None,
        count=raw.get("count", "").lower() == "true",
    )


def _number(raw: Mapping[str, str], name: str) -> int | None:
    text = raw.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise GraphError(errors.OPTION, f"${name}", text)
    return int(text)


def instant(text: str) -> datetime:
    """A moment in a query; without an offset it is UTC."""
    try:
        value = datetime.fromisoformat(text.strip().strip("'"))
    except ValueError as error:
        raise GraphError(errors.FILTER, f"'{text}' is not a date-time") from error
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter: what it lets through, and the properties it names, in their order."""

    test: Test
    names: tuple[str, ...]


class _Reader:
    """Reads `$filter`: comparisons, `and`, `or`, `not`, parentheses."""

    def __init__(self, text: str, properties: Mapping[str, Callable[[Any], Any]], kind: str):
        self._tokens: list[tuple[str, str]] = []
        self._properties = {name.lower(): read for name, read in properties.items()}
        self._kind = kind
        self.names: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            found = _TOKEN.match(text, position)
            if found is None or found.end() == position:
                raise GraphError(errors.FILTER, text)
            self._tokens.append((str(found.lastgroup), str(found.group(str(found.lastgroup)))))
            position = found.end()
        self._tokens.append(("end", ""))

    def read(self) -> Test:
        test = self._either()
        if self._tokens[0][0] != "end":
            raise GraphError(errors.FILTER, self._tokens[0][1])
        return test

    def _take(self) -> tuple[str, str]:
        return self._tokens.pop(0)

    def _is(self, word: str) -> bool:
        kind, text = self._tokens[0]
        return kind == "word" and text.lower() == word

    def _either(self) -> Test:
        tests = [self._both()]
        while self._is("or"):
            self._take()
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda item: any(t(item) for t in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._is("and"):
            self._take()
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda item: all(t(item) for t in tests)

    def _one(self) -> Test:
        if self._is("not"):
            self._take()
            refused = self._one()
            return lambda item: not refused(item)
        kind, text = self._take()
        if kind == "open":
            test = self._either()
            if self._take()[0] != "close":
                raise GraphError(errors.FILTER, "a parenthesis is not closed")
            return test
        if kind != "word":
            raise GraphError(errors.FILTER, text or "it ends too early")
        return self._comparison(text)

    def _comparison(self, name: str) -> Test:
        read = self._properties.get(name.lower())
        if read is None:
            raise GraphError(errors.PROPERTY, name, self._kind)
        operator = _OPERATORS.get(self._take()[1].lower())
        kind, text = self._take()
        if operator is None or kind not in ("text", "word"):
            raise GraphError(errors.FILTER, name)
        self.names.append(name)
        value = _literal(kind, text)
        compare = operator

        def test(item: Any) -> bool:
            mine = read(item)
            wanted = value
            if isinstance(mine, datetime) and isinstance(wanted, str):
                wanted = instant(wanted)
            try:
                return compare(mine, wanted)
            except TypeError as error:
                raise GraphError(errors.FILTER, f"'{text}' is of another type") from error

        return test


def _literal(kind: str, text: str) -> Any:
    if kind == "text":
        return text[1:-1].replace("''", "'")
    lowered = text.lower()
    if lowered in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[lowered]
    return int(text) if text.isdigit() else instant(text)


def read_filter(text: str, properties: Mapping[str, Callable[[Any], Any]], kind: str) -> Filter:
    """A filter over items whose comparable properties are given."""
    reader = _Reader(text, properties, kind)
    return Filter(reader.read(), tuple(reader.names))


def check_order(found: Filter | None, orderby: Sequence[tuple[str, bool]]) -> None:
    """Outlook's rule: what is ordered by stands in the filter too, first and in the same order."""
    if found is None or not orderby:
        return
    ordered = [name.lower() for name, _ in orderby]
    filtered = list(dict.fromkeys(name.lower() for name in found.names))
    if filtered[: len(ordered)] != ordered:
        raise GraphError(errors.INEFFICIENT)


def ordered(
    items: list[Any],
    orderby: Sequence[tuple[str, bool]],
    properties: Mapping[str, Callable[[Any], Any]],
    kind: str,
) -> list[Any]:
    """Items in the order asked for."""
    known = {name.lower(): read for name, read in properties.items()}
    for name, descending in reversed(orderby):
        read = known.get(name.lower())
        if read is None:
            raise GraphError(errors.PROPERTY, name, kind)
        items = sorted(items, key=lambda i: (read(i) is not None, read(i)), reverse=descending)
    return items
