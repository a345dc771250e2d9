"""The history of a world: every state that an item or a folder tree had, and since when.

A test that judges a reader of Graph compares what was read with what was there at that time.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from .items import Event, Message
from .mailbox import Folder, Mailbox

FolderTree: TypeAlias = tuple[Folder, ...]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A state that began at a time.

    Attributes:
        mailbox: as it is now; only its identity and its well-known folders are the same at all times.
        item: the immutable id; empty for a folder tree.
        state: None: the item is deleted.
    """

    at: datetime
    mailbox: Mailbox
    item: str
    state: Message | Event | FolderTree | None


class History:
    """The entries in their order. Nothing is recorded before `start`: a long run would fill the memory."""

    def __init__(self) -> None:
        self.entries: list[HistoryEntry] = []
        self.is_recording = False

    def start(self) -> None:
        """Begin with an empty history."""
        self.entries.clear()
        self.is_recording = True

    def record_item(self, at: datetime, mailbox: Mailbox, item: str, state: Message | Event | None) -> None:
        """Record that an item has a new state, or is deleted."""
        if self.is_recording:
            self.entries.append(HistoryEntry(at, mailbox, item, state))

    def record_folders(self, at: datetime, mailbox: Mailbox) -> None:
        """Record the folder tree of a mailbox."""
        if self.is_recording:
            self.entries.append(HistoryEntry(at, mailbox, "", tuple(mailbox.folders.values())))
