"""Actions on single items: mail, folders, meetings; each is a POST below its tenant."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from simulator.state import ids, mail_delivery, meetings, recurrence
from simulator.state.bodies import EMPTY, Body
from simulator.state.items import (
    Attendee,
    Event,
    Mail,
    Meeting,
    Message,
    Recipient,
    Recurrence,
    whole_days,
)
from simulator.state.mail_delivery import MessageCopy
from simulator.state.mailbox import Mailbox
from simulator.state.meetings import EventCopy
from simulator.state.tenants import Tenant
from simulator.state.world import World

from .raw_items import JsonBody, add_raw_items

DEFAULT_MEETING_LENGTH = timedelta(minutes=30)


def send_mail(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Send a mail from `from` to `to`, `cc`, `bcc`: into each recipient's Inbox and the Sent Items."""
    mail, copies = mail_delivery.send(
        world,
        tenant,
        sender=_recipient(tenant, body["from"]),
        to=_recipients(tenant, body.get("to")),
        cc=_recipients(tenant, body.get("cc")),
        bcc=_recipients(tenant, body.get("bcc")),
        subject=body.get("subject", ""),
        body=_message_body(body),
        sent=_parse_time(body.get("sent")),
        internet_message_id=body.get("internet_message_id"),
        sensitivity=body.get("sensitivity", "normal"),
        importance=body.get("importance", "normal"),
        keep=bool(body.get("keep", True)),
    )
    return {"internet_message_id": mail.internet_message_id, "copies": [_render_message(c) for c in copies]}


def create_message(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Create a message in one `folder` of one `mailbox` only; with `draft`, as a draft."""
    mailbox = _find_mailbox(tenant, body["mailbox"])
    now = world.now()
    sent = _parse_time(body.get("sent")) or now
    sender = body.get("from")
    mail = Mail(
        internet_message_id=body.get("internet_message_id"),
        subject=body.get("subject", ""),
        sent=sent,
        origin=_recipient(tenant, sender) if sender else None,
        to=_recipients(tenant, body.get("to")),
        cc=_recipients(tenant, body.get("cc")),
        bcc=_recipients(tenant, body.get("bcc")),
        body=_message_body(body),
        sensitivity=body.get("sensitivity", "normal"),
    )
    received = _parse_time(body.get("received")) or sent
    draft = bool(body.get("draft"))
    folder = body.get("folder", "drafts" if draft else "inbox")
    return _render_message(mail_delivery.add_copy(world, mailbox, mail, folder, received, is_draft=draft))


def move_message(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Move a message to another `folder`, given by name or id."""
    mailbox, message = _find_message(tenant, body)
    return _render_message(MessageCopy(mailbox, mail_delivery.move(world, mailbox, message, body["folder"])))


def delete_message(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Move a message to Deleted Items, or with `hard` delete it permanently."""
    mailbox, message = _find_message(tenant, body)
    mail_delivery.delete(world, mailbox, message, hard=bool(body.get("hard")))
    return {}


def change_message(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Mark a message as read (`is_read`), set `categories`, change `subject` or text, `send` a draft."""
    mailbox, message = _find_message(tenant, body)
    mail = message.mail
    if "subject" in body:
        mail = replace(mail, subject=body["subject"])
    if "text" in body or "html" in body:
        mail = replace(mail, body=_message_body(body))
    changed = mail_delivery.change(
        world,
        mailbox,
        message,
        is_read=body.get("is_read"),
        mail=mail,
        categories=tuple(body["categories"]) if "categories" in body else None,
        send_draft=bool(body.get("send")),
    )
    return _render_message(MessageCopy(mailbox, changed))


def create_folder(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Create a folder with a `name` below `parent`, by default the root; with `hidden`, a hidden one."""
    mailbox = _find_mailbox(tenant, body["mailbox"])
    with world.lock:
        parent = mailbox.find_folder(body.get("parent", "msgfolderroot"))
        if parent is None:
            raise LookupError(f"no folder {body['parent']}")
        created = mailbox.create_folder(body["name"], parent, hidden=bool(body.get("hidden")))
        world.history.record_folders(world.clock(), mailbox)
        return {"id": created.id}


def move_folder(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Move a `folder` with its content below another `parent`; Graph sends no notification of it."""
    mailbox = _find_mailbox(tenant, body["mailbox"])
    with world.lock:
        folder, parent = mailbox.find_folder(body["folder"]), mailbox.find_folder(body["parent"])
        if folder is None or parent is None:
            raise LookupError("no such folder")
        mailbox.move_folder(folder, parent)
        world.history.record_folders(world.clock(), mailbox)
        return {"id": folder.id}


def show_mailbox(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """The folders, messages and events of a `mailbox`."""
    mailbox = _find_mailbox(tenant, body["mailbox"])
    with world.lock:
        return {
            "folders": dict(mailbox.well_known),
            "messages": [_render_message(MessageCopy(mailbox, m)) for m in mailbox.messages_in()],
            "events": [_render_event(EventCopy(mailbox, e)) for e in mailbox.events.values()],
        }


# meetings


def book_meeting(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Book a meeting of `organizer` with `attendees`; with a `rule` (RFC 5545), as a series."""
    start = _parse_time(body["start"]) or world.now()
    rule = body.get("rule", "")
    if rule and not recurrence.is_usable(rule, start):
        raise ValueError(f"a series cannot follow {rule}")
    meeting = Meeting(
        uid=body.get("uid", ""),
        subject=body.get("subject", ""),
        start=start,
        end=_parse_time(body.get("end")) or start + DEFAULT_MEETING_LENGTH,
        organizer=_recipient(tenant, body["organizer"]),
        attendees=_attendees(tenant, body),
        body=_message_body(body),
        location=body.get("location", ""),
        all_day=bool(body.get("all_day")),
        zone=body.get("zone", "UTC"),
        sensitivity=body.get("sensitivity", "normal"),
        join_url=body.get("join_url", ""),
        recurrence=Recurrence(rule) if rule else None,
    )
    return _render_meeting(meetings.book(world, tenant, whole_days(meeting)))


def change_meeting(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Change the meeting `uid` as its organizer: start, end, subject, text, attendees, location.

    With `original_start`, only that occurrence of a series changes.
    """

    def edit(meeting: Meeting) -> Meeting:
        start = _parse_time(body.get("start")) or meeting.start
        end = _parse_time(body.get("end")) or start + meeting.length
        meeting = replace(meeting, start=start, end=end)
        for name in ("subject", "location", "sensitivity", "join_url"):
            if name in body:
                meeting = replace(meeting, **{name: body[name]})
        if "text" in body or "html" in body:
            meeting = replace(meeting, body=_message_body(body))
        if "attendees" in body or "optional" in body:
            meeting = replace(meeting, attendees=_attendees(tenant, body))
        return whole_days(meeting)

    original = _parse_time(body.get("original_start"))
    return _render_meeting(meetings.change(world, tenant, body["uid"], edit, original))


def cancel_meeting(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Cancel the meeting `uid`, or one occurrence of it, as its organizer."""
    original = _parse_time(body.get("original_start"))
    return _render_meeting(meetings.cancel(world, tenant, body["uid"], original))


def delete_event_copy(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Delete the copy of the meeting `uid` in a `mailbox`, or one occurrence of it, as its owner."""
    mailbox, event = _find_event(tenant, body)
    meetings.delete_copy(world, mailbox, event, _parse_time(body.get("original_start")))
    return {}


def respond_to_meeting(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Respond as the owner of a `mailbox`: accepted, tentativelyAccepted or declined."""
    mailbox, event = _find_event(tenant, body)
    if body["response"] not in meetings.RESPONSE_MAIL_KINDS:
        raise ValueError(f"no response {body['response']}")
    meetings.respond(world, tenant, mailbox, event, body["response"])
    return {}


def _render_meeting(copies: list[EventCopy]) -> Any:
    uid = copies[0].event.meeting.uid if copies else None
    return {"uid": uid, "copies": [_render_event(copy) for copy in copies]}


def _render_event(copy: EventCopy) -> JsonBody:
    event = copy.event
    return {
        "mailbox": copy.mailbox.owner,
        "id": event.immutable_id,
        "default_id": event.id,
        "uid": event.meeting.uid,
        "subject": event.meeting.subject,
        "start": event.meeting.start.isoformat(),
        "is_organizer": event.is_organizer,
        "cancelled": event.meeting.cancelled,
        "change_key": event.change_key,
    }


def _render_message(copy: MessageCopy) -> JsonBody:
    message = copy.message
    return {
        "mailbox": copy.mailbox.owner,
        "id": message.immutable_id,
        "default_id": message.id,
        "folder": message.folder,
        "subject": message.mail.subject,
        "internet_message_id": message.mail.internet_message_id,
        "received": message.received.isoformat(),
        "change_key": message.change_key,
    }


def _find_mailbox(tenant: Tenant, name: str) -> Mailbox:
    user = tenant.find_user(name)
    if user is None or user.mailbox is None:
        raise LookupError(f"no mailbox {name}")
    return user.mailbox


def _find_message(tenant: Tenant, body: JsonBody) -> tuple[Mailbox, Message]:
    """Find the message with `id` or `internet_message_id` in a `mailbox`."""
    mailbox = _find_mailbox(tenant, body["mailbox"])
    wanted = body.get("id", "")
    message = mailbox.find_message(wanted)
    if message is None and body.get("internet_message_id"):
        wanted = body["internet_message_id"]
        found = (m for m in mailbox.messages_in() if m.mail.internet_message_id == wanted)
        message = next(found, None)
    if message is None:
        raise LookupError(f"no message {wanted}")
    return mailbox, message


def _find_event(tenant: Tenant, body: JsonBody) -> tuple[Mailbox, Event]:
    mailbox = _find_mailbox(tenant, body["mailbox"])
    event = mailbox.find_event_by_uid(body["uid"])
    if event is None:
        raise LookupError(f"no meeting {body['uid']}")
    return mailbox, event


def _recipient(tenant: Tenant, person: str | Mapping[str, str]) -> Recipient:
    """A recipient: an address, a user's object id, or an object of `name` and `address`."""
    if not isinstance(person, str):
        return Recipient(person.get("name", ""), person.get("address", ""))
    user = tenant.users.get(person.lower()) if ids.is_guid(person) else None
    return mail_delivery.directory_recipient(tenant, user.address if user else person)


def _recipients(tenant: Tenant, persons: list[Any] | None) -> tuple[Recipient, ...]:
    return tuple(_recipient(tenant, each) for each in persons or ())


def _attendees(tenant: Tenant, body: JsonBody) -> tuple[Attendee, ...]:
    required = [Attendee(p) for p in _recipients(tenant, body.get("attendees"))]
    optional = [Attendee(p, "optional") for p in _recipients(tenant, body.get("optional"))]
    return tuple(required + optional)


def _message_body(body: JsonBody) -> Body:
    if "html" in body:
        return Body("html", body["html"])
    return Body("text", body["text"]) if "text" in body else EMPTY


def _parse_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    value = datetime.fromisoformat(text)
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value.replace(microsecond=0)


ITEM_ACTIONS: Mapping[str, Callable[[World, Tenant, JsonBody], Any]] = {
    "/mail": send_mail,
    "/messages": create_message,
    "/messages/move": move_message,
    "/messages/delete": delete_message,
    "/messages/change": change_message,
    "/items/raw": add_raw_items,
    "/folders": create_folder,
    "/folders/move": move_folder,
    "/mailbox": show_mailbox,
    "/meetings": book_meeting,
    "/meetings/change": change_meeting,
    "/meetings/cancel": cancel_meeting,
    "/meetings/delete": delete_event_copy,
    "/meetings/respond": respond_to_meeting,
}
