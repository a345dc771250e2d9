"""The collection `followed_items`: ids, versions and digests of tracked items whose changes are answered."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from services.mail_ingest.domain.followed_items import FOLLOWED_AFTER_NAMED, REMEMBERED_TIME, FollowedItem
from services.mail_ingest.domain.items import CapturedItem
from shared.events import ActivityKind, Followed
from shared.keys import ItemKey, MailboxKey, join_key, split_key
from shared.mongodb import ASCENDING, Document, IndexModel, MongoCollection, MongoDatabase, UpdateOne

from .documents import FOLLOWED_ITEM

MAX_FOLLOWED_ITEMS = 2000
"""Of one mailbox; tracking follows an item for a few days, so that more are a fault."""


class FollowedItemCollection:
    """The followed items of all mailboxes.

    Args:
        database: of this service.
        max_items: of one mailbox.
    """

    def __init__(self, database: MongoDatabase, max_items: int = MAX_FOLLOWED_ITEMS) -> None:
        self._collection: MongoCollection = database.collection("followed_items")
        self._max_items = max_items

    async def create_indexes(self) -> None:
        """Creates the indexes that are missing; one of them deletes what is no longer followed."""
        await self._collection.create_indexes(
            [
                IndexModel([("owner", ASCENDING)]),
                IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
            ]
        )

    async def follow(self, owner: MailboxKey, named: Sequence[Followed], now: datetime) -> list[FollowedItem]:
        """Records the items that tracking names, with the versions that it has.

        An answer that tracking does not have is forgotten here, so that it is given again.

        Returns:
            The items whose present state has to be compared.
        """
        free = self._max_items - await self._collection.count({"owner": join_key(owner), "named": True})
        known = {each.item for each in await self.find(owner, [each.item for each in named], now)}
        new = [each for each in named if each.item not in known]
        named = [each for each in named if each.item in known] + new[: max(free, 0)]
        await self._collection.bulk_write([_naming(owner, each, now) for each in named])
        versions: list[UpdateOne] = []
        for each in named:
            document_id = _id(owner, each.item)
            compare_again = FOLLOWED_ITEM.write_fields(change_key="", digest="", gone=False)
            other = {"_id": document_id, "version": {"$ne": each.version}}
            versions.append(UpdateOne(other, {"$set": compare_again, "$max": {"version": each.version}}))
        await self._collection.bulk_write(versions)
        followed = await self.find(owner, [each.item for each in named], now)
        return [each for each in followed if not each.change_key and not each.gone]

    async def remember(
        self, owner: MailboxKey, kind: ActivityKind, item: str, version: int, digest: str, now: datetime
    ) -> None:
        """Remembers the content that answers a track request, until tracking names the item.

        So a change that shows nothing is known from the first one on.
        """
        until = now + REMEMBERED_TIME
        remembered = FOLLOWED_ITEM.write(FollowedItem(item, kind, version, until, digest=digest, named=False))
        document = {**remembered, "owner": join_key(owner), "expires_at": until}
        is_named = {"$eq": ["$named", True]}
        await self._collection.update_one(
            {"_id": _id(owner, item)},
            [{"$replaceWith": {"$cond": [is_named, "$$ROOT", {"$mergeObjects": ["$$ROOT", document]}]}}],
            upsert=True,
        )

    async def start_from(self, owner: MailboxKey, captured: Iterable[CapturedItem]) -> None:
        """Nothing has to be compared for the items that are captured at the version that tracking has.

        An item that was compared meanwhile has another version or change key, and stays as it is.
        """
        await self._collection.bulk_write(
            [
                UpdateOne(
                    {"_id": _id(owner, each.item), "version": each.version, "change_key": ""},
                    {"$set": FOLLOWED_ITEM.write_fields(change_key=each.change_key)},
                )
                for each in captured
            ]
        )

    async def find(self, owner: MailboxKey, items: Collection[str], now: datetime) -> list[FollowedItem]:
        """Those of these items that are followed now."""
        ids = [_id(owner, item) for item in items]
        return await self._read({"_id": {"$in": ids}, "named": True, "expires_at": {"$gt": now}})

    async def find_all(self, owner: MailboxKey, now: datetime) -> list[FollowedItem]:
        """The items of a mailbox that are followed now."""
        return await self._read({"owner": join_key(owner), "named": True, "expires_at": {"$gt": now}})

    async def hand_out_version(self, owner: MailboxKey, item: str, minimum: int) -> int | None:
        """A version for an answer, greater than all before; None when the item is no longer followed."""
        next_version = {"$max": [minimum, {"$add": ["$version", 1]}]}
        document = await self._collection.find_one_and_update(
            {"_id": _id(owner, item)}, [{"$set": {"version": next_version}}]
        )
        return document["version"] if document else None

    async def record_answer(self, owner: MailboxKey, item: str, version: int, **state: Any) -> None:
        """Kafka has the answer of this version; a later answer is recorded by the worker that gives it.

        Args:
            owner: the mailbox.
            item: the item.
            version: of the answer.
            state: `change_key`, `digest` and `gone` of the answered state.
        """
        await self._collection.update_one(
            {"_id": _id(owner, item), "version": version}, {"$set": FOLLOWED_ITEM.write_fields(**state)}
        )

    async def record_check(self, owner: MailboxKey, items: Collection[str], now: datetime) -> None:
        """These items were requested by their ids."""
        await self._collection.update_many(
            {"_id": {"$in": [_id(owner, item) for item in items]}},
            {"$set": FOLLOWED_ITEM.write_fields(checked_at=now)},
        )

    async def delete(self, owner: MailboxKey, items: Collection[str] | None = None) -> int:
        """Deletes these items of a mailbox, or all of them; returns how many there were."""
        query: Document = {"owner": join_key(owner)}
        if items is not None:
            query["_id"] = {"$in": [_id(owner, item) for item in items]}
        return await self._collection.delete_many(query)

    async def _read(self, query: Document) -> list[FollowedItem]:
        return [
            FOLLOWED_ITEM.read(document, split_key(ItemKey, document["_id"]).item)
            async for document in self._collection.find(query)
        ]


def _naming(owner: MailboxKey, named: Followed, now: datetime) -> UpdateOne:
    """Stores an item that is named for the first time, and follows it for another day."""
    new = FollowedItem(named.item, named.kind, named.version, named.until, named.sensitivity)
    renewed = FOLLOWED_ITEM.write_fields(until=named.until, sensitivity=named.sensitivity, named=True)
    on_insert = {name: value for name, value in FOLLOWED_ITEM.write(new).items() if name not in renewed}
    expires_at = min(named.until, now + FOLLOWED_AFTER_NAMED)
    return UpdateOne(
        {"_id": _id(owner, named.item)},
        {
            "$set": {**renewed, "expires_at": expires_at},
            "$setOnInsert": {**on_insert, "owner": join_key(owner)},
        },
        upsert=True,
    )


def _id(owner: MailboxKey, item: str) -> str:
    return join_key(ItemKey(owner.tenant, owner.mailbox, item))
