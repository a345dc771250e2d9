"""Items as Graph's JSON: for each schema type one table from property to value."""
# ruff: noqa: ARG005 - all properties of a table have one signature

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
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

from . import errors
from .errors import GraphError
from .odata import Preferences

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


def local(value: datetime, zone: str, zone_name: str | None) -> dict[str, str]:
    """A time in the format of events: wall time and zone."""
    wall = value if zone == "UTC" else value.astimezone(ZoneInfo(zone))
    text = f"{wall:%Y-%m-%dT%H:%M:%S}.{wall.microsecond:06d}0"
    return {"dateTime": text, "timeZone": zone_name or zone}


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


def _conversation(mail: Mail) -> tuple[str, str]:
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
    "categories": lambda v, m: [],
    "receivedDateTime": lambda v, m: utc(m.received),
    "sentDateTime": lambda v, m: utc(m.mail.sent),
    "hasAttachments": lambda v, m: m.mail.has_attachments,
    "internetMessageId": lambda v, m: m.mail.internet_message_id,
    "subject": lambda v, m: m.mail.subject,
    "bodyPreview": lambda v, m: m.mail.body.read().preview(),
    "importance": lambda v, m: m.mail.importance,
    "parentFolderId": lambda v, m: m.folder,
    "conversationId": lambda v, m: _conversation(m.mail)[0],
    "conversationIndex": lambda v, m: _conversation(m.mail)[1],
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
    "startDateTime": lambda v, m: _local_time(v, m.mail.about.meeting.start),
    "endDateTime": lambda v, m: _local_time(v, m.mail.about.meeting.end),
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


def _local_time(view: View, value: datetime) -> dict[str, str]:
    return local(value, view.prefer.zone, view.prefer.zone_name)


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


def _ical_uid(o: Occurrence) -> str:
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
    "iCalUId": lambda v, o: _ical_uid(o),
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
    "start": lambda v, o: _local_time(v, o.meeting.start),
    "end": lambda v, o: _local_time(v, o.meeting.end),
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

MESSAGE_FILTERS: Mapping[str, Callable[[Message], Any]] = {
    "receivedDateTime": lambda m: m.received,
    "sentDateTime": lambda m: m.mail.sent,
    "createdDateTime": lambda m: m.created,
    "lastModifiedDateTime": lambda m: m.modified,
    "internetMessageId": lambda m: m.mail.internet_message_id,
    "subject": lambda m: m.mail.subject,
    "isRead": lambda m: m.is_read,
    "isDraft": lambda m: m.is_draft,
    "importance": lambda m: m.mail.importance,
    "hasAttachments": lambda m: m.mail.has_attachments,
    "parentFolderId": lambda m: m.folder,
    "conversationId": lambda m: _conversation(m.mail)[0],
    "from/emailAddress/address": lambda m: m.mail.origin.address if m.mail.origin else None,
}
EVENT_FILTERS: Mapping[str, Callable[[Occurrence], Any]] = {
    "iCalUId": _ical_uid,
    "start/dateTime": lambda o: o.meeting.start,
    "end/dateTime": lambda o: o.meeting.end,
    "createdDateTime": lambda o: o.event.created,
    "lastModifiedDateTime": lambda o: o.event.modified,
    "subject": lambda o: o.meeting.subject,
    "type": lambda o: o.kind,
    "isCancelled": lambda o: o.meeting.cancelled,
    "isAllDay": lambda o: o.meeting.all_day,
    "sensitivity": lambda o: o.meeting.sensitivity,
    "organizer/emailAddress/address": lambda o: o.meeting.organizer.address if o.meeting.organizer else None,
}
"""Properties that `$filter` and `$orderby` may name."""


def message(view: View, item: Message, select: tuple[str, ...] | None, expand: bool) -> Any:
    """A message; `expand` adds its sensitivity as an extended property."""
    out: dict[str, Any] = {}
    table = MESSAGE
    if item.mail.about is not None:
        out["@odata.type"] = TYPE_OF_MEETING_MAIL[item.mail.about.kind]
        table = {**MESSAGE, **MEETING_MAIL}
    out["@odata.etag"] = f'W/"{item.change_key}"'
    _fill(out, view, item, table, ON_REQUEST, select, "Microsoft.OutlookServices.Message")
    if expand:
        value = str(SENSITIVITIES.index(item.mail.sensitivity))
        out["singleValueExtendedProperties"] = [{"id": SENSITIVITY_PROPERTY, "value": value}]
    return out


def event(view: View, item: Occurrence, select: tuple[str, ...] | None) -> Any:
    """A single meeting, a series master or an occurrence."""
    out: dict[str, Any] = {"@odata.etag": f'W/"{item.event.change_key}"'}
    _fill(out, view, item, EVENT, {}, select, "Microsoft.OutlookServices.Event")
    return out


def user(item: User, select: tuple[str, ...] | None) -> Any:
    """A user of the directory."""
    out: dict[str, Any] = {}
    _fill(out, View(Preferences()), item, USER, USER_ON_REQUEST, select, "Microsoft.Graph.User")
    return out


def folder(mailbox: Mailbox, item: Folder, select: tuple[str, ...] | None) -> Any:
    """A mail folder with its counts."""
    here = [m for m in mailbox.messages.values() if m.folder == item.id]
    found = {
        "id": item.id,
        "displayName": item.name,
        "parentFolderId": item.parent,
        "childFolderCount": len(mailbox.child_folders(item)),
        "unreadItemCount": sum(1 for m in here if not m.is_read),
        "totalItemCount": len(here),
        "isHidden": False,
    }
    if select is None:
        return found
    wanted = {name.lower() for name in select} | {"id"}
    return {name: value for name, value in found.items() if name.lower() in wanted}


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
    out: dict[str, Any],
    view: View,
    item: Any,
    table: Mapping[str, Property],
    on_request: Mapping[str, Property],
    select: tuple[str, ...] | None,
    kind: str,
) -> None:
    if select is None:
        for name, read in table.items():
            if view.bodies or name not in BODY_PROPERTIES:
                out[name] = read(view, item)
        return
    known = {name.lower(): name for name in (*table, *on_request)}
    names = ["id"]
    for selected in select:
        wanted = selected.partition("/")[0].lower()
        if wanted not in known:
            if wanted in MEETING_MAIL_NAMES:
                continue
            raise GraphError(errors.PROPERTY, selected, kind)
        names.append(known[wanted])
    for name in dict.fromkeys(names):
        if view.bodies or name not in BODY_PROPERTIES:
            out[name] = (table.get(name) or on_request[name])(view, item)


MEETING_MAIL_NAMES = frozenset(name.lower() for name in MEETING_MAIL)
"""Properties of meeting messages; other messages are returned without them."""
