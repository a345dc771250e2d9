"""The writes of a recovery: documents get the states that the topics have, where those are newer.

All of them may be repeated, and none changes a document that has moved on meanwhile.
"""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime

from services.mail_ingest.domain.items import CapturedItem
from shared.clock import next_version
from shared.events import MailboxStatus
from shared.keys import ItemKey, MailboxKey, join_key
from shared.leases import NOW
from shared.mongodb import Document, DuplicateDocumentError, MongoCollection, MongoDatabase, UpdateOne

from .documents import ITEM, MAILBOX, Mailbox
from .key_order import walk
from .pipelines import MailboxPipelines

RECOVERY = "recovery"
"""The writer of an item that was taken in."""
PUBLISHED_FIELDS = (
    "status",
    "reason",
    "since",
    "enrolled_at",
    "complete_as_of",
    "missed_by_notifications",
    "refused_kinds",
    "no_notifications",
    "version",
    "publish_pending",
)
"""Fields of a mailbox that its message has, or that follow from it."""
BEGINS_ANEW: Document = {
    "window_due": NOW,
    "items_dropped_at": NOW,
    "addresses_read_at": None,
    "folders_read_at": None,
    "next_expiry_at": NOW,
    "pending_items_due": NOW,
    "subscriptions_due_at": None,
    "retry_at": None,
    "window_retry_at": None,
}
"""What a mailbox needs after a recovery: its window is read, with and without MAIL_INGEST_RECONCILE; what has
expired, is pending, or belongs to a removed mailbox is published; and the subscriptions are renewed."""


class RecoveredStates:
    """The collections that a recovery writes."""

    def __init__(self, database: MongoDatabase, pipelines: MailboxPipelines) -> None:
        self._mailboxes: MongoCollection = database.collection("mailboxes")
        self._items: MongoCollection = database.collection("items")
        self._subscriptions: MongoCollection = database.collection("subscriptions")
        self._pipelines = pipelines

    # -- taking in --------------------------------------------------------------------------------

    async def take_in_mailboxes(self, states: Collection[Mailbox]) -> None:
        """Gives mailboxes the states that the topic has, where the stored ones are older, or missing."""
        inserted = [
            UpdateOne({"_id": join_key(each.key)}, {"$setOnInsert": MAILBOX.write(each)}, upsert=True)
            for each in states
        ]
        with contextlib.suppress(DuplicateDocumentError):  # another replica has inserted them
            await self._mailboxes.bulk_write(inserted)
        await self._mailboxes.bulk_write(
            [
                UpdateOne(_is_behind(each), self._pipelines.set_and_schedule(_taken_in(each)))
                for each in states
            ]
        )

    async def overrule_mailboxes(self, versions: Mapping[MailboxKey, int]) -> None:
        """Makes mailboxes whose topic has these greater versions of earlier statuses pending above them."""
        await self._mailboxes.bulk_write(
            [
                UpdateOne(
                    {"_id": join_key(key), "version": {"$lt": version}},
                    self._pipelines.record({}, version + 1),
                )
                for key, version in versions.items()
            ]
        )

    async def take_in_items(self, states: Mapping[ItemKey, CapturedItem]) -> None:
        """Gives items the states that the topic has, where the stored ones are older, or missing."""
        written = {key: {**ITEM.write(state), **_owner(key)} for key, state in states.items()}
        inserted = [
            UpdateOne({"_id": join_key(key)}, {"$setOnInsert": document}, upsert=True)
            for key, document in written.items()
        ]
        with contextlib.suppress(DuplicateDocumentError):  # as above
            await self._items.bulk_write(inserted)
        await self._items.bulk_write(
            [
                UpdateOne({"_id": join_key(key), "version": {"$lt": states[key].version}}, {"$set": document})
                for key, document in written.items()
            ]
        )

    # -- what the topics no longer have -----------------------------------------------------------

    async def walk_published_mailboxes(self) -> AsyncIterator[list[str]]:
        """The keys of the mailboxes whose state Kafka has acknowledged, page by page."""
        async for page in walk(self._mailboxes, {"publish_pending": False}):
            yield page

    async def walk_published_items(self) -> AsyncIterator[list[str]]:
        """The keys of the live items whose state Kafka has acknowledged, page by page."""
        async for page in walk(self._items, {"gone": None, "publish_pending": False}):
            yield page

    async def remove_mailboxes(self, keys: Collection[str], before: int, now: datetime) -> int:
        """Removes mailboxes that the topic has no longer, if their versions are lower than `before`.

        Returns:
            How many there were.
        """
        changes = MAILBOX.write_fields(
            status=MailboxStatus.REMOVED, since=now, reason=None, refused_kinds=(), no_notifications=None
        )
        query = {
            "_id": {"$in": list(keys)},
            "publish_pending": False,
            "status": {"$ne": MailboxStatus.REMOVED},
            "version": {"$lt": before},
        }
        return (
            await self._mailboxes.update_many(query, self._pipelines.record(changes, next_version(now)))
        ).matched

    async def withdraw_items(self, keys: Collection[str], before: int, now: datetime) -> int:
        """Records items that the topic has no longer as gone, if their versions are lower than `before`.

        Returns:
            How many there were.
        """
        query = {
            "_id": {"$in": list(keys)},
            "gone": None,
            "publish_pending": False,
            "version": {"$lt": before},
        }
        gone = {"gone": now, "digest": "", "publish_pending": True, "resent": True}
        version = {"$max": [next_version(now), {"$add": ["$version", 1]}]}
        return (await self._items.update_many(query, [{"$set": {**gone, "version": version}}])).matched

    # -- reconciling ------------------------------------------------------------------------------

    async def begin_anew(self, keys: Collection[MailboxKey]) -> None:
        """Has mailboxes reconciled: what was deleted meanwhile gets its tombstone."""
        ids = [join_key(key) for key in keys]
        await self._subscriptions.update_many({"owner": {"$in": ids}}, {"$set": {"renew_at": None}})
        await self._mailboxes.update_many(
            {"_id": {"$in": ids}}, self._pipelines.set_and_schedule(BEGINS_ANEW)
        )


def _owner(key: ItemKey) -> Document:
    return {"owner": join_key(MailboxKey(key.tenant, key.mailbox)), "by": RECOVERY}


def _is_behind(mailbox: Mailbox) -> Document:
    """Matches the stored mailbox if its status is not a later one, and it is not this state already."""
    is_older: list[Document] = [{"version": {"$lt": mailbox.version}}, {"since": {"$lt": mailbox.since}}]
    return {"_id": join_key(mailbox.key), "since": {"$lte": mailbox.since}, "$or": is_older}


def _taken_in(mailbox: Mailbox) -> Document:
    """The published fields of a mailbox.

    They are pending, under one more version, where the stored version is greater: an older copy of the
    database was worked on, and Kafka may have what came of it.
    """
    written = MAILBOX.write(mailbox)
    fields: Document = {name: {"$literal": written[name]} for name in PUBLISHED_FIELDS}
    is_lower = {"$lt": ["$version", mailbox.version]}
    fields["version"] = {"$cond": [is_lower, mailbox.version, {"$add": ["$version", 1]}]}
    fields["publish_pending"] = {"$not": [is_lower]}
    return fields
