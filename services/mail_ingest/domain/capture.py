"""Graph's JSON -> an `Activity`, or the reason why there is none.

Total: whatever Graph answers becomes one or the other. Participants are taken verbatim; Bcc,
Sender and Reply-To are never looked at.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from shared.addresses import normalise
from shared.events import Activity, Direction, Kind, Participant, Role, Sensitivity

from .folders import Folders

Payload = Mapping[str, Any]

DAYS = timedelta(days=3)
"""How long an e-mail or a meeting past stays on timelines, and how long before its start a meeting comes."""

MOST_TEXT = 150_000
"""Characters of subject, addresses and names together; JSON may take six bytes for each, and a message 1 MiB."""

SENSITIVITY_PROPERTY = "Integer 0x36"
"""PidTagSensitivity: `message` has no sensitivity of its own in Graph v1.0."""
SENSITIVITIES = (Sensitivity.NORMAL, Sensitivity.PERSONAL, Sensitivity.PRIVATE, Sensitivity.CONFIDENTIAL)
"""In the order of that property's numbers."""

ATTENDEES = {"required": Role.REQUIRED, "optional": Role.OPTIONAL}
"""Roles by Graph's attendee type; a resource is a room, not somebody who takes part."""
OF_A_SERIES = ("occurrence", "exception")
MALFORMED = (AttributeError, LookupError, OverflowError, TypeError, ValueError)
"""What reading a payload may raise that is not as Graph's schema has it."""
NEVER = 1601
"""Exchange writes dates up to this year for `none` (`0001-01-01`, and the beginning of its own time)."""


class Reason(StrEnum):
    """Why an item is no activity."""

    MALFORMED = "malformed"
    DRAFT = "draft"
    MEETING_MAIL = "meeting_mail"  # requests, answers and cancellations: the event is the activity
    SERIES_MASTER = "series_master"  # its occurrences are
    NO_DATE = "no_date"
    TIME_ZONE = "time_zone_unknown"  # neither UTC nor an IANA name; we ask for UTC
    OUT_OF_WINDOW = "out_of_window"
    DEAD_FOLDER = "dead_folder"  # Junk, Deleted Items, or below them
    TOO_LARGE = "too_large"  # for a message on Kafka
    UNKNOWN_FOLDER = "unknown_folder"  # not under the mailbox's root, or not in the tree as last read


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that is no activity, and why."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose mailbox it is.

    Attributes:
        addresses: her own, normalised; what is from one of them is outgoing.
    """

    tenant: str
    mailbox: str
    addresses: frozenset[str] = frozenset()


def of_item(
    kind: Kind, payload: Payload, owner: Owner, folders: Folders, now: datetime
) -> Activity | Refused:
    """What an item of a mailbox is now: in a live folder, in its time, and no draft."""
    if kind is Kind.MEETING:
        taken = of_event(payload, owner)
    else:
        folder = payload.get("parentFolderId") or ""
        if folder in folders.dead:
            return Refused(Reason.DEAD_FOLDER)
        if folder not in folders.live:
            return Refused(Reason.UNKNOWN_FOLDER)
        taken = of_message(payload, owner, sent=folder in folders.sent)
    return in_its_time(taken, now) if isinstance(taken, Activity) else taken


def in_its_time(activity: Activity, now: datetime) -> Activity | Refused:
    """The activity, if timelines show it now; an e-mail of a clock ahead of ours is not too early."""
    early = activity.kind is Kind.MEETING and now < activity.visible_from
    return Refused(Reason.OUT_OF_WINDOW) if early or now >= activity.visible_until else activity


def of_message(payload: Payload, owner: Owner, *, sent: bool = False) -> Activity | Refused:
    """What a message is, wherever it lies and whenever it came.

    Args:
        payload: Graph's `message`.
        owner: of the mailbox that it is in.
        sent: it lies in Sent Items.
    """
    try:
        return _bounded(_message(payload, owner, sent=sent))
    except MALFORMED:
        return Refused(Reason.MALFORMED)


def of_event(payload: Payload, owner: Owner) -> Activity | Refused:
    """What an event is, whenever it takes place."""
    try:
        return _bounded(_event(payload, owner))
    except MALFORMED:
        return Refused(Reason.MALFORMED)


def _message(payload: Payload, owner: Owner, *, sent: bool) -> Activity | Refused:
    if "eventmessage" in str(payload.get("@odata.type", "")).lower():
        return Refused(Reason.MEETING_MAIL)
    if payload.get("isDraft"):
        return Refused(Reason.DRAFT)
    received, sent_at = _moment(payload.get("receivedDateTime")), _moment(payload.get("sentDateTime"))
    participants = (
        *_recipients(Role.FROM, [payload.get("from")]),
        *_recipients(Role.TO, payload.get("toRecipients")),
        *_recipients(Role.CC, payload.get("ccRecipients")),
    )
    senders = [
        normalise(participant.address) for participant in participants if participant.role is Role.FROM
    ]
    outgoing = sent or any(sender in owner.addresses for sender in senders)
    at = (sent_at or received) if outgoing else (received or sent_at)
    if at is None:
        return Refused(Reason.NO_DATE)
    item = str(payload["id"])
    message_id = payload.get("internetMessageId") or None
    return Activity(
        tenant=owner.tenant,
        mailbox=owner.mailbox,
        item=item,
        kind=Kind.EMAIL,
        identity=_identity(message_id, *senders, sent_at) if message_id else _identity(owner.mailbox, item),
        subject=payload.get("subject") or "",
        participants=participants,
        direction=Direction.OUTGOING if outgoing else Direction.INCOMING,
        at=at,
        visible_from=at,
        visible_until=at + DAYS,
        sent_at=sent_at,
        received_at=received,
        sensitivity=_sensitivity_property(payload),
        internet_message_id=message_id,
        original_start=None,
        conversation=payload.get("conversationId") or None,
        web_link=payload.get("webLink") or None,
    )


def _event(payload: Payload, owner: Owner) -> Activity | Refused:
    kind = str(payload.get("type") or "").lower()
    if kind == "seriesmaster":
        return Refused(Reason.SERIES_MASTER)
    if payload.get("isDraft"):
        return Refused(Reason.DRAFT)
    try:
        start, end = _zoned(payload.get("start")), _zoned(payload.get("end"))
    except LookupError:
        return Refused(Reason.TIME_ZONE)
    if start is None or end is None:
        return Refused(Reason.NO_DATE)
    item = str(payload["id"])
    uid = payload.get("iCalUId") or None
    original = (_moment(payload.get("originalStart")) or start) if kind in OF_A_SERIES else None
    return Activity(
        tenant=owner.tenant,
        mailbox=owner.mailbox,
        item=item,
        kind=Kind.MEETING,
        identity=_identity(uid, original) if uid else _identity(owner.mailbox, item),
        subject=payload.get("subject") or "",
        direction=None,
        participants=(
            *_recipients(Role.ORGANIZER, [payload.get("organizer")]),
            *_attendees(payload.get("attendees")),
        ),
        at=start,
        visible_from=start - DAYS,
        visible_until=max(start, end) + DAYS,
        start=start,
        end=end,
        all_day=bool(payload.get("isAllDay")),
        cancelled=bool(payload.get("isCancelled")),
        sensitivity=_sensitivity(payload.get("sensitivity")),
        ical_uid=uid,
        original_start=original,
        web_link=payload.get("webLink") or None,
    )


def _bounded(taken: Activity | Refused) -> Activity | Refused:
    if isinstance(taken, Activity):
        people = sum(
            len(participant.address) + len(participant.name or "") for participant in taken.participants
        )
        if len(taken.subject) + people > MOST_TEXT:
            return Refused(Reason.TOO_LARGE)
    return taken


def _recipients(role: Role, recipients: Any) -> Iterator[Participant]:
    for recipient in recipients or ():
        email = (recipient or {}).get("emailAddress") or {}
        if (address := email.get("address")) and address.strip():
            yield Participant(role=role, address=address, name=email.get("name") or None)


def _attendees(attendees: Any) -> Iterator[Participant]:
    for attendee in attendees or ():
        role = ATTENDEES.get(str(attendee.get("type") or "required").lower())
        if role is not None:
            yield from _recipients(role, [attendee])


def _moment(text: str | None) -> datetime | None:
    """A DateTimeOffset; seven digits of a second and any offset occur."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.year <= NEVER:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def _zoned(value: Payload | None) -> datetime | None:
    """A dateTimeTimeZone; LookupError where its zone is not known here."""
    text = (value or {}).get("dateTime")
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=_zone((value or {}).get("timeZone") or "UTC"))
    return None if moment.year <= NEVER else moment.astimezone(UTC)


def _zone(name: str) -> ZoneInfo | Any:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError) as unknown:
        raise LookupError("no IANA name") from unknown


def _sensitivity(name: Any) -> Sensitivity:
    return Sensitivity(str(name).lower()) if str(name).lower() in set(Sensitivity) else Sensitivity.NORMAL


def _sensitivity_property(payload: Payload) -> Sensitivity:
    for extended in payload.get("singleValueExtendedProperties") or ():
        if str(extended.get("id")).lower() == SENSITIVITY_PROPERTY.lower() and str(extended.get("value")) in {
            "0",
            "1",
            "2",
            "3",
        }:
            return SENSITIVITIES[int(extended["value"])]
    return Sensitivity.NORMAL


def _identity(*parts: str | datetime | None) -> str:
    texts = (part.isoformat() if isinstance(part, datetime) else part or "" for part in parts)
    return sha256("\x1f".join(texts).encode(errors="surrogatepass")).hexdigest()[:32]
