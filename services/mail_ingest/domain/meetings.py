"""Graph's `event` -> a meeting activity.

Participants are copied verbatim from the organizer and the required and optional attendees.
"""

from collections.abc import Iterator
from typing import Any

from shared.events import Activity, ActivityKind, Participant, ParticipantRole, Sensitivity

from .activities import CAPTURE_WINDOW, MailboxOwner, NotCaptured, NotCapturedReason, Payload
from .folders import Folders
from .graph_values import UnknownTimeZoneError, identity, parse_time, parse_zoned_time, participants

ATTENDEE_ROLES = {"required": ParticipantRole.REQUIRED, "optional": ParticipantRole.OPTIONAL}
"""Graph's attendee type -> role. The third type, a resource, is a place or a device, not a participant."""
SERIES_MASTER = "seriesmaster"
OCCURRENCE_TYPES = ("occurrence", "exception")
"""Event types, in lower case, of an occurrence of a series."""


def normalise_event(payload: Payload, owner: MailboxOwner, _folders: Folders) -> Activity | NotCaptured:
    """The activity of an event at any time.

    Args:
        payload: Graph's `event`.
        owner: of the mailbox that holds it.
    """
    event_type = str(payload.get("type") or "").lower()
    if event_type == SERIES_MASTER:
        return NotCaptured(NotCapturedReason.SERIES_MASTER)
    if payload.get("isDraft"):
        return NotCaptured(NotCapturedReason.DRAFT)
    try:
        start, end = parse_zoned_time(payload.get("start")), parse_zoned_time(payload.get("end"))
    except UnknownTimeZoneError:
        return NotCaptured(NotCapturedReason.TIME_ZONE)
    if start is None or end is None:
        return NotCaptured(NotCapturedReason.NO_DATE)
    item = str(payload["id"])
    uid = payload.get("iCalUId") or None
    is_occurrence = event_type in OCCURRENCE_TYPES
    original_start = (parse_time(payload.get("originalStart")) or start) if is_occurrence else None
    return Activity(
        tenant=owner.tenant,
        mailbox=owner.mailbox,
        item=item,
        kind=ActivityKind.MEETING,
        identity=identity(uid, original_start) if uid else identity(owner.mailbox, item),
        subject=payload.get("subject") or "",
        direction=None,
        participants=(
            *participants(ParticipantRole.ORGANIZER, [payload.get("organizer")]),
            *_attendees(payload.get("attendees")),
        ),
        at=start,
        visible_from=start - CAPTURE_WINDOW,
        visible_until=max(start, end) + CAPTURE_WINDOW,
        start=start,
        end=end,
        all_day=bool(payload.get("isAllDay")),
        cancelled=bool(payload.get("isCancelled")),
        sensitivity=_sensitivity(payload.get("sensitivity")),
        ical_uid=uid,
        original_start=original_start,
        web_link=payload.get("webLink") or None,
    )


def _attendees(attendees: Any) -> Iterator[Participant]:
    for attendee in attendees or ():
        role = ATTENDEE_ROLES.get(str(attendee.get("type") or "required").lower())
        if role is not None:
            yield from participants(role, [attendee])


def _sensitivity(name: Any) -> Sensitivity:
    return Sensitivity(str(name).lower()) if str(name).lower() in set(Sensitivity) else Sensitivity.NORMAL
