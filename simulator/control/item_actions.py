"""Control of single items: mail, meetings, folders; each action a POST below its tenant."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from simulator.state import ids, meetings, recurrence
from simulator.state import mail_delivery as postoffice
from simulator.state.bodies import EMPTY, Body
from simulator.state.items import Attendee, Event, Mail, Meeting, Message, Recipient, Recurrence
from simulator.state.mail_delivery import Copy
from simulator.state.mailbox import Mailbox
from simulator.state.meetings import EventCopy
from simulator.state.tenants import Tenant
from simulator.state.world import World

Asked = dict[str, Any]

LENGTH = timedelta(minutes=30)
"""Of a meeting whose end is not given."""


def send(world: World, tenant: Tenant, asked: Asked) -> Any:
    """A mail from `from` to `to`, `cc`, `bcc`: into every addressee's Inbox and the Sent Items."""
    mail, copies = postoffice.send(
        world,
        tenant,
        sender=_person(tenant, asked["from"]),
        to=_people(tenant, asked.get("to")),
        cc=_people(tenant, asked.get("cc")),
        bcc=_people(tenant, asked.get("bcc")),
        subject=asked.get("subject", ""),
        body=_body(asked),
        sent=_moment(asked.get("sent")),
        internet_message_id=asked.get("internet_message_id"),
        sensitivity=asked.get("sensitivity", "normal"),
        importance=asked.get("importance", "normal"),
        keep=bool(asked.get("keep", True)),
    )
    return {"internet_message_id": mail.internet_message_id, "copies": [_copy(c) for c in copies]}


def put(world: World, tenant: Tenant, asked: Asked) -> Any:
    """A message in one `folder` of one `mailbox` only; `draft` makes it one."""
    mailbox = _mailbox(tenant, asked["mailbox"])
    now = world.now()
    sent = _moment(asked.get("sent")) or now
    who = asked.get("from")
    mail = Mail(
        internet_message_id=asked.get("internet_message_id"),
        subject=asked.get("subject", ""),
        sent=sent,
        origin=_person(tenant, who) if who else None,
        to=_people(tenant, asked.get("to")),
        cc=_people(tenant, asked.get("cc")),
        bcc=_people(tenant, asked.get("bcc")),
        body=_body(asked),
        sensitivity=asked.get("sensitivity", "normal"),
    )
    received = _moment(asked.get("received")) or sent
    draft = bool(asked.get("draft"))
    folder = asked.get("folder", "drafts" if draft else "inbox")
    return _copy(postoffice.put(world, mailbox, mail, folder, received, is_draft=draft))


def move(world: World, tenant: Tenant, asked: Asked) -> Any:
    """A message into another `folder`, by its name or id."""
    mailbox, message = _message(tenant, asked)
    return _copy(Copy(mailbox, postoffice.move(world, mailbox, message, asked["folder"])))


def delete(world: World, tenant: Tenant, asked: Asked) -> Any:
    """A message into Deleted Items, or with `hard` gone for good."""
    mailbox, message = _message(tenant, asked)
    postoffice.delete(world, mailbox, message, hard=bool(asked.get("hard")))
    return {}


def change(world: World, tenant: Tenant, asked: Asked) -> Any:
    """A message read (`is_read`), with another `subject` or text, or sent (`send`) from Drafts."""
    mailbox, message = _message(tenant, asked)
    mail = message.mail
    if "subject" in asked:
        mail = replace(mail, subject=asked["subject"])
    if "text" in asked or "html" in asked:
        mail = replace(mail, body=_body(asked))
    changed = postoffice.change(
        world,
        mailbox,
        message,
        is_read=asked.get("is_read"),
        mail=mail,
        send_draft=bool(asked.get("send")),
    )
    return _copy(Copy(mailbox, changed))


def make_folder(world: World, tenant: Tenant, asked: Asked) -> Any:
    """A folder called `name` below `parent`, the root if there is none."""
    mailbox = _mailbox(tenant, asked["mailbox"])
    with world.lock:
        parent = mailbox.folder(asked.get("parent", "msgfolderroot"))
        if parent is None:
            raise LookupError(f"no folder {asked['parent']}")
        return {"id": mailbox.make_folder(asked["name"], parent).id}


def move_folder(world: World, tenant: Tenant, asked: Asked) -> Any:
    """A `folder` with all in it below another `parent`; Graph says nothing of it to anyone."""
    mailbox = _mailbox(tenant, asked["mailbox"])
    with world.lock:
        folder, parent = mailbox.folder(asked["folder"]), mailbox.folder(asked["parent"])
        if folder is None or parent is None:
            raise LookupError("no such folder")
        return {"id": mailbox.move_folder(folder, parent).id}


def show(world: World, tenant: Tenant, asked: Asked) -> Any:
    """What lies in a `mailbox`."""
    mailbox = _mailbox(tenant, asked["mailbox"])
    with world.lock:
        return {
            "folders": dict(mailbox.well_known),
            "messages": [_copy(Copy(mailbox, m)) for m in mailbox.messages_in()],
            "events": [_event_copy(EventCopy(mailbox, e)) for e in mailbox.events.values()],
        }


# meetings


def book(world: World, tenant: Tenant, asked: Asked) -> Any:
    """A meeting of `organizer` with `attendees`; `rule` (RFC 5545) makes it a series."""
    start = _moment(asked["start"]) or world.now()
    rule = asked.get("rule", "")
    if rule and not recurrence.is_usable(rule, start):
        raise ValueError(f"a series cannot follow {rule}")
    meeting = Meeting(
        uid=asked.get("uid", ""),
        subject=asked.get("subject", ""),
        start=start,
        end=_moment(asked.get("end")) or start + LENGTH,
        organizer=_person(tenant, asked["organizer"]),
        attendees=_attendees(tenant, asked),
        body=_body(asked),
        location=asked.get("location", ""),
        all_day=bool(asked.get("all_day")),
        zone=asked.get("zone", "UTC"),
        sensitivity=asked.get("sensitivity", "normal"),
        join_url=asked.get("join_url", ""),
        recurrence=Recurrence(rule) if rule else None,
    )
    return _booked(meetings.book(world, tenant, meeting))


def change_meeting(world: World, tenant: Tenant, asked: Asked) -> Any:
    """The meeting `uid` changed by its organizer: start, end, subject, text, attendees, location.

    With `original_start`, only that occurrence of a series.
    """

    def changed(meeting: Meeting) -> Meeting:
        start = _moment(asked.get("start")) or meeting.start
        end = _moment(asked.get("end")) or start + meeting.length
        meeting = replace(meeting, start=start, end=end)
        for name in ("subject", "location", "sensitivity", "join_url"):
            if name in asked:
                meeting = replace(meeting, **{name: asked[name]})
        if "text" in asked or "html" in asked:
            meeting = replace(meeting, body=_body(asked))
        if "attendees" in asked or "optional" in asked:
            meeting = replace(meeting, attendees=_attendees(tenant, asked))
        return meeting

    original = _moment(asked.get("original_start"))
    return _booked(meetings.change(world, tenant, asked["uid"], changed, original))


def cancel_meeting(world: World, tenant: Tenant, asked: Asked) -> Any:
    """The meeting `uid`, or one occurrence of it, cancelled by its organizer."""
    original = _moment(asked.get("original_start"))
    return _booked(meetings.cancel(world, tenant, asked["uid"], original))


def delete_event(world: World, tenant: Tenant, asked: Asked) -> Any:
    """A `mailbox`'s own copy of the meeting `uid`, or one occurrence, deleted by its owner."""
    mailbox, event = _event(tenant, asked)
    meetings.delete(world, mailbox, event, _moment(asked.get("original_start")))
    return {}


def respond(world: World, tenant: Tenant, asked: Asked) -> Any:
    """The owner of a `mailbox` answers: accepted, tentativelyAccepted or declined."""
    mailbox, event = _event(tenant, asked)
    if asked["response"] not in meetings.MAIL_OF_RESPONSE:
        raise ValueError(f"no response {asked['response']}")
    meetings.respond(world, tenant, mailbox, event, asked["response"])
    return {}


def _booked(copies: list[EventCopy]) -> Any:
    uid = copies[0].event.meeting.uid if copies else None
    return {"uid": uid, "copies": [_event_copy(copy) for copy in copies]}


def _event_copy(copy: EventCopy) -> Asked:
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


def _copy(copy: Copy) -> Asked:
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


def _mailbox(tenant: Tenant, name: str) -> Mailbox:
    user = tenant.user(name)
    if user is None or user.mailbox is None:
        raise LookupError(f"no mailbox {name}")
    return user.mailbox


def _message(tenant: Tenant, asked: Asked) -> tuple[Mailbox, Message]:
    """The message that `id` or `internet_message_id` names in a `mailbox`."""
    mailbox = _mailbox(tenant, asked["mailbox"])
    wanted = asked.get("id", "")
    message = mailbox.find_message(wanted)
    if message is None and asked.get("internet_message_id"):
        wanted = asked["internet_message_id"]
        found = (m for m in mailbox.messages_in() if m.mail.internet_message_id == wanted)
        message = next(found, None)
    if message is None:
        raise LookupError(f"no message {wanted}")
    return mailbox, message


def _event(tenant: Tenant, asked: Asked) -> tuple[Mailbox, Event]:
    mailbox = _mailbox(tenant, asked["mailbox"])
    event = mailbox.event_of(asked["uid"])
    if event is None:
        raise LookupError(f"no meeting {asked['uid']}")
    return mailbox, event


def _person(tenant: Tenant, who: str | Mapping[str, str]) -> Recipient:
    """An address, or an object of `name` and `address`; a user's id stands for her address."""
    if not isinstance(who, str):
        return Recipient(who.get("name", ""), who.get("address", ""))
    user = tenant.users.get(who.lower()) if ids.is_guid(who) else None
    return postoffice.recipient(tenant, user.address if user else who)


def _people(tenant: Tenant, who: list[Any] | None) -> tuple[Recipient, ...]:
    return tuple(_person(tenant, each) for each in who or ())


def _attendees(tenant: Tenant, asked: Asked) -> tuple[Attendee, ...]:
    required = [Attendee(p) for p in _people(tenant, asked.get("attendees"))]
    optional = [Attendee(p, "optional") for p in _people(tenant, asked.get("optional"))]
    return tuple(required + optional)


def _body(asked: Asked) -> Body:
    if "html" in asked:
        return Body("html", asked["html"])
    return Body("text", asked["text"]) if "text" in asked else EMPTY


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    value = datetime.fromisoformat(text)
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value.replace(microsecond=0)


ITEM_ACTIONS: Mapping[str, Callable[[World, Tenant, Asked], Any]] = {
    "/mail": send,
    "/messages": put,
    "/messages/move": move,
    "/messages/delete": delete,
    "/messages/change": change,
    "/folders": make_folder,
    "/folders/move": move_folder,
    "/mailbox": show,
    "/meetings": book,
    "/meetings/change": change_meeting,
    "/meetings/cancel": cancel_meeting,
    "/meetings/delete": delete_event,
    "/meetings/respond": respond,
}
