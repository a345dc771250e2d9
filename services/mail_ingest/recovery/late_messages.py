"""Finds messages that Kafka has stored after newer ones of the same key, and has them overruled.

A send past its deadline may be delivered any time later: by a broker that stood still, and after the process
that sent it has ended, so that nobody acknowledges it. Readers ignore it by its lower version, but compaction
keeps it alone, and a reader that begins at the topic's start takes it for the last word.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from services.mail_ingest.metrics import LATE_MESSAGES
from services.mail_ingest.store.published_states import DocumentState
from shared.broker import TableChunk
from shared.clock import to_micros
from shared.messages import InvalidMessage, TombstoneMessage, ValidMessage
from shared.topics import TOMBSTONE_RETENTION

log = logging.getLogger(__name__)

FORGOTTEN_AFTER = TOMBSTONE_RETENTION - timedelta(days=1)
"""The document of a gone item is deleted about when its tombstone is: later it may be missing."""


class PublishedStates(Protocol):
    """The documents behind one topic: `ItemStates` or `MailboxStates`."""

    async def find(self, keys: Collection[Any]) -> dict[Any, DocumentState]:
        """The states of those that exist."""
        ...

    async def overrule(self, versions: Mapping[Any, int]) -> int:
        """Makes those that are published at these versions pending again."""
        ...

    async def make_due(self, keys: Collection[Any]) -> None:
        """Has a worker publish what is pending of them."""
        ...


@dataclass(slots=True)
class _Undecided:
    """The last message of a key in the order of the log, whose document has another version.

    Attributes:
        published: the version at which the document was published when it was looked at last.
    """

    message: ValidMessage[Any, Any]
    published: int | None = None


class LateMessages:
    """Looks at the messages of one topic that this service writes, in the order of its log."""

    def __init__(self, name: str, states: PublishedStates) -> None:
        self._name = name
        self._states = states
        self._undecided: dict[Any, _Undecided] = {}
        self._offsets: dict[int, int] = {}

    def add(self, chunk: TableChunk[Any, Any]) -> None:
        """Adds the next messages of the log."""
        self._offsets |= {tp.partition: position for tp, position in chunk.positions.items()}
        for message in chunk.messages:
            if not isinstance(message, InvalidMessage):
                self._undecided[message.key] = _Undecided(message)

    async def decide(self, now: datetime) -> bool:
        """Compares the messages that are not decided with their documents; called at the end of the log.

        A document that is newer than the last message of its key is published, or will be. If it was
        published at the last call already, its own message is in the log before this end: the last message
        of the key has come after it, and is late.

        Returns:
            False when a message is newer than its document: the database is an older copy.
        """
        if not self._undecided:
            return True
        documents = await self._states.find(self._undecided)
        for key, undecided in self._undecided.items():
            if is_newer(undecided.message, documents[key].version if key in documents else None, now):
                return False
        for key in [key for key, each in self._undecided.items() if _is_decided(each, documents.get(key))]:
            del self._undecided[key]
        await self._decide_others(documents)
        return True

    async def _decide_others(self, documents: Mapping[Any, DocumentState]) -> None:
        """Overrules what is late, and has the rest published."""
        late: dict[Any, int] = {}
        pending: list[Any] = []
        for key, undecided in self._undecided.items():
            document = documents[key]
            if document.publish_pending:
                pending.append(key)
            elif undecided.published == document.version:
                late[key] = document.version
            undecided.published = None if document.publish_pending else document.version
        if late:
            count = await self._states.overrule(late)
            LATE_MESSAGES.labels(self._name).inc(count)
            log.warning(
                "late messages found, overruling them", extra={"topic": self._name, "messages": count}
            )
        if pending:
            await self._states.make_due(pending)

    @property
    def decided_before(self) -> dict[int, int]:
        """Number of each partition -> the offset before which nothing is left to decide."""
        offsets = dict(self._offsets)
        for undecided in self._undecided.values():
            position = undecided.message.position
            offsets[position.partition] = min(offsets[position.partition], position.offset)
        return offsets


def _is_decided(undecided: _Undecided, document: DocumentState | None) -> bool:
    return document is None or document.version == undecided.message.version


def is_newer(message: ValidMessage[Any, Any], version: int | None, now: datetime) -> bool:
    """True when a message is newer than its document.

    Args:
        message: a value or a tombstone.
        version: of the document; None: there is none.
        now: the document of an item that has been gone for long may be deleted.
    """
    if version is not None:
        return message.version > version
    is_forgotten = message.version < to_micros(now - FORGOTTEN_AFTER)
    return not (isinstance(message, TombstoneMessage) and is_forgotten)
