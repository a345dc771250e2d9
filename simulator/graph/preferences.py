"""The Prefer header. Graph ignores preferences that it does not know; Preference-Applied has the others."""

import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from . import errors
from .errors import GraphError
from .literals import parse_number

MAX_PAGE_SIZE = 1000
"""The largest page of Outlook."""

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


def parse_preferences(header: str) -> Preferences:
    """The preferences in a Prefer header.

    Raises:
        GraphError: the time zone is unknown.
    """
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
        elif name == "odata.maxpagesize" and parse_number(value):
            page = min(parse_number(value) or 1, MAX_PAGE_SIZE)
    return Preferences(immutable, zone, zone_name, body, page)


def _zone(name: str) -> str:
    zone = ZONES.get(name.lower(), name)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise GraphError(errors.TIME_ZONE, name) from error
    return zone
