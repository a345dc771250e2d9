"""Kafka in: the handlers of the topics, which store what they read in MongoDB.

Each batch is stored before its read position. A replay of a part of a topic, or of all of
it, changes nothing: the conditions are in `store/`.
"""

from typing import TypeAlias, assert_never

from shared.broker import Batch
from shared.clock import Clock
from shared.errors import InvalidMessageError
from shared.events import ActivityMatched, ContentAnswered, ContentUpdated, MailboxChanged
from shared.keys import ItemKey, MailboxKey, RecordKey
from shared.messages import TombstoneMessage, ValidMessage
from shared.records import AnyRecord

from .actions.complete_track import TrackCompletion
from .actions.update_tracked import SourceUpdates
from .metrics import RECORDS_IGNORED, SUGGESTIONS
from .publishing.following import FollowPublisher
from .publishing.relay import OutboxRelay
from .publishing.republication import Republisher, republish_changed_records
from .read_positions import ReadPositions, partition_of
from .store import (
    Document,
    Store,
    capture_status_document,
    record_document,
    suggestion_document,
)

ContentMessage: TypeAlias = ValidMessage[MailboxKey, ContentAnswered | ContentUpdated]


class Handlers:
    """One handler for each topic.

    Args:
        store: the database.
        relay: publishes what a handler records; a handler wakes it.
        following: publishes which items are followed; a handler wakes it.
        republisher: publishes tracked activities again; a handler wakes it.
        clock: the server's clock.

    Attributes:
        matches, records, mailboxes, content: read positions of the consumers of these topics.
    """

    def __init__(
        self,
        store: Store,
        relay: OutboxRelay,
        following: FollowPublisher,
        republisher: Republisher,
        clock: Clock,
        *,
        matches: ReadPositions,
        records: ReadPositions,
        mailboxes: ReadPositions,
        content: ReadPositions,
    ) -> None:
        self._store = store
        self._relay = relay
        self._following = following
        self._republisher = republisher
        self._clock = clock
        self._track_completion = TrackCompletion(store, relay, clock)
        self._source_updates = SourceUpdates(store, relay, clock)
        self.matches = matches
        self.records = records
        self.mailboxes = mailboxes
        self.content = content

    async def on_matches(self, batch: Batch[ItemKey, ActivityMatched]) -> None:
        """Stores an item's complete list of matches as a suggestion of its owner, or its withdrawal."""
        now, max_epochs = self._clock(), self.matches.max_epochs()
        greatest: dict[str, Document] = {}
        for message in batch.valid:
            tp = partition_of(message)
            if message.epoch < max_epochs[tp]:
                # A matcher that was paused and resumed: its partition has another owner, which has published
                # the present state.
                SUGGESTIONS.labels("old_epoch").inc()
                continue
            max_epochs[tp] = message.epoch
            try:
                generation = self.matches.generation(partition_of(message))
                document = suggestion_document(message, now, generation)
            except InvalidMessageError as error:
                batch.dead_letter(message, error)
                continue
            other = greatest.get(document["_id"])
            if other is None or _order(other) <= _order(document):
                greatest[document["_id"]] = document
        documents = list(greatest.values())
        written = await self._store.suggestions.upsert_newer(documents)
        await self._store.dismissals.extend_retention(documents)
        SUGGESTIONS.labels("written").inc(written)
        SUGGESTIONS.labels("stale").inc(len(documents) - written)
        await self.matches.advance(batch, max_epochs)

    async def on_records(self, batch: Batch[RecordKey, AnyRecord]) -> None:
        """Stores names and readers, and what has to be published again after their changes."""
        latest: dict[tuple[str, str, int], Document] = {}
        for message in batch.messages:
            if message.key is None:
                continue  # its key is invalid, so it is about no record
            generation = self.records.generation(partition_of(message))
            document = record_document(message.key, message, generation)
            latest[document["_id"], message.position.topic, message.position.partition] = document
        written = await self._store.records.upsert_later(list(latest.values()))
        RECORDS_IGNORED.inc(len(latest) - written)
        ids = sorted({record_id for record_id, *_ in latest})
        if await republish_changed_records(self._store, ids, self._clock()):
            self._republisher.wake()
        await self.records.advance(batch)

    async def on_mailboxes(self, batch: Batch[MailboxKey, MailboxChanged]) -> None:
        """Stores the state of capture of each mailbox."""
        latest: dict[str, Document] = {}
        for message in batch.valid:
            generation = self.mailboxes.generation(partition_of(message))
            document = capture_status_document(message, generation)
            other = latest.get(document["_id"])
            if other is None or other["version"] <= document["version"]:
                latest[document["_id"]] = document
        await self._store.capture_statuses.upsert_newer(list(latest.values()))
        await self.mailboxes.advance(batch)

    async def on_content(self, batch: Batch[MailboxKey, ContentAnswered | ContentUpdated]) -> None:
        """Closes track requests with their content, or with the reason why there is none.

        Updates of followed items are applied to their tracked activities.
        """
        for message in batch.valid:
            try:
                await self._on_content_message(message)
            except InvalidMessageError as error:
                batch.dead_letter(message, error)
        self._following.wake()  # once: its writes conflict with the transactions of this batch
        await self.content.advance(batch)

    async def _on_content_message(self, message: ContentMessage) -> None:
        if isinstance(message, TombstoneMessage):
            raise InvalidMessageError("an answer is never a tombstone")
        match message.value:
            case ContentAnswered():
                await self._track_completion.apply(message.key, message.version, message.value)
            case ContentUpdated():
                await self._source_updates.apply(message.key, message.version, message.value)
            case _:
                assert_never(message.value)


def _order(suggestion: Document) -> tuple[int, int]:
    return suggestion["epoch"], suggestion["sequence"]
