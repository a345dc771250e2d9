"""Items as Graph's JSON: for each schema type one table from property to value."""
# ruff: noqa: ARG005 - all properties of a table have one signature

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from simulator.state import ids, recurrence
from simulator.state.items import (
    SENSITIVITIES,
    TYPE_OF_MEETING_MAIL,
    Mail,
    Meeting,
    Message,
    Occurrence,
    Recipient,
)
from simulator.state.mailbox import Folder, Mailbox
from simulator.state.subscriptions import Subscription, format_timestamp
from simulator.state.tenants import User

from .preferences import Preferences
from .selection import select_names

SENSITIVITY_PROPERTY = "Integer 0x36"

NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class View:
    """How a request reads items: its preferences, and whether it may read bodies."""

    prefer: Preferences
    bodies: bool = True

    def id(self, immutable: str, default: str) -> str:
        """Select the form of an id by the preference."""
        return immutable if self.prefer.immutable else default


Property = Callable[[View, Any], Any]
"""Computes one property of an item for a view."""


def utc(value: datetime) -> str:
    """A time in the format of messages."""
    return f"{value:%Y-%m-%dT%H:%M:%SZ}"


def event_time(prefer: Preferences, meeting: Meeting, value: datetime) -> dict[str, str]:
    """The start or end of a meeting: wall time and zone; an all-day event is from midnight in every zone."""
    if meeting.all_day:
        day = wall_time(value, meeting.zone).date()
        wall = datetime.combine(day, time())
    else:
        wall = wall_time(value, prefer.zone).replace(tzinfo=None)
    text = wall.isoformat(timespec="microseconds") + "0"
    return {"dateTime": text, "timeZone": prefer.zone_name or prefer.zone}


def wall_time(value: datetime, zone: str) -> datetime:
    """A time in a zone; at the ends of the calendar it stays in UTC."""
    try:
        return value if zone == "UTC" else value.astimezone(ZoneInfo(zone))
    except OverflowError:
        return value


def recipient(item: Recipient | None) -> dict[str, Any] | None:
    """A recipient; an empty name or address is omitted."""
    if item is None:
        return None
    address: dict[str, str] = {"name": item.name} if item.name else {}
    if item.address:
        address["address"] = item.address
    return {"emailAddress": address}


def _recipients(items: tuple[Recipient, ...]) -> list[Any]:
    return [recipient(each) for each in items]


def _body(view: View, content: Mail | Meeting) -> dict[str, str]:
    body = content.body.read().as_kind(view.prefer.body or "html")
    return {"contentType": body.kind, "content": body.content}


def conversation(mail: Mail) -> tuple[str, str]:
    """Id and index of the conversation of a mail."""
    subject = mail.subject.lower()
    while subject.startswith(("re:", "fw:", "fwd:")):
        subject = subject.partition(":")[2].strip()
    return ids.conversation(subject)


def _web_link(item: str, model: str) -> str:
    return f"https://outlook.office365.com/owa/?ItemID={quote(item, safe='')}&exvsurl=1&viewmodel={model}"


def _headers(mail: Mail) -> list[dict[str, str]]:
    found = {"Subject": mail.subject, "Message-ID": mail.internet_message_id or ""}
    if mail.sensitivity != "normal":
        header_values = {"confidential": "Company-Confidential"}
        found["Sensitivity"] = header_values.get(mail.sensitivity, mail.sensitivity.capitalize())
    return [{"name": name, "value": value} for name, value in found.items() if value]


MESSAGE: Mapping[str, Property] = {
    "id": lambda v, m: v.id(m.immutable_id, m.id),
    "createdDateTime": lambda v, m: utc(m.created),
    "lastModifiedDateTime": lambda v, m: utc(m.modified),
    "changeKey": lambda v, m: m.change_key,
    "categories": lambda v, m: list(m.categories),
    "receivedDateTime": lambda v, m: utc(m.received),
    "sentDateTime": lambda v, m: utc(m.mail.sent),
    "hasAttachments": lambda v, m: m.mail.has_attachments,
    "internetMessageId": lambda v, m: m.mail.internet_message_id,
    "subject": lambda v, m: m.mail.subject,
    "bodyPreview": lambda v, m: m.mail.body.read().preview(),
    "importance": lambda v, m: m.mail.importance,
    "parentFolderId": lambda v, m: m.folder,
    "conversationId": lambda v, m: conversation(m.mail)[0],
    "conversationIndex": lambda v, m: conversation(m.mail)[1],
    "isDeliveryReceiptRequested": lambda v, m: None if m.is_draft else False,
    "isReadReceiptRequested": lambda v, m: False,
    "isRead": lambda v, m: m.is_read,
    "isDraft": lambda v, m: m.is_draft,
    "webLink": lambda v, m: _web_link(v.id(m.immutable_id, m.id), "ReadMessageItem"),
    "inferenceClassification": lambda v, m: "focused",
    "body": lambda v, m: _body(v, m.mail),
    "sender": lambda v, m: recipient(m.mail.sender or m.mail.origin),
    "from": lambda v, m: recipient(m.mail.origin),
    "toRecipients": lambda v, m: _recipients(m.mail.to),
    "ccRecipients": lambda v, m: _recipients(m.mail.cc),
    "bccRecipients": lambda v, m: _recipients(m.mail.bcc),
    "replyTo": lambda v, m: _recipients(m.mail.reply_to),
    "flag": lambda v, m: {"flagStatus": "notFlagged"},
}

MEETING_MAIL: Mapping[str, Property] = {
    "meetingMessageType": lambda v, m: m.mail.about.kind,
    "type": lambda v, m: "seriesMaster" if m.mail.about.meeting.recurrence else "singleInstance",
    "isOutOfDate": lambda v, m: False,
    "isAllDay": lambda v, m: m.mail.about.meeting.all_day,
    "isDelegated": lambda v, m: False,
    "startDateTime": lambda v, m: _start(v, m.mail.about.meeting),
    "endDateTime": lambda v, m: _end(v, m.mail.about.meeting),
    "location": lambda v, m: _location(m.mail.about.meeting),
    "recurrence": lambda v, m: recurrence.as_graph(m.mail.about.meeting),
}

ON_REQUEST: Mapping[str, Property] = {
    "uniqueBody": lambda v, m: _body(v, m.mail),
    "internetMessageHeaders": lambda v, m: _headers(m.mail),
}
"""Properties of messages that a response contains only if the request selects them."""

BODY_PROPERTIES = frozenset(("body", "bodyPreview", "uniqueBody", "internetMessageHeaders"))
"""Properties that need more than the basic permissions."""


def _start(view: View, meeting: Meeting) -> dict[str, str]:
    return event_time(view.prefer, meeting, meeting.start)


def _end(view: View, meeting: Meeting) -> dict[str, str]:
    return event_time(view.prefer, meeting, meeting.end)


def _location(meeting: Meeting) -> dict[str, Any]:
    name = meeting.location
    found: dict[str, Any] = {"displayName": name, "locationType": "default"}
    return found | ({"uniqueId": name, "uniqueIdType": "private"} if name else {})


def _occurrence_id(view: View, o: Occurrence) -> str:
    own = view.id(o.event.immutable_id, o.event.id)
    return own if o.original_start is None else ids.occurrence_id(own, o.original_start)


def _response(o: Occurrence) -> dict[str, str]:
    at = o.event.responded
    return {"response": o.event.response, "time": utc(at) if at else NEVER}


def _attendees(meeting: Meeting) -> list[dict[str, Any]]:
    return [
        {
            "type": a.kind,
            "status": {
                "response": a.response,
                "time": utc(a.responded) if a.responded else NEVER,
            },
            **(recipient(a.recipient) or {}),
        }
        for a in meeting.attendees
    ]


def ical_uid(o: Occurrence) -> str:
    """The iCalUId of a meeting or occurrence."""
    uid = o.event.meeting.uid
    return uid if o.original_start is None else ids.ical_uid_of_occurrence(uid, o.original_start)


def _online(meeting: Meeting) -> dict[str, str] | None:
    return {"joinUrl": meeting.join_url} if meeting.join_url else None


EVENT: Mapping[str, Property] = {
    "id": _occurrence_id,
    "createdDateTime": lambda v, o: format_timestamp(o.event.created),
    "lastModifiedDateTime": lambda v, o: format_timestamp(o.event.modified),
    "changeKey": lambda v, o: o.event.change_key,
    "categories": lambda v, o: [],
    "transactionId": lambda v, o: None,
    "originalStartTimeZone": lambda v, o: o.meeting.zone,
    "originalEndTimeZone": lambda v, o: o.meeting.zone,
    "iCalUId": lambda v, o: ical_uid(o),
    "reminderMinutesBeforeStart": lambda v, o: 15,
    "isReminderOn": lambda v, o: True,
    "hasAttachments": lambda v, o: False,
    "subject": lambda v, o: o.meeting.subject,
    "bodyPreview": lambda v, o: o.meeting.body.read().preview(),
    "importance": lambda v, o: o.meeting.importance,
    "sensitivity": lambda v, o: o.meeting.sensitivity,
    "isAllDay": lambda v, o: o.meeting.all_day,
    "isCancelled": lambda v, o: o.meeting.cancelled,
    "isOrganizer": lambda v, o: o.event.is_organizer,
    "responseRequested": lambda v, o: True,
    "seriesMasterId": lambda v, o: (
        None if o.original_start is None else v.id(o.event.immutable_id, o.event.id)
    ),
    "originalStart": lambda v, o: None if o.original_start is None else utc(o.original_start),
    "showAs": lambda v, o: o.meeting.show_as,
    "type": lambda v, o: o.kind,
    "webLink": lambda v, o: _web_link(_occurrence_id(v, o), "ReadMessageItem").replace(
        "viewmodel=ReadMessageItem", "path=/calendar/item"
    ),
    "onlineMeetingUrl": lambda v, o: None,
    "isOnlineMeeting": lambda v, o: bool(o.meeting.join_url),
    "onlineMeetingProvider": lambda v, o: "teamsForBusiness" if o.meeting.join_url else "unknown",
    "allowNewTimeProposals": lambda v, o: True,
    "isDraft": lambda v, o: False,
    "hideAttendees": lambda v, o: False,
    "recurrence": lambda v, o: recurrence.as_graph(o.meeting),
    "responseStatus": lambda v, o: _response(o),
    "body": lambda v, o: _body(v, o.meeting),
    "start": lambda v, o: _start(v, o.meeting),
    "end": lambda v, o: _end(v, o.meeting),
    "location": lambda v, o: _location(o.meeting),
    "locations": lambda v, o: [_location(o.meeting)] if o.meeting.location else [],
    "attendees": lambda v, o: _attendees(o.meeting),
    "organizer": lambda v, o: recipient(o.meeting.organizer),
    "onlineMeeting": lambda v, o: _online(o.meeting),
}

USER: Mapping[str, Property] = {
    "businessPhones": lambda v, u: [],
    "displayName": lambda v, u: u.name,
    "givenName": lambda v, u: u.name.partition(" ")[0] or None,
    "jobTitle": lambda v, u: None,
    "mail": lambda v, u: u.address,
    "mobilePhone": lambda v, u: None,
    "officeLocation": lambda v, u: None,
    "preferredLanguage": lambda v, u: None,
    "surname": lambda v, u: u.name.partition(" ")[2] or None,
    "userPrincipalName": lambda v, u: u.upn,
    "id": lambda v, u: u.oid,
}
USER_ON_REQUEST: Mapping[str, Property] = {
    "accountEnabled": lambda v, u: True,
    "userType": lambda v, u: "Member",
    "mailNickname": lambda v, u: u.upn.partition("@")[0],
    "proxyAddresses": lambda v, u: [
        f"SMTP:{u.address}",
        *(f"smtp:{a}" for a in u.other_addresses if a != u.address),
    ],
}

FOLDER: Mapping[str, Callable[[Mailbox, Folder], Any]] = {
    "id": lambda m, f: f.id,
    "displayName": lambda m, f: f.name,
    "parentFolderId": lambda m, f: f.parent,
    "childFolderCount": lambda m, f: len(m.child_folders(f)),
    "unreadItemCount": lambda m, f: sum(1 for x in m.messages.values() if x.folder == f.id and not x.is_read),
    "totalItemCount": lambda m, f: sum(1 for x in m.messages.values() if x.folder == f.id),
    "isHidden": lambda m, f: f.hidden,
}


def _names(*tables: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for table in tables for name in table)


_EXTENDED = ("extensions", "singleValueExtendedProperties", "multiValueExtendedProperties")
_OTHER_MEETING_MAIL = [
    "allowNewTimeProposals",
    "meetingRequestType",
    "previousEndDateTime",
    "previousLocation",
    "previousStartDateTime",
    "responseRequested",
    "proposedNewTime",
    "responseType",
    "event",
]
MEETING_MAIL_NAMES = _names(MEETING_MAIL)
"""Properties of meeting messages; other messages are returned without them."""
MESSAGE_NAMES = _names(
    MESSAGE, MEETING_MAIL, ON_REQUEST, _OTHER_MEETING_MAIL, _EXTENDED, ("attachments", "mentions")
)
EVENT_NAMES = _names(
    EVENT, _EXTENDED, ("attachments", "calendar", "instances", "exceptionOccurrences", "cancelledOccurrences")
)
FOLDER_NAMES = _names(FOLDER, _EXTENDED, ("childFolders", "messages", "messageRules"))
"""Names in lower case of all properties that Graph has, simulated or not."""


def message(view: View, item: Message, select: tuple[str, ...] | None, expand: bool) -> Any:
    """A message; `expand` adds its sensitivity as an extended property."""
    out: dict[str, Any] = {}
    table = MESSAGE
    if item.mail.about is not None:
        out["@odata.type"] = TYPE_OF_MEETING_MAIL[item.mail.about.kind]
        table = {**MESSAGE, **MEETING_MAIL}
    out["@odata.etag"] = f'W/"{item.change_key}"'
    names = select_names(
        {**table, **ON_REQUEST}, table, select, MESSAGE_NAMES, "Message", omitted=MEETING_MAIL_NAMES
    )
    _fill(out, view, item, {**table, **ON_REQUEST}, names)
    if expand:
        value = str(SENSITIVITIES.index(item.mail.sensitivity))
        out["singleValueExtendedProperties"] = [{"id": SENSITIVITY_PROPERTY, "value": value}]
    return out


def event(view: View, item: Occurrence, select: tuple[str, ...] | None) -> Any:
    """A single meeting, a series master or an occurrence."""
    out: dict[str, Any] = {"@odata.etag": f'W/"{item.event.change_key}"'}
    _fill(out, view, item, EVENT, select_names(EVENT, EVENT, select, EVENT_NAMES, "Event"))
    return out


def user(item: User, select: tuple[str, ...] | None) -> Any:
    """A user of the directory."""
    out: dict[str, Any] = {}
    table = {**USER, **USER_ON_REQUEST}
    _fill(out, View(Preferences()), item, table, select_names(table, USER, select, None, "User"))
    return out


def folder(mailbox: Mailbox, item: Folder, select: tuple[str, ...] | None) -> dict[str, Any]:
    """A mail folder with its counts."""
    names = select_names(FOLDER, FOLDER, select, FOLDER_NAMES, "MailFolder")
    return {name: FOLDER[name](mailbox, item) for name in names}


def subscription(item: Subscription) -> Any:
    """A subscription."""
    return {
        "id": item.id,
        "resource": item.resource,
        "applicationId": item.app,
        "changeType": ",".join(item.changes),
        "clientState": item.client_state,
        "notificationUrl": item.url,
        "notificationQueryOptions": None,
        "lifecycleNotificationUrl": item.lifecycle_url,
        "expirationDateTime": format_timestamp(item.expires.astimezone(UTC)),
        "creatorId": ids.object_id(item.tenant, item.app),
        "includeResourceData": None,
        "latestSupportedTlsVersion": item.tls or "v1_2",
        "encryptionCertificate": None,
        "encryptionCertificateId": None,
        "notificationUrlAppId": None,
    }


def _fill(
    out: dict[str, Any], view: View, item: Any, table: Mapping[str, Property], names: Iterable[str]
) -> None:
    for name in names:
        if view.bodies or name not in BODY_PROPERTIES:
            out[name] = table[name](view, item)
