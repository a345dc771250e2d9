"""The history of the world as JSON: what there was and since when, in the simulator's own terms.

Each entry has `at`, `tenant`, `mailbox`, `item` and `state`. A state is null when the item is deleted, else
it has a `kind`: `folders` (the tree), `message`, or `event` with the `occurrences` that a reader may see.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from simulator.graph import resources
from simulator.graph.preferences import Preferences
from simulator.state import recurrence
from simulator.state.history import FolderTree, HistoryEntry
from simulator.state.items import Event, Mail, Meeting, Message, Occurrence, Recipient
from simulator.state.mailbox import Mailbox, as_stored
from simulator.state.world import World

Json = dict[str, Any]

OCCURRENCE_SPAN = timedelta(days=4)
"""The occurrences of a series so long before and after an entry are listed: a day more than readers want."""

IMMUTABLE = resources.View(Preferences(immutable=True))


def read_history(world: World, after: int, count: int) -> Json:
    """The entries `after` a number of others, at most `count`, and the number after which to read on."""
    with world.lock:
        entries = world.history.entries[after : after + count]
        rendered = [_render(entry) for entry in entries]
        total = len(world.history.entries)
    return {"entries": rendered, "next": after + len(rendered), "total": total}


def _render(entry: HistoryEntry) -> Json:
    return {
        "at": entry.at.isoformat(),
        "tenant": entry.mailbox.tenant,
        "mailbox": entry.mailbox.owner,
        "item": entry.item,
        "state": _render_state(entry),
    }


def _render_state(entry: HistoryEntry) -> Json | None:
    match entry.state:
        case None:
            return None
        case Message():
            return _render_message(entry.state)
        case Event():
            return _render_event(entry.state, entry.at)
        case folders:
            return _render_folders(entry.mailbox, folders)


def _render_folders(mailbox: Mailbox, folders: FolderTree) -> Json:
    parents = {folder.id: folder.parent for folder in folders}
    return {"kind": "folders", "parents": parents, "well_known": dict(mailbox.well_known)}


def _render_message(message: Message) -> Json:
    mail: Mail = message.mail
    return {
        "kind": "message",
        "folder": message.folder,
        "draft": message.is_draft,
        "about_meeting": mail.about is not None,
        "subject": mail.subject,
        "message_id": mail.internet_message_id,
        "sent": mail.sent.isoformat(),
        "received": message.received.isoformat(),
        "from": _render_recipient(mail.origin),
        "to": [_render_recipient(each) for each in mail.to],
        "cc": [_render_recipient(each) for each in mail.cc],
        "sensitivity": mail.sensitivity,
        "conversation": resources.MESSAGE["conversationId"](IMMUTABLE, message),
        "link": resources.MESSAGE["webLink"](IMMUTABLE, message),
    }


def _render_event(event: Event, at: datetime) -> Json:
    return {
        "kind": "event",
        "occurrences": [_render_occurrence(each) for each in _occurrences(event, at)],
    }


def _occurrences(event: Event, at: datetime) -> Iterator[Occurrence]:
    if event.meeting.recurrence is None:
        yield as_stored(event)
        return
    span = at - OCCURRENCE_SPAN, at + OCCURRENCE_SPAN
    for original, meeting, is_exception in recurrence.occurrences(event.meeting, *span):
        yield Occurrence(event, meeting, "exception" if is_exception else "occurrence", original)


def _render_occurrence(occurrence: Occurrence) -> Json:
    meeting: Meeting = occurrence.meeting
    original = occurrence.original_start
    return {
        "item": resources.EVENT["id"](IMMUTABLE, occurrence),
        "uid": resources.EVENT["iCalUId"](IMMUTABLE, occurrence),
        "original_start": original.isoformat() if original else None,
        "subject": meeting.subject,
        "start": meeting.start.isoformat(),
        "end": meeting.end.isoformat(),
        "all_day": meeting.all_day,
        "cancelled": meeting.cancelled,
        "sensitivity": meeting.sensitivity,
        "organizer": _render_recipient(meeting.organizer),
        "attendees": [[each.kind, *_render_recipient(each.recipient)] for each in meeting.attendees],
        "link": resources.EVENT["webLink"](IMMUTABLE, occurrence),
    }


def _render_recipient(recipient: Recipient | None) -> list[str]:
    """Name and address; nothing for nobody."""
    return [recipient.name, recipient.address] if recipient else []
