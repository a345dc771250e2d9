"""Series of meetings: the occurrences in a window, and the pattern as Graph represents it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rruleset, rrulestr  # type: ignore[import-untyped]

from .items import Meeting, Recurrence

HORIZON = timedelta(days=5 * 366)
"""Limit of the expansion from the first start of a series; it also bounds a rule without an end."""

FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
"""Frequencies of Outlook; a meeting whose rule repeats more often than daily is a single meeting."""

FIRST = datetime.min.replace(tzinfo=UTC)
"""The first moment of the calendar; nothing is subtracted beyond it."""

DAYS = {
    "MO": "monday",
    "TU": "tuesday",
    "WE": "wednesday",
    "TH": "thursday",
    "FR": "friday",
    "SA": "saturday",
    "SU": "sunday",
}
INDEXES = {1: "first", 2: "second", 3: "third", 4: "fourth", -1: "last", 5: "last"}

ONCE = Recurrence("FREQ=DAILY;COUNT=1")
"""The pattern with which a single meeting is expanded."""

TIED_TO_DATES = (
    "BYDAY",
    "BYMONTH",
    "BYMONTHDAY",
    "BYYEARDAY",
    "BYWEEKNO",
    "BYHOUR",
    "BYMINUTE",
    "BYSECOND",
    "BYSETPOS",
)
"""Parts of a rule that are wrong after its series is shifted in time."""


def rule_parts(rule: str) -> dict[str, str]:
    """The parts of an RFC 5545 rule by their upper-case names."""
    pairs = (part.partition("=") for part in rule.split(";") if "=" in part)
    return {name.strip().upper(): value.strip().upper() for name, _, value in pairs}


def is_usable(rule: str, start: datetime) -> bool:
    """Whether the rule can be expanded."""
    if rule_parts(rule).get("FREQ") not in FREQUENCIES:
        return False
    try:
        _expand(rule, start.replace(tzinfo=None))
    except (ValueError, TypeError, OverflowError, IndexError, KeyError):
        return False
    return True


def _expand(rule: str, start: datetime) -> rrule:
    """Parse the rule in wall time; an UNTIL in UTC is compared as wall time, which is precise enough here."""
    parts = rule_parts(rule)
    until = parts.pop("UNTIL", None)
    made = rrulestr(";".join(f"{k}={v}" for k, v in parts.items()), dtstart=start)
    if not isinstance(made, rrule):
        raise ValueError("one rule only")  # noqa: TRY004 - the value is wrong, not its type
    last = start + HORIZON
    if until:
        last = min(last, _until(until))
    return made if "COUNT" in parts else made.replace(until=last)


def _until(text: str) -> datetime:
    digits = text.rstrip("Z")
    if "T" in digits:
        return datetime.fromisoformat(digits)
    return datetime.fromisoformat(digits) + timedelta(hours=23, minutes=59)


def starts(meeting: Meeting, after: datetime, before: datetime) -> Iterator[datetime]:
    """Original starts of a series in [after, before), in order, including the overridden ones."""
    pattern = meeting.recurrence or ONCE
    zone = ZoneInfo(meeting.zone)
    wall = meeting.start.astimezone(zone).replace(tzinfo=None)
    dates = rruleset()
    dates.rrule(_expand(pattern.rule, wall))
    for extra in pattern.added:
        dates.rdate(extra.astimezone(zone).replace(tzinfo=None))
    day = timedelta(days=1)
    low = max(after, meeting.start - day).astimezone(UTC).replace(tzinfo=None) - day
    high = min(before, meeting.start + HORIZON).astimezone(UTC).replace(tzinfo=None) + day
    for found in dates.between(low, high, inc=True):
        moment = found.replace(tzinfo=zone).astimezone(UTC)
        if after <= moment < before and moment not in pattern.excluded:
            yield moment


def occurrence_at(meeting: Meeting, original_start: datetime) -> tuple[Meeting, bool] | None:
    """The occurrence at an original start, and whether it is an exception.

    None if the series has no occurrence at that start.
    """
    pattern = meeting.recurrence
    if pattern is None or original_start in pattern.excluded:
        return None
    override = pattern.overrides.get(original_start)
    if override is not None:
        return override, True
    if next(starts(meeting, original_start, original_start + timedelta(seconds=1)), None) is None:
        return None
    moved = replace(meeting, start=original_start, end=original_start + meeting.length, recurrence=None)
    return moved, False


def occurrences(
    meeting: Meeting, after: datetime, before: datetime
) -> Iterator[tuple[datetime, Meeting, bool]]:
    """Occurrences that overlap a window: original start, meeting, whether it is an exception."""
    pattern = meeting.recurrence or ONCE
    earliest = after if after - FIRST < meeting.length else after - meeting.length
    for original in starts(meeting, earliest, before):
        if original in pattern.overrides:
            continue
        end = original + meeting.length
        if end > after or original >= after:
            moved = replace(meeting, start=original, end=end, recurrence=None)
            yield original, moved, False
    for original, override in pattern.overrides.items():
        if override.start < before and override.end > after:
            yield original, override, True


def shifted(pattern: Recurrence, by: timedelta) -> Recurrence:
    """The pattern of a series that is shifted in time, with shifted days of the week."""
    parts = rule_parts(pattern.rule)
    days = [day for day in parts.get("BYDAY", "").split(",") if day in DAYS]
    for tied in TIED_TO_DATES:
        parts.pop(tied, None)
    if days and parts.get("FREQ") == "WEEKLY":
        names = list(DAYS)
        parts["BYDAY"] = ",".join(names[(names.index(day) + by.days) % 7] for day in days)
    if "UNTIL" in parts:
        try:
            parts["UNTIL"] = f"{_until(parts['UNTIL']) + by:%Y%m%dT%H%M%SZ}"
        except OverflowError:
            parts.pop("UNTIL")
    return Recurrence(
        ";".join(f"{k}={v}" for k, v in parts.items()),
        frozenset(x + by for x in pattern.excluded),
        frozenset(x + by for x in pattern.added),
        {
            original + by: replace(each, start=each.start + by, end=each.end + by)
            for original, each in pattern.overrides.items()
        },
    )


def as_graph(meeting: Meeting) -> dict[str, Any] | None:
    """Graph's patternedRecurrence of a series; None for a single meeting."""
    if meeting.recurrence is None:
        return None
    parts = rule_parts(meeting.recurrence.rule)
    wall = meeting.start.astimezone(ZoneInfo(meeting.zone))
    by_day = [d for d in parts.get("BYDAY", "").split(",") if d]
    days = [DAYS[d[-2:]] for d in by_day if d[-2:] in DAYS] or [DAYS[list(DAYS)[wall.weekday()]]]
    index = by_day[0][:-2] if by_day else ""
    frequency = parts["FREQ"]
    pattern: dict[str, Any] = {
        "type": {"DAILY": "daily", "WEEKLY": "weekly"}.get(frequency, ""),
        "interval": _number(parts.get("INTERVAL"), 1),
        "month": wall.month if frequency == "YEARLY" else 0,
        "dayOfMonth": 0,
        "firstDayOfWeek": DAYS.get(parts.get("WKST", "SU"), "sunday"),
        "index": "first",
    }
    if frequency == "WEEKLY":
        pattern["daysOfWeek"] = days
    elif frequency in ("MONTHLY", "YEARLY"):
        name = frequency.capitalize()
        if by_day:
            pattern |= {"type": f"relative{name}", "daysOfWeek": days}
            pattern["index"] = INDEXES.get(_number(index, 1), "first")
        else:
            day = _number(parts.get("BYMONTHDAY", "").split(",")[0], wall.day)
            pattern |= {"type": f"absolute{name}", "dayOfMonth": max(day, 1)}
    first, end = wall.date(), date(1, 1, 1)
    kind, count = "noEnd", 0
    if "COUNT" in parts:
        kind, count = "numbered", _number(parts["COUNT"], 1)
    elif "UNTIL" in parts:
        kind, end = "endDate", _until(parts["UNTIL"]).date()
    return {
        "pattern": pattern,
        "range": {
            "type": kind,
            "startDate": f"{first:%Y-%m-%d}",
            "endDate": end.isoformat(),
            "recurrenceTimeZone": meeting.zone,
            "numberOfOccurrences": count,
        },
    }


def _number(text: str | None, otherwise: int) -> int:
    try:
        return int(text or otherwise)
    except ValueError:
        return otherwise
