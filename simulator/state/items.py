"""Items of mailboxes: the content that copies share, and the copies.

`Mail` and `Meeting` are content, the same object in every mailbox that has a copy.
`Message` and `Event` are the copies: their ids, their folder, their change key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

from .bodies import EMPTY, Readable

NORMAL, PERSONAL, PRIVATE, CONFIDENTIAL = "normal", "personal", "private", "confidential"
SENSITIVITIES = (NORMAL, PERSONAL, PRIVATE, CONFIDENTIAL)
"""In the order of their numbers in the extended property `Integer 0x36`."""

REQUEST, CANCELLATION, ACCEPTED, TENTATIVE, DECLINED = (
    "meetingRequest",
    "meetingCancelled",
    "meetingAccepted",
    "meetingTenativelyAccepted",
    "meetingDeclined",
)
"""Kinds of meeting messages, in Graph's spelling."""

TYPE_OF_MEETING_MAIL = {
    REQUEST: "#microsoft.graph.eventMessageRequest",
    CANCELLATION: "#microsoft.graph.eventMessage",
    ACCEPTED: "#microsoft.graph.eventMessageResponse",
    TENTATIVE: "#microsoft.graph.eventMessageResponse",
    DECLINED: "#microsoft.graph.eventMessageResponse",
}


@dataclass(frozen=True, slots=True)
class Recipient:
    """A name and an address, verbatim; either may be missing."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Attendee:
    """An invited person or resource; kind is required, optional or resource."""

    recipient: Recipient
    kind: str = "required"
    response: str = "none"
    responded: datetime | None = None


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The pattern of a series: an RFC 5545 rule counted from the first start, and its exceptions."""

    rule: str
    excluded: frozenset[datetime] = frozenset()
    added: frozenset[datetime] = frozenset()
    overrides: Mapping[datetime, "Meeting"] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Meeting:
    """A meeting or a whole series; start and end are in UTC."""

    uid: str
    subject: str
    start: datetime
    end: datetime
    organizer: Recipient | None = None
    attendees: tuple[Attendee, ...] = ()
    body: Readable = EMPTY
    location: str = ""
    all_day: bool = False
    zone: str = "UTC"
    cancelled: bool = False
    sensitivity: str = NORMAL
    importance: str = "normal"
    show_as: str = "busy"
    join_url: str = ""
    recurrence: Recurrence | None = None

    @property
    def length(self) -> timedelta:
        """Time from start to end."""
        return self.end - self.start


def whole_days(meeting: Meeting) -> Meeting:
    """The meeting; an all-day event is from midnight to midnight in its zone, and at least a day long."""
    if not meeting.all_day:
        return meeting
    zone = ZoneInfo(meeting.zone)
    try:
        first, last = (each.astimezone(zone) for each in (meeting.start, meeting.end))
        first_day, end_day = first.date(), last.date()
        if last.time() != time() or end_day == first_day:
            end_day += timedelta(days=1)
        start, end = (datetime.combine(each, time(), zone).astimezone(UTC) for each in (first_day, end_day))
    except OverflowError:  # the last day of the calendar has no next midnight
        return meeting
    return replace(meeting, start=start, end=end)


@dataclass(frozen=True, slots=True)
class MeetingMail:
    """The kind of a meeting message, and the meeting that it is about."""

    kind: str
    meeting: Meeting


@dataclass(frozen=True, slots=True)
class Mail:
    """The content of an e-mail."""

    internet_message_id: str | None
    subject: str
    sent: datetime
    origin: Recipient | None
    to: tuple[Recipient, ...] = ()
    cc: tuple[Recipient, ...] = ()
    bcc: tuple[Recipient, ...] = ()
    reply_to: tuple[Recipient, ...] = ()
    sender: Recipient | None = None
    body: Readable = EMPTY
    importance: str = "normal"
    sensitivity: str = NORMAL
    has_attachments: bool = False
    about: MeetingMail | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """The copy of an e-mail in one mailbox."""

    key: bytes
    immutable_id: str
    id: str
    folder: str
    mail: Mail
    received: datetime
    created: datetime
    modified: datetime
    change_key: str
    version: int = 1
    moves: int = 0
    is_read: bool = False
    is_draft: bool = False
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """The copy of a meeting in one mailbox."""

    key: bytes
    immutable_id: str
    id: str
    meeting: Meeting
    created: datetime
    modified: datetime
    change_key: str
    version: int = 1
    is_organizer: bool = False
    response: str = "none"
    responded: datetime | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event in a calendar view: a single meeting, a series master, or one occurrence of a series.

    `meeting` has the properties of this occurrence; `kind` is Graph's event type.
    """

    event: Event
    meeting: Meeting
    kind: str
    original_start: datetime | None = None
