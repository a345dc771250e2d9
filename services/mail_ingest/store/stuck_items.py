"""The collection `stuck_items`: items that Graph does not return, with their retry times."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from datetime import datetime

from services.mail_ingest.domain.stuck_items import NOT_FOUND_YET, StuckItem
from shared.keys import ItemKey, MailboxKey, join_key, split_key
from shared.mongodb import ASCENDING, Document, IndexModel, MongoCollection, MongoDatabase, UpdateOne

from .documents import STUCK_ITEM
from .key_order import read_page

IS_LISTED: Document = {"reason": {"$ne": NOT_FOUND_YET}}
"""The items that administrators see."""
IS_SOUGHT: Document = {"reason": NOT_FOUND_YET}
"""The others: Graph does not find them yet."""


class StuckItemCollection:
    """The stuck items of all mailboxes."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection: MongoCollection = database.collection("stuck_items")

    async def create_indexes(self) -> None:
        """Creates the indexes that are missing."""
        await self._collection.create_indexes(
            [
                IndexModel([("owner", ASCENDING), ("retry_at", ASCENDING)]),
                IndexModel([("reason", ASCENDING)]),
            ]
        )

    async def find(self, owner: MailboxKey, items: Collection[str]) -> dict[str, StuckItem]:
        """Those of these items that are stuck, by item."""
        return {stuck.item: stuck for stuck in await self._read(_query([owner], items))}

    async def find_due(
        self, owner: MailboxKey, now: datetime, limit: int, *, sought: bool = False
    ) -> list[StuckItem]:
        """Items whose retry time has come, the longest due ones first; only sought ones, or only others."""
        return await self._read({**_query([owner]), **_of_class(sought), "retry_at": {"$lte": now}}, limit)

    async def find_page(self, tenant: str | None, after: ItemKey | None, limit: int) -> list[StuckItem]:
        """The next stuck items that administrators see, of a tenant or of all, in the order of their keys."""
        page = await read_page(self._collection, tenant, after and join_key(after), limit, IS_LISTED)
        return [_read(document) for document in page]

    async def find_ids(self, owner: MailboxKey) -> AbstractSet[str]:
        """The ids of a mailbox's stuck items."""
        found = self._collection.find(_query([owner]), {"_id": 1})
        return {split_key(ItemKey, document["_id"]).item async for document in found}

    async def next_retry(self, owner: MailboxKey, *, sought: bool = False) -> datetime | None:
        """When the next of these items of a mailbox is fetched again."""
        document = await self._collection.find_one(
            {**_query([owner]), **_of_class(sought)}, {"retry_at": 1}, sort=[("retry_at", ASCENDING)]
        )
        return document["retry_at"] if document else None

    async def save(self, stuck: Collection[StuckItem]) -> None:
        """Stores stuck items in the place of their former states."""
        await self._collection.bulk_write(
            [
                UpdateOne({"_id": _id(each.owner, each.item)}, {"$set": STUCK_ITEM.write(each)}, upsert=True)
                for each in stuck
            ]
        )

    async def make_due(self, owner: MailboxKey, item: str | None, now: datetime) -> int:
        """Makes one stuck item of a mailbox due, or all that administrators see.

        Returns:
            The number of these items.
        """
        query = {**_query([owner], None if item is None else [item]), **IS_LISTED}
        result = await self._collection.update_many(query, {"$set": STUCK_ITEM.write_fields(retry_at=now)})
        return result.matched

    async def drop(self, owner: MailboxKey, item: str | None) -> int:
        """Deletes one stuck item of a mailbox, or all that administrators see; returns how many."""
        query = _query([owner], None if item is None else [item])
        return await self._collection.delete_many({**query, **IS_LISTED})

    async def delete(self, owner: MailboxKey, items: Collection[str] | None = None) -> int:
        """Deletes these stuck items of a mailbox, or all of them; returns how many there were."""
        return await self._collection.delete_many(_query([owner], items))

    async def count_by_reason(self) -> dict[str, int]:
        """The stuck items of all mailboxes, by reason."""
        by_index: list[Document] = [{"$match": {"reason": {"$gt": ""}}}]
        groups = self._collection.aggregate([*by_index, {"$group": {"_id": "$reason", "count": {"$sum": 1}}}])
        return {row["_id"]: row["count"] async for row in groups}

    async def _read(self, query: Document, limit: int = 0) -> list[StuckItem]:
        order = [("owner", ASCENDING), ("retry_at", ASCENDING)]
        found = self._collection.find(query, sort=order, limit=limit)
        return [_read(document) async for document in found]


def _of_class(sought: bool) -> Document:  # the name of the function names it
    return IS_SOUGHT if sought else IS_LISTED


def _read(document: Document) -> StuckItem:
    return STUCK_ITEM.read(document, split_key(ItemKey, document["_id"]).item)


def _query(owners: Collection[MailboxKey], items: Collection[str] | None = None) -> Document:
    query: Document = {"owner": {"$in": [join_key(owner) for owner in owners]}}
    if items is not None:
        query["_id"] = {"$in": [_id(owner, item) for owner in owners for item in items]}
    return query


def _id(owner: MailboxKey, item: str) -> str:
    return join_key(ItemKey(owner.tenant, owner.mailbox, item))
