"""Archived calendars: a lenient parser of iCalendar files, including series."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from icalendar import Calendar

from simulator.state import ids, recurrence
from simulator.state.bodies import EMPTY, Body
from simulator.state.items import Attendee, Meeting, Recipient, Recurrence, whole_days

_MAILTO = re.compile(r"(?i)^(?:\s*mailto:)+")
_EVENT = re.compile(rb"(?ms)^BEGIN:VEVENT\s*?$.*?^END:VEVENT\s*?$")
_CLASSES = {"PRIVATE": "private", "CONFIDENTIAL": "confidential"}
_RESPONSES = {
    "ACCEPTED": "accepted",
    "DECLINED": "declined",
    "TENTATIVE": "tentativelyAccepted",
    "NEEDS-ACTION": "notResponded",
}
_PARSER_ERRORS = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)
"""Exceptions of the icalendar package for malformed calendars."""


@dataclass(frozen=True, slots=True)
class _Event:
    """One VEVENT: a meeting, or the replacement of one occurrence of a series."""

    meeting: Meeting
    replaces: datetime | None
    sequence: int


def read(raw: bytes) -> tuple[list[Meeting], int]:
    """The meetings in an iCalendar file, and the number of omitted events.

    An event without a usable start is omitted; of several occurrences without their series only one is
    kept.
    """
    found: list[_Event] = []
    omitted = 0
    for component in _components(raw):
        try:
            found.append(_event(component))
        except _PARSER_ERRORS:
            omitted += 1
    masters: dict[str, _Event] = {}
    for event in found:
        uid = event.meeting.uid
        newer = uid not in masters or masters[uid].sequence <= event.sequence
        if event.replaces is None and newer:
            masters[uid] = event
    for event in found:
        master = masters.get(event.meeting.uid)
        if event.replaces is None:
            continue
        if master is None:
            masters[event.meeting.uid] = replace(event, replaces=None)
        elif master.meeting.recurrence is not None:
            pattern = master.meeting.recurrence
            overrides = {**pattern.overrides, event.replaces: event.meeting}
            series = replace(master.meeting, recurrence=replace(pattern, overrides=overrides))
            masters[event.meeting.uid] = replace(master, meeting=series)
        else:
            omitted += 1
    return [event.meeting for event in masters.values()], omitted


def _components(raw: bytes) -> Iterator[Any]:
    try:
        for calendar in Calendar.from_ical(raw, multiple=True):
            yield from calendar.walk("VEVENT")
        return
    except _PARSER_ERRORS:
        pass
    for block in _EVENT.findall(raw):
        try:
            wrapped = b"BEGIN:VCALENDAR\r\n" + block.strip() + b"\r\nEND:VCALENDAR\r\n"
            yield from Calendar.from_ical(wrapped).walk("VEVENT")
        except _PARSER_ERRORS:
            continue


def _event(component: Any) -> _Event:
    begin = component["DTSTART"].dt
    start, zone = _utc(begin)
    all_day = not isinstance(begin, datetime)
    end = _end(component, start, all_day)
    uid = _text(component, "UID") or f"{ids.digest(component.to_ical()).hex()}@uid.missing"
    rule = _rule(component, start)
    pattern = None
    if rule:
        first = start.astimezone(ZoneInfo(zone))
        pattern = Recurrence(rule, _times(component, "EXDATE", first), _times(component, "RDATE", first))
    replaces = component.get("RECURRENCE-ID")
    people = component.get("ATTENDEE") or []
    attendees = [_attendee(each) for each in (people if isinstance(people, list) else [people])]
    organizer = component.get("ORGANIZER")
    organizer = organizer[0] if isinstance(organizer, list) else organizer
    description = _text(component, "DESCRIPTION")
    meeting = Meeting(
        uid=uid,
        subject=_text(component, "SUMMARY"),
        start=start,
        end=max(end, start),
        organizer=_recipient(organizer) if organizer is not None else None,
        attendees=tuple(a for a in attendees if a.recipient.address),
        body=Body("text", description) if description else EMPTY,
        location=_text(component, "LOCATION"),
        all_day=all_day,
        zone=zone,
        cancelled=_text(component, "STATUS").upper() == "CANCELLED",
        sensitivity=_CLASSES.get(_text(component, "CLASS").upper(), "normal"),
        recurrence=pattern,
    )
    sequence = _text(component, "SEQUENCE")
    return _Event(
        whole_days(meeting),
        None if replaces is None else _utc(replaces.dt)[0],
        int(sequence) if sequence.isdigit() else 0,
    )


def _utc(value: date | datetime) -> tuple[datetime, str]:
    """A time in UTC and the name of its zone; a time without a zone is in UTC."""
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC), "UTC"
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC), "UTC"
    name = getattr(value.tzinfo, "key", "UTC")
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        name = "UTC"
    return value.astimezone(UTC), name


def _end(component: Any, start: datetime, all_day: bool) -> datetime:
    with suppress(*_PARSER_ERRORS):
        if component.get("DTEND") is not None:
            return _utc(component["DTEND"].dt)[0]
        if component.get("DURATION") is not None:
            length: timedelta = component["DURATION"].dt
            return start + length
    return start + timedelta(days=1) if all_day else start


def _rule(component: Any, start: datetime) -> str:
    """The rule of a series, or an empty text if Outlook cannot have this rule."""
    rules = component.get("RRULE")
    if rules is None:
        return ""
    first = rules[0] if isinstance(rules, list) else rules
    rule = str(first.to_ical().decode())
    return rule if recurrence.is_usable(rule, start) else ""


def _times(component: Any, name: str, first: datetime) -> frozenset[datetime]:
    """The starts in a list of dates; a date without a time means that day's occurrence.

    Args:
        component: the event.
        name: of the property.
        first: the start of the series, in its zone.
    """
    value = component.get(name)
    lists = value if isinstance(value, list) else [] if value is None else [value]
    found: set[datetime] = set()
    for each in lists:
        with suppress(*_PARSER_ERRORS):
            found |= {_start(entry.dt, first) for entry in each.dts if isinstance(entry.dt, date)}
    return frozenset(found)


def _start(value: date, first: datetime) -> datetime:
    if isinstance(value, datetime):
        return _utc(value)[0]
    return datetime.combine(value, first.time(), first.tzinfo).astimezone(UTC)


def _text(component: Any, name: str) -> str:
    value = component.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    text = "" if value is None else str(value).strip()
    return text.encode("utf-8", "replace").decode()


def _recipient(value: Any) -> Recipient:
    params = getattr(value, "params", {})
    return Recipient(str(params.get("CN", "")), _address(str(value), str(params.get("EMAIL", ""))))


def _address(uri: str, parameter: str) -> str:
    """The address of a calendar user: the `mailto:` URI's, else the parameter EMAIL, else the URI itself."""
    if _MAILTO.match(uri):
        return unquote(_MAILTO.sub("", uri).partition("?")[0]).strip()
    return (_MAILTO.sub("", parameter) or uri).strip()


def _attendee(value: Any) -> Attendee:
    params = getattr(value, "params", {})
    kind = "required"
    if str(params.get("CUTYPE", "")).upper() in ("RESOURCE", "ROOM"):
        kind = "resource"
    elif str(params.get("ROLE", "")).upper() in ("OPT-PARTICIPANT", "NON-PARTICIPANT"):
        kind = "optional"
    response = _RESPONSES.get(str(params.get("PARTSTAT", "")).upper(), "none")
    return Attendee(_recipient(value), kind, response)
