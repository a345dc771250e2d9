"""Meetings: booked, moved, answered, cancelled; a copy of the event in every attendee's mailbox.

Every step also makes the mail that Outlook makes of it: requests, answers, cancellations.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from . import ids
from . import mail_delivery as postoffice
from .items import (
    ACCEPTED,
    CANCELLATION,
    DECLINED,
    REQUEST,
    TENTATIVE,
    Event,
    Meeting,
    MeetingMail,
    Recipient,
    Recurrence,
)
from .mailbox import Mailbox
from .subscriptions import CREATED, DELETED, UPDATED
from .tenants import Tenant
from .world import World

MAIL_OF_RESPONSE = {"accepted": ACCEPTED, "tentativelyAccepted": TENTATIVE, "declined": DECLINED}
WORD_OF_RESPONSE = {
    "accepted": "Accepted",
    "tentativelyAccepted": "Tentative",
    "declined": "Declined",
}


@dataclass(frozen=True, slots=True)
class EventCopy:
    """A meeting's copy in a mailbox."""

    mailbox: Mailbox
    event: Event


def book(world: World, tenant: Tenant, meeting: Meeting) -> list[EventCopy]:
    """A new meeting: an event for the organizer and for each attendee, and the requests as mail.

    `meeting.uid` may be empty; the copies have the one that it got.
    """
    with world.lock:
        uid = meeting.uid or ids.global_object_id(ids.digest(world.salt, uuid4()))
        meeting = replace(meeting, uid=uid)
        made = []
        for mailbox, is_organizer in _mailboxes(world, tenant, meeting):
            made.append(put(world, mailbox, meeting, is_organizer=is_organizer))
        _write(world, tenant, meeting, REQUEST, meeting.subject)
        return made


def put(world: World, mailbox: Mailbox, meeting: Meeting, *, is_organizer: bool) -> EventCopy:
    """A copy of a meeting in one calendar, without any mail."""
    response = "organizer" if is_organizer else "notResponded"
    with world.lock:
        event = mailbox.add_event(meeting, world.clock(), is_organizer=is_organizer, response=response)
        world.event_changed(mailbox, CREATED, event)
        return EventCopy(mailbox, event)


def copies(tenant: Tenant, uid: str) -> list[EventCopy]:
    """The copies that there are of a meeting, the organizer's first."""
    found = []
    for user in tenant.users.values():
        event = user.mailbox.event_of(uid) if user.mailbox else None
        if event is not None and user.mailbox is not None:
            found.append(EventCopy(user.mailbox, event))
    return sorted(found, key=lambda copy: not copy.event.is_organizer)


def change(
    world: World,
    tenant: Tenant,
    uid: str,
    changed: Callable[[Meeting], Meeting],
    original_start: datetime | None = None,
) -> list[EventCopy]:
    """A meeting, or one occurrence of a series, changed by its organizer in every calendar.

    Who is new among the attendees gets a copy, who is no longer asked loses it. With an original
    start the occurrence becomes an exception.
    """
    with world.lock:
        before = copies(tenant, uid)
        if not before:
            raise LookupError(f"no meeting {uid}")
        meeting = _changed(before[0].event.meeting, changed, original_start)
        wanted = {box.owner: (box, own) for box, own in _mailboxes(world, tenant, meeting)}
        for copy in before:
            if copy.mailbox.owner in wanted:
                del wanted[copy.mailbox.owner]
                _set(world, copy, meeting)
            else:
                copy.mailbox.remove_event(copy.event)
                world.event_changed(copy.mailbox, DELETED, copy.event)
        for box, own in wanted.values():
            put(world, box, meeting, is_organizer=own)
        _write(world, tenant, meeting, REQUEST, meeting.subject)
        return copies(tenant, uid)


def cancel(world: World, tenant: Tenant, uid: str, original_start: datetime | None = None) -> list[EventCopy]:
    """A meeting cancelled: gone from the organizer's calendar, marked in the others', with mail.

    With an original start only that occurrence is cancelled, and leaves all calendars.
    """
    with world.lock:
        before = copies(tenant, uid)
        if not before:
            raise LookupError(f"no meeting {uid}")
        meeting = before[0].event.meeting
        subject = f"Canceled: {meeting.subject}"
        if original_start is not None:
            left = _without(meeting, original_start)
            for copy in before:
                _set(world, copy, left)
        else:
            cancelled = replace(meeting, cancelled=True, subject=subject, show_as="free")
            for copy in before:
                if copy.event.is_organizer:
                    copy.mailbox.remove_event(copy.event)
                    world.event_changed(copy.mailbox, DELETED, copy.event)
                else:
                    _set(world, copy, cancelled)
        _write(world, tenant, meeting, CANCELLATION, subject)
        return copies(tenant, uid)


def delete(world: World, mailbox: Mailbox, event: Event, original_start: datetime | None = None) -> None:
    """One owner's own copy, or one occurrence of it, deleted from her calendar; nobody is told."""
    with world.lock:
        if original_start is None:
            mailbox.remove_event(event)
            world.event_changed(mailbox, DELETED, event)
            return
        left = _without(event.meeting, original_start)
        _set(world, EventCopy(mailbox, event), left)


def respond(world: World, tenant: Tenant, mailbox: Mailbox, event: Event, response: str) -> None:
    """An attendee's answer: in her copy, in the organizer's, and as mail to the organizer."""
    with world.lock:
        user = tenant.users[mailbox.owner]
        own = {a.lower() for a in (user.address, user.upn, *user.other_addresses)}
        now = world.now()
        attendees = tuple(
            replace(a, response=response, responded=now) if a.who.address.lower() in own else a
            for a in event.meeting.attendees
        )
        meeting = replace(event.meeting, attendees=attendees)
        for copy in copies(tenant, meeting.uid):
            if copy.event.is_organizer:
                _set(world, copy, replace(copy.event.meeting, attendees=attendees))
        changed = mailbox.change_event(event, meeting, world.clock(), response)
        world.event_changed(mailbox, UPDATED, changed)
        if meeting.organizer is not None:
            postoffice.send(
                world,
                tenant,
                sender=Recipient(user.name, user.address),
                to=[meeting.organizer],
                subject=f"{WORD_OF_RESPONSE[response]}: {meeting.subject}",
                about=MeetingMail(MAIL_OF_RESPONSE[response], meeting),
            )


def _set(world: World, copy: EventCopy, meeting: Meeting) -> None:
    changed = copy.mailbox.change_event(copy.event, meeting, world.clock())
    world.event_changed(copy.mailbox, UPDATED, changed)


def _changed(
    meeting: Meeting, changed: Callable[[Meeting], Meeting], original_start: datetime | None
) -> Meeting:
    if original_start is None:
        return changed(meeting)
    pattern = meeting.recurrence or Recurrence("")
    there = pattern.overrides.get(original_start) or replace(
        meeting, start=original_start, end=original_start + meeting.length, recurrence=None
    )
    overrides = {**pattern.overrides, original_start: changed(there)}
    return replace(meeting, recurrence=replace(pattern, overrides=overrides))


def _without(meeting: Meeting, original_start: datetime) -> Meeting:
    pattern = meeting.recurrence or Recurrence("")
    overrides = {k: v for k, v in pattern.overrides.items() if k != original_start}
    excluded = pattern.excluded | {original_start}
    return replace(meeting, recurrence=replace(pattern, overrides=overrides, excluded=excluded))


def _mailboxes(world: World, tenant: Tenant, meeting: Meeting) -> Iterable[tuple[Mailbox, bool]]:
    reached: set[str] = set()
    who = [meeting.organizer] if meeting.organizer else []
    for n, each in enumerate([*who, *(a.who for a in meeting.attendees)]):
        mailbox = world.mailbox_of(tenant, each.address)
        if mailbox is not None and mailbox.owner not in reached:
            reached.add(mailbox.owner)
            yield mailbox, bool(who) and n == 0


def _write(world: World, tenant: Tenant, meeting: Meeting, kind: str, subject: str) -> None:
    if meeting.organizer is None or not meeting.attendees:
        return
    kinds: dict[str, list[Recipient]] = {"required": [], "optional": [], "resource": []}
    for attendee in meeting.attendees:
        kinds.get(attendee.kind, kinds["required"]).append(attendee.who)
    postoffice.send(
        world,
        tenant,
        sender=meeting.organizer,
        to=kinds["required"] + kinds["resource"],
        cc=kinds["optional"],
        subject=subject,
        body=meeting.body,
        sensitivity=meeting.sensitivity,
        about=MeetingMail(kind, meeting),
    )
