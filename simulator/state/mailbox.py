"""One mailbox: its folders, its messages, its calendar."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from . import ids, recurrence
from .items import Event, Mail, Meeting, Message, Occurrence

ROOT = "msgfolderroot"
WELL_KNOWN = {
    ROOT: "Top of Information Store",
    "archive": "Archive",
    "conversationhistory": "Conversation History",
    "deleteditems": "Deleted Items",
    "drafts": "Drafts",
    "inbox": "Inbox",
    "junkemail": "Junk Email",
    "outbox": "Outbox",
    "sentitems": "Sent Items",
}
"""Folders of every mailbox: well-known name and display name."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A mail folder; the root's parent is itself, as in Exchange. A list shows a hidden one on request."""

    id: str
    name: str
    parent: str
    hidden: bool = False


class Mailbox:
    """The content of one user's mailbox.

    Each change returns the new state of the item; the caller notifies subscriptions. `salt` makes the
    ids of this mailbox unique.
    """

    def __init__(self, tenant: str, owner: str, salt: str) -> None:
        self.tenant = tenant
        self.owner = owner
        self._salt = f"{salt}:{tenant}:{owner}"
        self._created_count = 0
        self.well_known = {name: self._folder_id(name) for name in WELL_KNOWN}
        root = self.well_known[ROOT]
        self.folders = {
            self.well_known[name]: Folder(self.well_known[name], shown, root)
            for name, shown in WELL_KNOWN.items()
        }
        self.messages: dict[str, Message] = {}
        self.events: dict[str, Event] = {}
        self.selections: dict[tuple[str | None, ...], list[Message]] = {}
        """The messages that the last request for several of them selected; empty after a change."""
        self.raw_items: dict[str, bytes] = {}
        """Immutable id -> the JSON that Graph answers instead of the item's own."""
        self._messages_by_default_id: dict[str, str] = {}
        self._events_by_default_id: dict[str, str] = {}

    # folders

    def _folder_id(self, name: str) -> str:
        return ids.item_id(ids.FOLDER, ids.digest(self._salt, "folder", name))

    def find_folder(self, name: str) -> Folder | None:
        """Find a folder by its id or well-known name."""
        return self.folders.get(self.well_known.get(name.lower(), name))

    def child_folders(self, folder: Folder) -> list[Folder]:
        """The folders directly below a folder, by name."""
        below = [f for f in self.folders.values() if f.parent == folder.id and f.id != folder.id]
        return sorted(below, key=lambda f: f.name)

    def create_folder(self, name: str, parent: Folder, *, hidden: bool = False) -> Folder:
        """Create a folder below another."""
        made = Folder(self._folder_id(f"{parent.id}/{name}/{len(self.folders)}"), name, parent.id, hidden)
        self.folders[made.id] = made
        return made

    def move_folder(self, folder: Folder, parent: Folder) -> Folder:
        """Move a folder with its content below another folder."""
        moved = replace(folder, parent=parent.id)
        self.folders[folder.id] = moved
        return moved

    # messages

    def find_message(self, item: str) -> Message | None:
        """Find a message by its immutable or default id."""
        return self.messages.get(item) or self.messages.get(self._messages_by_default_id.get(item, ""))

    def messages_in(self, folder: Folder | None = None) -> list[Message]:
        """The messages of one folder or of all folders, newest first."""
        found = [m for m in self.messages.values() if folder is None or m.folder == folder.id]
        return sorted(found, key=lambda m: m.received, reverse=True)

    def add_message(
        self, mail: Mail, folder: Folder, received: datetime, now: datetime, is_draft: bool = False
    ) -> Message:
        """Add a copy of an e-mail to a folder."""
        self._created_count += 1
        key = ids.digest(self._salt, "message", self._created_count)
        message = Message(
            key=key,
            immutable_id=ids.item_id(ids.IMMUTABLE, key),
            id=ids.item_id(ids.DEFAULT, ids.digest(key, 0)),
            folder=folder.id,
            mail=mail,
            received=received,
            created=received,
            modified=now,
            change_key=ids.change_key(key, 1),
            is_read=folder.id == self.well_known["sentitems"],
            is_draft=is_draft,
        )
        return self._store(message)

    def move_message(self, message: Message, folder: Folder, now: datetime) -> Message:
        """Move a message to another folder: its default id changes, its immutable id does not."""
        moves = message.moves + 1
        self._messages_by_default_id.pop(message.id, None)
        there = replace(message, folder=folder.id, moves=moves)
        there = replace(there, id=ids.item_id(ids.DEFAULT, ids.digest(message.key, moves)))
        return self._store(_with_next_version(there, now))

    def change_message(
        self,
        message: Message,
        now: datetime,
        *,
        mail: Mail | None = None,
        is_read: bool | None = None,
        is_draft: bool | None = None,
        categories: tuple[str, ...] | None = None,
    ) -> Message:
        """Change the content or state of a message."""
        changed = replace(
            message,
            mail=mail or message.mail,
            is_read=message.is_read if is_read is None else is_read,
            is_draft=message.is_draft if is_draft is None else is_draft,
            categories=message.categories if categories is None else categories,
        )
        return self._store(_with_next_version(changed, now))

    def remove_message(self, message: Message) -> None:
        """Delete a message permanently."""
        self.selections.clear()
        del self.messages[message.immutable_id]
        del self._messages_by_default_id[message.id]

    def _store(self, message: Message) -> Message:
        self.selections.clear()
        self.messages[message.immutable_id] = message
        self._messages_by_default_id[message.id] = message.immutable_id
        return message

    # events

    def find_event(self, item: str) -> Occurrence | None:
        """Find an event, a series or one occurrence of it by its immutable or default id."""
        base, original = ids.split_occurrence(item)
        event = self.events.get(base) or self.events.get(self._events_by_default_id.get(base, ""))
        if event is None:
            return None
        if original is None:
            return as_stored(event)
        there = recurrence.occurrence_at(event.meeting, original)
        if there is None:
            return None
        meeting, is_exception = there
        return Occurrence(event, meeting, "exception" if is_exception else "occurrence", original)

    def find_event_by_uid(self, uid: str) -> Event | None:
        """Find this mailbox's copy of a meeting."""
        return next((e for e in self.events.values() if e.meeting.uid == uid), None)

    def add_event(
        self, meeting: Meeting, now: datetime, *, is_organizer: bool, response: str = "none"
    ) -> Event:
        """Add a copy of a meeting to the calendar."""
        self._created_count += 1
        key = ids.digest(self._salt, "event", self._created_count)
        event = Event(
            key=key,
            immutable_id=ids.item_id(ids.IMMUTABLE, key),
            id=ids.item_id(ids.DEFAULT, ids.digest(key, 0)),
            meeting=meeting,
            created=now,
            modified=now,
            change_key=ids.change_key(key, 1),
            is_organizer=is_organizer,
            response=response,
        )
        self.events[event.immutable_id] = event
        self._events_by_default_id[event.id] = event.immutable_id
        return event

    def change_event(
        self, event: Event, meeting: Meeting, now: datetime, response: str | None = None
    ) -> Event:
        """Change the content or response of an event."""
        version = event.version + 1
        changed = replace(
            event,
            meeting=meeting,
            modified=now,
            version=version,
            change_key=ids.change_key(event.key, version),
            response=response or event.response,
            responded=now if response else event.responded,
        )
        self.events[event.immutable_id] = changed
        return changed

    def remove_event(self, event: Event) -> None:
        """Remove an event from the calendar."""
        del self.events[event.immutable_id]
        del self._events_by_default_id[event.id]

    def calendar_view(self, start: datetime, end: datetime) -> list[Occurrence]:
        """The events that overlap a window, with series expanded, by start."""
        found = list(self._between(self.events.values(), start, end))
        return sorted(found, key=lambda o: (o.meeting.start, o.event.immutable_id))

    def instances(self, event: Event, start: datetime, end: datetime) -> list[Occurrence]:
        """The occurrences of one series that overlap a window, by start."""
        found = list(self._between([event], start, end))
        return sorted(found, key=lambda o: o.meeting.start)

    def _between(self, events: Iterable[Event], start: datetime, end: datetime) -> Iterator[Occurrence]:
        for event in events:
            meeting = event.meeting
            if meeting.recurrence is None:
                touches = meeting.end > start or meeting.start >= start
                if meeting.start < end and touches:
                    yield as_stored(event)
                continue
            for original, there, is_exception in recurrence.occurrences(meeting, start, end):
                kind = "exception" if is_exception else "occurrence"
                yield Occurrence(event, there, kind, original)


def as_stored(event: Event) -> Occurrence:
    """An event without expansion: a single meeting or the master of a series."""
    kind = "singleInstance" if event.meeting.recurrence is None else "seriesMaster"
    return Occurrence(event, event.meeting, kind)


def _with_next_version(message: Message, now: datetime) -> Message:
    version = message.version + 1
    return replace(
        message,
        version=version,
        modified=max(now, message.modified + timedelta(microseconds=1)),
        change_key=ids.change_key(message.key, version),
    )
