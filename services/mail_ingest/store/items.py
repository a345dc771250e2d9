"""The collection `items`: only ids, change keys, digests, versions and times of captured items."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from services.mail_ingest.domain.items import CapturedItem, ItemUpdate
from services.mail_ingest.domain.pacing import pause_after
from shared.keys import ItemKey, MailboxKey, join_key, split_key
from shared.mongodb import (
    ASCENDING,
    Document,
    DuplicateDocumentError,
    IndexModel,
    MongoCollection,
    MongoDatabase,
    UpdateOne,
)
from shared.topics import TOMBSTONE_RETENTION

from .documents import ITEM
from .key_order import walk
from .pipelines import acknowledge

GONE_ITEM_RETENTION: timedelta = TOMBSTONE_RETENTION
"""As long as Kafka keeps tombstones: for this time a gone item's version must be known."""

ITEMS_BETWEEN_PAUSES = 500
"""After so many documents other tasks go on: a mailbox may have tens of thousands."""


class ItemCollection:
    """The captured items of all mailboxes."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection: MongoCollection = database.collection("items")

    async def create_indexes(self) -> None:
        """Creates the indexes that are missing; one of them deletes what has been gone for long."""
        await self._collection.create_indexes(
            [
                IndexModel(
                    [("owner", ASCENDING), ("leaves_at", ASCENDING)], partialFilterExpression={"gone": None}
                ),
                IndexModel(
                    [("owner", ASCENDING), ("enters_at", ASCENDING)],
                    partialFilterExpression={"enters_at": {"$type": "date"}},
                ),
                IndexModel(
                    [("owner", ASCENDING)],
                    partialFilterExpression={"publish_pending": True},
                    name="publish_pending",
                ),
                IndexModel([("owner", ASCENDING)], name="owner"),
                IndexModel(
                    [("gone", ASCENDING)], expireAfterSeconds=int(GONE_ITEM_RETENTION.total_seconds())
                ),
            ]
        )

    async def find(self, owner: MailboxKey, items: Collection[str]) -> dict[str, CapturedItem]:
        """The stored states of these items, by item."""
        query = {"_id": {"$in": [_id(owner, item) for item in items]}}
        return {captured.item: captured for captured in await self._read(query)}

    async def find_live(self, owner: MailboxKey) -> list[CapturedItem]:
        """The items that are captured and not gone."""
        return await self._read({"owner": join_key(owner), "gone": None})

    async def count_live(self, owner: MailboxKey) -> int:
        """How many items are captured and not gone."""
        return await self._collection.count({"owner": join_key(owner), "gone": None})

    async def find_pending(
        self, owner: MailboxKey, limit: int, without: AbstractSet[str] = frozenset()
    ) -> list[CapturedItem]:
        """The items whose state is recorded and not acknowledged by Kafka, without some of them."""
        query: Document = {"owner": join_key(owner), "publish_pending": True}
        if without:
            query["_id"] = {"$nin": [_id(owner, item) for item in without]}
        return await self._read(query, limit)

    async def find_pending_tombstones(self, owner: MailboxKey, limit: int) -> list[CapturedItem]:
        """The pending items that are gone."""
        query = {"owner": join_key(owner), "publish_pending": True, "gone": {"$type": "date"}}
        return await self._read(query, limit)

    async def find_expired(self, owner: MailboxKey, now: datetime, limit: int) -> list[CapturedItem]:
        """Live items that have left the capture window."""
        query = {"owner": join_key(owner), "gone": None, "leaves_at": {"$lte": now}}
        return await self._read(query, limit)

    async def next_expiry(self, owner: MailboxKey) -> datetime | None:
        """When the next live item leaves the capture window."""
        document = await self._collection.find_one(
            {"owner": join_key(owner), "gone": None, "leaves_at": {"$ne": None}},
            {"leaves_at": 1},
            sort=[("leaves_at", ASCENDING)],
        )
        return document["leaves_at"] if document else None

    async def find_entering(self, owner: MailboxKey, now: datetime, limit: int) -> list[CapturedItem]:
        """Items that have entered the capture window by the clock."""
        query = {"owner": join_key(owner), "enters_at": {"$type": "date", "$lte": now}}
        return await self._read(query, limit)

    async def next_entry(self, owner: MailboxKey) -> datetime | None:
        """When the next item enters the capture window by the clock."""
        document = await self._collection.find_one(
            {"owner": join_key(owner), "enters_at": {"$type": "date"}},
            {"enters_at": 1},
            sort=[("enters_at", ASCENDING)],
        )
        return document["enters_at"] if document else None

    async def forget_entries(self, owner: MailboxKey, items: Collection[str], now: datetime) -> None:
        """Those of these items that should have entered by now, and have not, enter no more by the clock."""
        await self._collection.update_many(
            {"_id": {"$in": [_id(owner, item) for item in items]}, "enters_at": {"$lte": now}},
            {"$set": {"enters_at": None}},
        )

    async def count_by_owner(self, owners: Collection[MailboxKey]) -> dict[MailboxKey, int]:
        """Items of each of these mailboxes that has some, gone and refused ones included."""
        of_owners = {"$match": {"owner": {"$in": [join_key(owner) for owner in owners]}}}
        groups = self._collection.aggregate([of_owners, {"$group": {"_id": "$owner", "count": {"$sum": 1}}}])
        return {split_key(MailboxKey, row["_id"]): row["count"] async for row in groups}

    async def count_pending(self) -> int:
        """Items whose state Kafka has not acknowledged."""
        return await self._collection.count({"owner": {"$gt": ""}, "publish_pending": True})

    async def record(self, owner: MailboxKey, by: str, updates: Sequence[ItemUpdate]) -> AbstractSet[str]:
        """Records new states, each only if its document is still at the version that the update replaces.

        Args:
            owner: the mailbox.
            by: holder of the lease.
            updates: the new states.

        Returns:
            The items that were recorded. The others were changed by another worker meanwhile.
        """
        if not updates:
            return set()
        writes = [
            UpdateOne(
                {"_id": _id(owner, update.captured.item), "version": update.previous_version},
                {"$set": {**ITEM.write(update.captured), "owner": join_key(owner), "by": by}},
                upsert=not update.previous_version,
            )
            for update in updates
        ]
        try:
            result = await self._collection.bulk_write(writes)
            if result.matched + result.upserted == len(updates):
                return {update.captured.item for update in updates}
        except DuplicateDocumentError:
            pass  # another worker has stored some of them
        versions = {_id(owner, update.captured.item): update.captured.version for update in updates}
        found = self._collection.find({"_id": {"$in": list(versions)}, "by": by}, {"version": 1})
        return {
            split_key(ItemKey, document["_id"]).item
            async for document in found
            if document["version"] == versions[document["_id"]]
        }

    async def acknowledge(self, owner: MailboxKey, versions: Mapping[str, int]) -> bool:
        """Kafka has these versions of these items.

        Returns:
            False when an item was at another version: it is pending again, under a higher version.
        """
        is_published = {"$set": {"publish_pending": False, "resent": False}}
        published = [
            UpdateOne({"_id": _id(owner, item), "version": version}, is_published)
            for item, version in versions.items()
        ]
        if (await self._collection.bulk_write(published)).matched == len(published):
            return True
        await self._collection.bulk_write(
            [UpdateOne({"_id": _id(owner, item)}, acknowledge(version)) for item, version in versions.items()]
        )
        return False

    async def set_missing_counts(self, owner: MailboxKey, counts: Mapping[str, int]) -> None:
        """Sets how many windows in a row lacked these items."""
        await self._collection.bulk_write(
            [
                UpdateOne({"_id": _id(owner, item)}, {"$set": ITEM.write_fields(missing=count)})
                for item, count in counts.items()
            ]
        )

    async def mark_pending(self, owner: MailboxKey, now: datetime) -> int:
        """Records every live item of a mailbox as pending, some at a time.

        Also the gone ones that a reader may still show: a topic that was made anew lacks their tombstones.

        Returns:
            The number of these items.
        """
        count = 0
        is_published = {"$or": [{"gone": None}, {"leaves_at": {"$gt": now}}]}
        async for keys in walk(self._collection, is_published, join_key(owner)):
            count += (
                await self._collection.update_many(
                    {"_id": {"$in": keys}, **is_published},
                    {"$set": {"publish_pending": True, "resent": True}},
                )
            ).matched
        return count

    async def _read(self, query: Document, limit: int = 0) -> list[CapturedItem]:
        items = []
        began = time.monotonic()
        async for document in self._collection.find(query, limit=limit):
            items.append(ITEM.read(document, split_key(ItemKey, document["_id"]).item))
            if len(items) % ITEMS_BETWEEN_PAUSES == 0:
                await asyncio.sleep(pause_after(time.monotonic() - began))
                began = time.monotonic()
        return items


def _id(owner: MailboxKey, item: str) -> str:
    return join_key(ItemKey(owner.tenant, owner.mailbox, item))
