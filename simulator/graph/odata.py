"""Query options and preferences of a request, as OData defines them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from . import errors
from .errors import GraphError

MAX_PAGE_SIZE = 1000
"""The largest page of Outlook."""

DEFAULT_PAGE_SIZE = 10
"""The page size of Outlook when the request has none."""

ZONES = {name.lower(): zone for name, zone in WINDOWS_TO_OLSON.items()}


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences of a Prefer header."""

    immutable: bool = False
    zone: str = "UTC"
    zone_name: str | None = None
    body: str | None = None
    page: int | None = None

    def applied(self) -> str:
        """The Preference-Applied header."""
        applied = []
        if self.immutable:
            applied.append("IdType=ImmutableId")
        if self.zone_name is not None:
            applied.append(f'outlook.timezone="{self.zone_name}"')
        if self.body is not None:
            applied.append(f'outlook.body-content-type="{self.body}"')
        if self.page is not None:
            applied.append(f"odata.maxpagesize={self.page}")
        return ", ".join(applied)


@dataclass(frozen=True, slots=True)
class Options:
    """The query options of one request, names without `$` and in lower case."""

    raw: Mapping[str, str]
    select: tuple[str, ...] | None
    filter: str | None
    orderby: tuple[tuple[str, bool], ...]
    top: int | None
    skip: int
    expand: str | None
    count: bool


def parse_preferences(header: str) -> Preferences:
    """The preferences in a Prefer header; unknown ones are ignored, as in Graph."""
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
            page = min(int(value), MAX_PAGE_SIZE)
    return Preferences(immutable, zone, zone_name, body, page)


def _zone(name: str) -> str:
    zone = ZONES.get(name.lower(), name)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise GraphError(errors.TIME_ZONE, name) from error
    return zone


def parse_options(query: str) -> Options:
    """The options in a query string.

    Raises:
        GraphError: an option has an invalid value.
    """
    raw = {
        name.strip().lower().lstrip("$"): value for name, value in parse_qsl(query, keep_blank_values=True)
    }
    select = tuple(s.strip() for s in raw.get("select", "").split(",") if s.strip()) or None
    orderby = []
    for part in raw.get("orderby", "").split(","):
        words = part.split()
        if words:
            if len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
                raise GraphError(errors.OPTION, "$orderby", raw["orderby"])
            orderby.append((words[0], len(words) == 2 and words[1].lower() == "desc"))
    top = _number(raw, "top")
    if top is not None and not 0 < top <= MAX_PAGE_SIZE:
        raise GraphError(errors.OPTION, "$top", top)
    return Options(
        raw=raw,
        select=select,
        filter=raw.get("filter") or None,
        orderby=tuple(orderby),
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


def parse_instant(text: str) -> datetime:
    """A date-time in a query; without an offset it is in UTC.

    Raises:
        GraphError: the text is no date-time.
    """
    try:
        value = datetime.fromisoformat(text.strip().strip("'"))
    except ValueError as error:
        raise GraphError(errors.FILTER, f"'{text}' is not a date-time") from error
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def sort_items(
    items: list[Any],
    orderby: Sequence[tuple[str, bool]],
    properties: Mapping[str, Callable[[Any], Any]],
    kind: str,
) -> list[Any]:
    """Sort items by `$orderby`.

    Raises:
        GraphError: `$orderby` names an unknown property.
    """
    known = {name.lower(): read for name, read in properties.items()}
    for name, descending in reversed(orderby):
        read = known.get(name.lower())
        if read is None:
            raise GraphError(errors.PROPERTY, name, kind)
        items = sorted(items, key=lambda i: (read(i) is not None, read(i)), reverse=descending)
    return items
