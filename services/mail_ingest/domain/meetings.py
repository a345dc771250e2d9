"""Graph's `event` -> a meeting activity.

Participants are copied verbatim from the organizer and the required and optional attendees.
"""

from collections.abc import Iterator
from datetime import datetime

from shared.events import Activity, ActivityKind, Participant, ParticipantRole, Sensitivity
from shared.time_zones import UnknownTimeZoneError

from .activities import CAPTURE_WINDOW, MailboxOwner, NotCaptured, NotCapturedReason
from .folders import Folders
from .graph_values import identity, participants
from .payload_reader import PayloadReader

OPTIONAL = "optional"
RESOURCE = "resource"
"""Attendee types of Graph; any other one is required. A resource, a place or a device, is no participant."""
SERIES_MASTER = "seriesmaster"
OCCURRENCE_TYPES = ("occurrence", "exception")
"""Event types, in lower case, of an occurrence of a series."""


def normalise_event(
    item: str, payload: PayloadReader, owner: MailboxOwner, _folders: Folders
) -> Activity | NotCaptured:
    """The activity of an event at any time.

    `isDraft` of an event is ignored: it means only that some change is not sent yet.

    Args:
        item: its id.
        payload: Graph's `event`.
        owner: of the mailbox that holds it.
    """
    event_type = (payload.text("type") or "").lower()
    if event_type == SERIES_MASTER:
        return NotCaptured(NotCapturedReason.SERIES_MASTER)
    all_day = payload.flag("isAllDay")
    try:
        start, end = _times(payload, all_day=all_day)
    except UnknownTimeZoneError:
        return NotCaptured(NotCapturedReason.TIME_ZONE)
    if start is None or end is None:
        return NotCaptured(NotCapturedReason.NO_DATE)
    uid = payload.text("iCalUId")
    is_occurrence = event_type in OCCURRENCE_TYPES
    original_start = (payload.time("originalStart") or start) if is_occurrence else None
    return Activity(
        tenant=owner.tenant,
        mailbox=owner.mailbox,
        item=item,
        kind=ActivityKind.MEETING,
        identity=identity(uid, original_start) if uid else identity(owner.mailbox, item),
        subject=payload.text("subject") or "",
        direction=None,
        participants=(
            *participants(ParticipantRole.ORGANIZER, [payload.object("organizer")]),
            *_attendees(payload),
        ),
        at=start,
        visible_from=start - CAPTURE_WINDOW,
        visible_until=max(start, end) + CAPTURE_WINDOW,
        start=start,
        end=end,
        all_day=all_day,
        cancelled=payload.flag("isCancelled"),
        sensitivity=_sensitivity(payload.text("sensitivity")),
        ical_uid=uid,
        original_start=original_start,
        web_link=payload.text("webLink"),
    )


def _times(payload: PayloadReader, *, all_day: bool) -> tuple[datetime | None, datetime | None]:
    """Start and end; one that cannot be read is the other one, and both are None where neither can be.

    A whole day is a date, which Graph writes as midnight in the zone that it writes times in.
    """
    read = payload.day if all_day else payload.zoned_time
    start, end = read("start"), read("end")
    return start or end, end or start


def _attendees(payload: PayloadReader) -> Iterator[Participant]:
    for attendee in payload.objects("attendees"):
        attendee_type = (attendee.text("type") or "").lower()
        if attendee_type != RESOURCE:
            is_optional = attendee_type == OPTIONAL
            role = ParticipantRole.OPTIONAL if is_optional else ParticipantRole.REQUIRED
            yield from participants(role, [attendee])


def _sensitivity(name: str | None) -> Sensitivity:
    return Sensitivity(name.lower()) if name and name.lower() in set(Sensitivity) else Sensitivity.NORMAL
