"""What the topics say, into MongoDB.

Each batch is one bulk write, and after it its position. A replay of any of it, or all of it, changes
nothing: the conditions are in `store.py`.
"""

import logging
from typing import Any

from aiokafka import TopicPartition

from shared.broker import Batch
from shared.bus import Received
from shared.clock import Clock, micros
from shared.errors import Rejected, Transient
from shared.events import ActivityMatched, ContentAnswered, ContentUpdated, MailboxChanged
from shared.records import AnyRecord

from .domain.activity import Claim, ClaimState, activity_id, track
from .metrics import CLAIMS, RECORDS_IGNORED, SUGGESTIONS, TRACKED_AFTER
from .outbox import Outbox
from .positions import Positions
from .store import Document, Session, Store, mailbox_document, record_document, suggestion_document

log = logging.getLogger(__name__)


class Handlers:
    """One handler a topic, each with the positions of its own subscription."""

    def __init__(self, store: Store, outbox: Outbox, clock: Clock) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self.matches, self.records, self.mailboxes, self.content = (Positions(store, clock) for _ in range(4))

    async def on_matches(self, batch: Batch[ActivityMatched]) -> None:
        """An item's complete list of matches: her private suggestion, or its withdrawal."""
        now, epochs = self._clock(), self.matches.epochs()
        greatest: dict[str, Document] = {}
        for message in batch.good:
            tp = _partition(message)
            if message.epoch < epochs[tp]:
                # A matcher that slept and woke: its partition has another owner, who has said all that is true.
                SUGGESTIONS.labels("old_epoch").inc()
                continue
            epochs[tp] = message.epoch
            try:
                document = suggestion_document(message, now)
            except Rejected as reason:
                batch.reject(message, reason)
                continue
            other = greatest.get(document["_id"])
            if other is None or (other["epoch"], other["count"]) <= (document["epoch"], document["count"]):
                greatest[document["_id"]] = document
        documents = list(greatest.values())
        written = await self._store.suggestions.put(documents)
        await self._store.dismissals.seen(documents)
        SUGGESTIONS.labels("written").inc(written)
        SUGGESTIONS.labels("stale").inc(len(documents) - written)
        await self.matches.done(batch, epochs)

    async def on_records(self, batch: Batch[AnyRecord]) -> None:
        """Names and readers; where one changes, what is tracked on the record is announced again."""
        latest: dict[tuple[str, str, int], Document] = {}
        for message in batch.messages:
            if not message.key:
                continue  # refused with its key: it is no record's last word
            document = record_document(message, self.records.taken(_partition(message)))
            latest[document["_id"], *document["source"]] = document
        written = await self._store.records.put(list(latest.values()))
        RECORDS_IGNORED.inc(len(latest) - written)
        keys = sorted({key for key, *_ in latest})
        if changes := await self._store.records.changed(keys):
            if await self._store.tracked.announce_again(changes, micros(self._clock())):
                self._outbox.wake()
            await self._store.records.announced(changes)
        await self.records.done(batch)

    async def on_mailboxes(self, batch: Batch[MailboxChanged]) -> None:
        """Whether a mailbox is captured, and if not, why."""
        latest: dict[str, Document] = {}
        for message in batch.good:
            document = mailbox_document(message)
            other = latest.get(document["_id"])
            if other is None or other["version"] <= document["version"]:
                latest[document["_id"]] = document
        await self._store.mailboxes.put(list(latest.values()))
        await self.mailboxes.done(batch)

    async def on_content(self, batch: Batch[ContentAnswered | ContentUpdated]) -> None:
        """The content for a claim, or why it cannot be had. Nothing is followed yet, so an update is no news."""
        for message in batch.good:
            try:
                await self._answered(message)
            except Rejected as reason:
                batch.reject(message, reason)
        await self.content.done(batch)

    async def _answered(self, message: Received[ContentAnswered | ContentUpdated]) -> None:
        value, now = message.value, self._clock()
        if value is None:
            raise Rejected("an answer is never a tombstone")
        if isinstance(value, ContentUpdated):
            return
        async with self._store.transaction() as session:
            claim = await self._store.claims.one(value.claim, session)
            if claim is None or not claim.is_open(now):
                CLAIMS.labels("dropped").inc()
                return
            if claim.item != (*message.key, value.item):
                raise Rejected("this claim is on another item", "claim")
            await self._settle(claim, value, session)
        if value.content:
            CLAIMS.labels("tracked").inc()
            TRACKED_AFTER.observe((now - claim.opened_at).total_seconds())
            self._outbox.wake()
        else:
            CLAIMS.labels("failed").inc()
        log.info("a claim was answered", extra={"claim": claim.id})

    async def _settle(self, claim: Claim, value: ContentAnswered, session: Session) -> None:
        content = value.content
        if content is None:
            if not value.unavailable:
                raise Rejected("neither content nor a reason", "unavailable")
            await self._store.claims.settle(claim.id, ClaimState.FAILED, value.unavailable, session)
            return
        activity = content.activity
        if (activity.tenant, activity.mailbox, activity.item) != claim.item:
            raise Rejected("this claim is on another item", "content.activity")
        before = await self._store.tracked.one(activity.tenant, activity_id(content), session)
        after = track(before, claim.asks, content, self._clock())
        if after is not before and not await self._store.tracked.put(after, before, session):
            raise Transient("another replica tracked the same thing")
        await self._store.claims.settle(claim.id, ClaimState.DONE, session=session)


def _partition(message: Received[Any]) -> TopicPartition:
    return TopicPartition(message.at.topic, message.at.partition)
