"""Meetings: booked, changed, answered, cancelled; every attendee's mailbox has a copy of the event.

Each operation also creates the e-mail that Outlook sends for it: requests, responses, cancellations.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from . import ids, mail_delivery, recurrence
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

RESPONSE_MAIL_KINDS = {"accepted": ACCEPTED, "tentativelyAccepted": TENTATIVE, "declined": DECLINED}
RESPONSE_SUBJECT_PREFIXES = {
    "accepted": "Accepted",
    "tentativelyAccepted": "Tentative",
    "declined": "Declined",
}


@dataclass(frozen=True, slots=True)
class EventCopy:
    """The copy of a meeting in a mailbox."""

    mailbox: Mailbox
    event: Event


def book(world: World, tenant: Tenant, meeting: Meeting) -> list[EventCopy]:
    """Book a meeting: an event for the organizer and for each attendee, and the requests by e-mail.

    An empty `meeting.uid` is replaced by a new one; the copies have it.
    """
    with world.lock:
        uid = meeting.uid or ids.global_object_id(ids.digest(world.salt, uuid4()))
        meeting = replace(meeting, uid=uid)
        added = []
        for mailbox, is_organizer in _participating_mailboxes(world, tenant, meeting):
            added.append(add_copy(world, mailbox, meeting, is_organizer=is_organizer))
        _send_meeting_mail(world, tenant, meeting, REQUEST, meeting.subject)
        return added


def add_copy(world: World, mailbox: Mailbox, meeting: Meeting, *, is_organizer: bool) -> EventCopy:
    """Add a copy of a meeting to one calendar, without any e-mail."""
    response = "organizer" if is_organizer else "notResponded"
    with world.lock:
        event = mailbox.add_event(meeting, world.clock(), is_organizer=is_organizer, response=response)
        world.notify_event_change(mailbox, CREATED, event)
        return EventCopy(mailbox, event)


def find_copies(tenant: Tenant, uid: str) -> list[EventCopy]:
    """The copies of a meeting, the organizer's first."""
    copies = []
    for user in tenant.users.values():
        event = user.mailbox.find_event_by_uid(uid) if user.mailbox else None
        if event is not None and user.mailbox is not None:
            copies.append(EventCopy(user.mailbox, event))
    return sorted(copies, key=lambda copy: not copy.event.is_organizer)


def change(
    world: World,
    tenant: Tenant,
    uid: str,
    edit: Callable[[Meeting], Meeting],
    original_start: datetime | None = None,
) -> list[EventCopy]:
    """Change a meeting, or one occurrence of a series, as its organizer, in every calendar.

    A new attendee gets a copy; the copy of a removed attendee is deleted. With an original start the
    occurrence becomes an exception.

    Raises:
        LookupError: the tenant has no such meeting.
    """
    with world.lock:
        before = find_copies(tenant, uid)
        if not before:
            raise LookupError(f"no meeting {uid}")
        meeting = _edited(before[0].event.meeting, edit, original_start)
        added = {
            mailbox.owner: (mailbox, is_organizer)
            for mailbox, is_organizer in _participating_mailboxes(world, tenant, meeting)
        }
        for copy in before:
            if copy.mailbox.owner in added:
                del added[copy.mailbox.owner]
                _update_copy(world, copy, meeting)
            else:
                copy.mailbox.remove_event(copy.event)
                world.notify_event_change(copy.mailbox, DELETED, copy.event)
        for mailbox, is_organizer in added.values():
            add_copy(world, mailbox, meeting, is_organizer=is_organizer)
        _send_meeting_mail(world, tenant, meeting, REQUEST, meeting.subject)
        return find_copies(tenant, uid)


def cancel(world: World, tenant: Tenant, uid: str, original_start: datetime | None = None) -> list[EventCopy]:
    """Cancel a meeting: remove it from the organizer's calendar, mark it in the others, send e-mail.

    With an original start only that occurrence is cancelled; marked, it becomes an exception.

    Raises:
        LookupError: the tenant has no such meeting or occurrence.
    """
    with world.lock:
        before = find_copies(tenant, uid)
        if not before:
            raise LookupError(f"no meeting {uid}")
        meeting = before[0].event.meeting
        if original_start is not None and recurrence.occurrence_at(meeting, original_start) is None:
            raise LookupError(f"no occurrence of {uid} at {original_start}")
        for copy in before:
            if not copy.event.is_organizer:
                marked = _edited(copy.event.meeting, _as_cancelled, original_start)
                _update_copy(world, copy, marked)
            elif original_start is not None:
                _update_copy(world, copy, _without_occurrence(copy.event.meeting, original_start))
            else:
                copy.mailbox.remove_event(copy.event)
                world.notify_event_change(copy.mailbox, DELETED, copy.event)
        subject = _as_cancelled(meeting).subject
        _send_meeting_mail(world, tenant, meeting, CANCELLATION, subject)
        return find_copies(tenant, uid)


def delete_copy(world: World, mailbox: Mailbox, event: Event, original_start: datetime | None = None) -> None:
    """Delete one owner's copy, or one occurrence of it, without any e-mail to the other participants."""
    with world.lock:
        if original_start is None:
            mailbox.remove_event(event)
            world.notify_event_change(mailbox, DELETED, event)
            return
        remaining = _without_occurrence(event.meeting, original_start)
        _update_copy(world, EventCopy(mailbox, event), remaining)


def respond(world: World, tenant: Tenant, mailbox: Mailbox, event: Event, response: str) -> None:
    """Record an attendee's response in both copies, and send it to the organizer by e-mail."""
    with world.lock:
        user = tenant.users[mailbox.owner]
        own = {a.lower() for a in (user.address, user.upn, *user.other_addresses)}
        now = world.now()
        attendees = tuple(
            replace(a, response=response, responded=now) if a.recipient.address.lower() in own else a
            for a in event.meeting.attendees
        )
        meeting = replace(event.meeting, attendees=attendees)
        for copy in find_copies(tenant, meeting.uid):
            if copy.event.is_organizer:
                _update_copy(world, copy, replace(copy.event.meeting, attendees=attendees))
        changed = mailbox.change_event(event, meeting, world.clock(), response)
        world.notify_event_change(mailbox, UPDATED, changed)
        if meeting.organizer is not None:
            mail_delivery.send(
                world,
                tenant,
                sender=Recipient(user.name, user.address),
                to=[meeting.organizer],
                subject=f"{RESPONSE_SUBJECT_PREFIXES[response]}: {meeting.subject}",
                about=MeetingMail(RESPONSE_MAIL_KINDS[response], meeting),
            )


def _as_cancelled(meeting: Meeting) -> Meeting:
    """A meeting as Outlook shows it to an attendee after its cancellation."""
    return replace(meeting, cancelled=True, subject=f"Canceled: {meeting.subject}", show_as="free")


def _update_copy(world: World, copy: EventCopy, meeting: Meeting) -> None:
    changed = copy.mailbox.change_event(copy.event, meeting, world.clock())
    world.notify_event_change(copy.mailbox, UPDATED, changed)


def _edited(meeting: Meeting, edit: Callable[[Meeting], Meeting], original_start: datetime | None) -> Meeting:
    if original_start is None:
        return edit(meeting)
    pattern = meeting.recurrence or Recurrence("")
    occurrence = pattern.overrides.get(original_start) or replace(
        meeting, start=original_start, end=original_start + meeting.length, recurrence=None
    )
    overrides = {**pattern.overrides, original_start: edit(occurrence)}
    return replace(meeting, recurrence=replace(pattern, overrides=overrides))


def _without_occurrence(meeting: Meeting, original_start: datetime) -> Meeting:
    pattern = meeting.recurrence or Recurrence("")
    overrides = {k: v for k, v in pattern.overrides.items() if k != original_start}
    excluded = pattern.excluded | {original_start}
    return replace(meeting, recurrence=replace(pattern, overrides=overrides, excluded=excluded))


def _participating_mailboxes(
    world: World, tenant: Tenant, meeting: Meeting
) -> Iterable[tuple[Mailbox, bool]]:
    """The mailboxes of organizer and attendees in the tenant, each with whether it is the organizer's."""
    seen: set[str] = set()
    organizers = [meeting.organizer] if meeting.organizer else []
    for n, recipient in enumerate([*organizers, *(a.recipient for a in meeting.attendees)]):
        mailbox = world.find_mailbox(tenant, recipient.address)
        if mailbox is not None and mailbox.owner not in seen:
            seen.add(mailbox.owner)
            yield mailbox, bool(organizers) and n == 0


def _send_meeting_mail(world: World, tenant: Tenant, meeting: Meeting, kind: str, subject: str) -> None:
    if meeting.organizer is None or not meeting.attendees:
        return
    recipients: dict[str, list[Recipient]] = {"required": [], "optional": [], "resource": []}
    for attendee in meeting.attendees:
        recipients.get(attendee.kind, recipients["required"]).append(attendee.recipient)
    mail_delivery.send(
        world,
        tenant,
        sender=meeting.organizer,
        to=recipients["required"] + recipients["resource"],
        cc=recipients["optional"],
        subject=subject,
        body=meeting.body,
        sensitivity=meeting.sensitivity,
        about=MeetingMail(kind, meeting),
    )
