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
"""Folders that every mailbox has: well-known name and display name."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A mail folder; the root's parent is itself, as in Exchange."""

    id: str
    name: str
    parent: str


class Mailbox:
    """The content of one user's mailbox.

    Changes return what is new; nothing here says anything to anyone. `salt` makes the ids of this
    mailbox its own.
    """

    def __init__(self, tenant: str, owner: str, salt: str) -> None:
        self.tenant = tenant
        self.owner = owner
        self._salt = f"{salt}:{tenant}:{owner}"
        self._made = 0
        self.well_known = {name: self._folder_id(name) for name in WELL_KNOWN}
        root = self.well_known[ROOT]
        self.folders = {
            self.well_known[name]: Folder(self.well_known[name], shown, root)
            for name, shown in WELL_KNOWN.items()
        }
        self.messages: dict[str, Message] = {}
        self.events: dict[str, Event] = {}
        self._messages_by_default_id: dict[str, str] = {}
        self._events_by_default_id: dict[str, str] = {}

    # folders

    def _folder_id(self, name: str) -> str:
        return ids.item_id(ids.FOLDER, ids.digest(self._salt, "folder", name))

    def folder(self, name: str) -> Folder | None:
        """A folder by its id or well-known name."""
        return self.folders.get(self.well_known.get(name.lower(), name))

    def children(self, folder: Folder) -> list[Folder]:
        """The folders directly below this one."""
        below = [f for f in self.folders.values() if f.parent == folder.id and f.id != folder.id]
        return sorted(below, key=lambda f: f.name)

    def make_folder(self, name: str, parent: Folder) -> Folder:
        """A new folder below another."""
        made = Folder(self._folder_id(f"{parent.id}/{name}/{len(self.folders)}"), name, parent.id)
        self.folders[made.id] = made
        return made

    def move_folder(self, folder: Folder, parent: Folder) -> Folder:
        """The same folder, and all in it, below another one."""
        moved = replace(folder, parent=parent.id)
        self.folders[folder.id] = moved
        return moved

    # messages

    def find_message(self, item: str) -> Message | None:
        """A message by either form of its id."""
        return self.messages.get(item) or self.messages.get(self._messages_by_default_id.get(item, ""))

    def messages_in(self, folder: Folder | None = None) -> list[Message]:
        """The messages of one folder, or of all; newest first."""
        found = [m for m in self.messages.values() if folder is None or m.folder == folder.id]
        return sorted(found, key=lambda m: m.received, reverse=True)

    def add_message(
        self, mail: Mail, folder: Folder, received: datetime, now: datetime, is_draft: bool = False
    ) -> Message:
        """A mail's new copy in a folder."""
        self._made += 1
        key = ids.digest(self._salt, "message", self._made)
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
        return self._keep(message)

    def move_message(self, message: Message, folder: Folder, now: datetime) -> Message:
        """The message in another folder: a new default id, the same immutable one."""
        moves = message.moves + 1
        self._messages_by_default_id.pop(message.id, None)
        there = replace(message, folder=folder.id, moves=moves)
        there = replace(there, id=ids.item_id(ids.DEFAULT, ids.digest(message.key, moves)))
        return self._keep(_touched_message(there, now))

    def change_message(
        self,
        message: Message,
        now: datetime,
        *,
        mail: Mail | None = None,
        is_read: bool | None = None,
        is_draft: bool | None = None,
    ) -> Message:
        """The message with another content or state."""
        changed = replace(
            message,
            mail=mail or message.mail,
            is_read=message.is_read if is_read is None else is_read,
            is_draft=message.is_draft if is_draft is None else is_draft,
        )
        return self._keep(_touched_message(changed, now))

    def remove_message(self, message: Message) -> None:
        """The message gone for good."""
        del self.messages[message.immutable_id]
        del self._messages_by_default_id[message.id]

    def _keep(self, message: Message) -> Message:
        self.messages[message.immutable_id] = message
        self._messages_by_default_id[message.id] = message.immutable_id
        return message

    # events

    def find_event(self, item: str) -> Occurrence | None:
        """An event, a series or one occurrence of it, by either form of its id."""
        base, original = ids.split_occurrence(item)
        event = self.events.get(base) or self.events.get(self._events_by_default_id.get(base, ""))
        if event is None:
            return None
        if original is None:
            return as_stored(event)
        there = recurrence.at(event.meeting, original)
        if there is None:
            return None
        meeting, is_exception = there
        return Occurrence(event, meeting, "exception" if is_exception else "occurrence", original)

    def event_of(self, uid: str) -> Event | None:
        """This mailbox's copy of a meeting."""
        return next((e for e in self.events.values() if e.meeting.uid == uid), None)

    def add_event(
        self, meeting: Meeting, now: datetime, *, is_organizer: bool, response: str = "none"
    ) -> Event:
        """A meeting's new copy in the calendar."""
        self._made += 1
        key = ids.digest(self._salt, "event", self._made)
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
        """The event with another content or response."""
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
        """The event gone from the calendar."""
        del self.events[event.immutable_id]
        del self._events_by_default_id[event.id]

    def calendar(self, start: datetime, end: datetime) -> list[Occurrence]:
        """What touches a window, series expanded, by start."""
        found = list(self._between(self.events.values(), start, end))
        return sorted(found, key=lambda o: (o.meeting.start, o.event.immutable_id))

    def instances(self, event: Event, start: datetime, end: datetime) -> list[Occurrence]:
        """What of one series touches a window, by start."""
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
    """An event as itself: a single meeting or the master of a series."""
    kind = "singleInstance" if event.meeting.recurrence is None else "seriesMaster"
    return Occurrence(event, event.meeting, kind)


def _touched_message(message: Message, now: datetime) -> Message:
    version = message.version + 1
    return replace(
        message,
        version=version,
        modified=max(now, message.modified + timedelta(microseconds=1)),
        change_key=ids.change_key(message.key, version),
    )
