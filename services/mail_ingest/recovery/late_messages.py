"""Finds messages that Kafka has stored after newer ones of the same key, and has them overruled.

A send past its deadline may be delivered any time later: by a broker that stood still, and after the process
that sent it has ended, so that nobody acknowledges it. Readers ignore it by its lower version, but compaction
keeps it alone, and a reader that begins at the topic's start takes it for the last word.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from services.mail_ingest.metrics import LATE_MESSAGES
from services.mail_ingest.store.published_states import DocumentState
from shared.broker import TableChunk
from shared.clock import to_micros
from shared.events import MailboxChanged
from shared.messages import InvalidMessage, MessagePosition, TombstoneMessage, ValidMessage, ValueMessage
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


@dataclass(frozen=True, slots=True)
class MessageState:
    """What is compared of a message.

    Attributes:
        since: when the status of a mailbox began; None: it is an item's.
    """

    version: int
    is_tombstone: bool
    since: datetime | None

    @classmethod
    def of(cls, message: ValidMessage[Any, Any]) -> "MessageState":
        """That of a value or a tombstone."""
        value = message.value if isinstance(message, ValueMessage) else None
        since = value.since if isinstance(value, MailboxChanged) else None
        return cls(message.version, isinstance(message, TombstoneMessage), since)


@dataclass(slots=True)
class _Undecided:
    """The last message of a key in the order of the log, whose document has another version.

    Attributes:
        state: what is compared of it. Its `since` is the greatest one of the key's messages.
        position: of the message.
        published: the version at which the document was published when it was looked at last.
    """

    state: MessageState
    position: MessagePosition
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
            if isinstance(message, InvalidMessage):
                continue
            state = MessageState.of(message)
            if before := self._undecided.get(message.key):
                state = replace(state, since=later(state.since, before.state.since))
            self._undecided[message.key] = _Undecided(state, message.position)

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
            if is_newer(undecided.state, documents.get(key), now):
                return False
        self._forget_decided(documents, list(self._undecided))
        await self._decide_others(documents)
        return True

    async def take_in(self, chunk: TableChunk[Any, Any]) -> None:
        """Adds the next messages, which were taken in, without those whose documents have their versions."""
        self.add(chunk)
        keys = {message.key for message in chunk.messages if message.key in self._undecided}
        self._forget_decided(await self._states.find(keys), keys)

    async def overrule_rest(self) -> None:
        """Overrules what is not decided; called when the whole log was taken in.

        Their documents are newer than the last messages of their keys. One whose own message has come behind
        the end of this reading is published once more.
        """
        documents = await self._states.find(self._undecided)
        await self._overrule(
            {key: each.version for key, each in documents.items() if not each.publish_pending}
        )

    def _forget_decided(self, documents: Mapping[Any, DocumentState], keys: Collection[Any]) -> None:
        for key in keys:
            if _is_decided(self._undecided[key], documents.get(key)):
                del self._undecided[key]

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
        await self._overrule(late)
        if pending:
            await self._states.make_due(pending)

    async def _overrule(self, late: Mapping[Any, int]) -> None:
        if not late:
            return
        count = await self._states.overrule(late)
        LATE_MESSAGES.labels(self._name).inc(count)
        log.warning("late messages found, overruling them", extra={"topic": self._name, "messages": count})

    @property
    def decided_before(self) -> dict[int, int]:
        """Number of each partition -> the offset before which nothing is left to decide."""
        offsets = dict(self._offsets)
        for undecided in self._undecided.values():
            position = undecided.position
            offsets[position.partition] = min(offsets[position.partition], position.offset)
        return offsets


def _is_decided(undecided: _Undecided, document: DocumentState | None) -> bool:
    return document is None or document.version == undecided.state.version


def is_newer(message: MessageState, document: DocumentState | None, now: datetime) -> bool:
    """True when a message proves that its document is an older copy.

    Neither the version nor `since` of a document goes back. So a message with a later `since` proves it, too,
    when the document was changed after it had been put back, and has a greater version for that.

    Args:
        message: a value or a tombstone.
        document: None: there is none.
        now: the document of an item that has been gone for long may be deleted.
    """
    if document is not None:
        return message.version > document.version or later(message.since, document.since) != document.since
    is_forgotten = message.version < to_micros(now - FORGOTTEN_AFTER)
    return not (message.is_tombstone and is_forgotten)


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """The later of two times, or the one that there is."""
    return max((time for time in (one, other) if time is not None), default=None)
