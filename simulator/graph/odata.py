"""Query options of a request, as OData defines them. No option is passed over.

`parse_options` refuses what is malformed; `Options.check` refuses what an endpoint does not apply.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from . import errors
from .errors import GraphError
from .literals import parse_number

SYSTEM_OPTIONS = frozenset(
    [
        "select",
        "filter",
        "orderby",
        "top",
        "skip",
        "expand",
        "count",
        "search",
        "skiptoken",
        "deltatoken",
        "format",
        "apply",
        "compute",
        "levels",
    ]
)
"""Names of OData's own options; Graph accepts them with and without `$`."""

MAX_TOP = 1000
"""The largest `$top` of Outlook."""


@dataclass(frozen=True, slots=True)
class Options:
    """The query options of one request.

    `raw` has all of them, by their names in lower case: `$top`, `startdatetime`.
    """

    raw: Mapping[str, str]
    select: tuple[str, ...] | None = None
    filter: str | None = None
    orderby: tuple[tuple[str, bool], ...] = ()
    top: int | None = None
    skip: int = 0
    expand: str | None = None
    count: bool = False
    search: str | None = None
    skiptoken: str | None = None

    def check(self, applied: Iterable[str]) -> None:
        """Raise GraphError if there is an option that is not among the `applied` ones."""
        others = sorted(self.raw.keys() - set(applied))
        if others:
            raise GraphError(errors.NOT_SIMULATED, f"the query option {others[0]} of this path")

    def flag(self, name: str) -> bool:
        """The value of an option that is true or false; false without it."""
        return _flag(self.raw, name)


def parse_options(query: str) -> Options:
    """The options in a query string.

    Raises:
        GraphError: an option has an invalid value, none, or stands twice.
    """
    raw: dict[str, str] = {}
    for given, value in parse_qsl(query, keep_blank_values=True):
        name = given.strip().lower()
        name = "$" + name if name in SYSTEM_OPTIONS else name
        if name in raw:
            raise GraphError(errors.TWICE, name)
        if not value.strip():
            raise GraphError(errors.OPTION, name, value)
        raw[name] = value
    top = _number(raw, "$top")
    if top is not None and not 0 < top <= MAX_TOP:
        raise GraphError(errors.OPTION, "$top", top)
    return Options(
        raw=raw,
        select=_names(raw, "$select") or None,
        filter=raw.get("$filter"),
        orderby=tuple(_parse_order(each, raw["$orderby"]) for each in _names(raw, "$orderby")),
        top=top,
        skip=_number(raw, "$skip") or 0,
        expand=raw.get("$expand"),
        count=_flag(raw, "$count"),
        search=raw.get("$search"),
        skiptoken=raw.get("$skiptoken"),
    )


def _names(raw: Mapping[str, str], name: str) -> tuple[str, ...]:
    if name not in raw:
        return ()
    names = tuple(each.strip() for each in raw[name].split(","))
    if not all(names):
        raise GraphError(errors.OPTION, name, raw[name])
    return names


def _parse_order(text: str, whole: str) -> tuple[str, bool]:
    """One property of `$orderby`, and whether it descends."""
    name, *directions = text.split()
    if len(directions) > 1 or any(each.lower() not in ("asc", "desc") for each in directions):
        raise GraphError(errors.OPTION, "$orderby", whole)
    return name, [each.lower() for each in directions] == ["desc"]


def _flag(raw: Mapping[str, str], name: str) -> bool:
    text = raw.get(name, "false")
    if text.lower() not in ("true", "false"):
        raise GraphError(errors.OPTION, name, text)
    return text.lower() == "true"


def _number(raw: Mapping[str, str], name: str) -> int | None:
    if name not in raw:
        return None
    number = parse_number(raw[name])
    if number is None:
        raise GraphError(errors.OPTION, name, raw[name])
    return number
