"""The versions of documents beside those of their messages: for items and for mailboxes alike."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from shared.keys import ItemKey, MailboxKey, join_key
from shared.mongodb import MongoCollection, MongoDatabase, UpdateOne

from .pipelines import MailboxPipelines

Key = TypeVar("Key", ItemKey, MailboxKey)


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The version of a document, and whether Kafka may lack it.

    Attributes:
        since: when the status of a mailbox began; None: it is an item.
    """

    version: int
    publish_pending: bool
    since: datetime | None = None


class ItemStates:
    """The items, whose mailboxes have a due time for what is pending."""

    def __init__(self, database: MongoDatabase, pipelines: MailboxPipelines) -> None:
        self._items = database.collection("items")
        self._mailboxes = database.collection("mailboxes")
        self._pipelines = pipelines

    async def find(self, keys: Collection[ItemKey]) -> dict[ItemKey, DocumentState]:
        """The states of the items that have a document."""
        return await _find(self._items, keys)

    async def overrule(self, versions: Mapping[ItemKey, int]) -> int:
        """Makes items that are published at these versions pending again, under higher ones.

        Returns:
            How many there were.
        """
        raised = {"$set": {"publish_pending": True}, "$inc": {"version": 1}}
        writes = [
            UpdateOne({"_id": join_key(key), "version": version, "publish_pending": False}, raised)
            for key, version in versions.items()
        ]
        count = (await self._items.bulk_write(writes)).matched
        await self.make_due(versions)
        return count

    async def make_due(self, keys: Collection[ItemKey]) -> None:
        """Has a worker publish what is pending; a mailbox that is due already stays as it is."""
        ids = {join_key(MailboxKey(key.tenant, key.mailbox)) for key in keys}
        await self._mailboxes.update_many(
            {"_id": {"$in": list(ids)}, "pending_items_due": None}, self._pipelines.mark_items_pending()
        )


class MailboxStates:
    """The mailboxes, which are due while they are pending."""

    def __init__(self, database: MongoDatabase, pipelines: MailboxPipelines) -> None:
        self._mailboxes = database.collection("mailboxes")
        self._pipelines = pipelines

    async def find(self, keys: Collection[MailboxKey]) -> dict[MailboxKey, DocumentState]:
        """The states of the mailboxes that have a document."""
        return await _find(self._mailboxes, keys)

    async def overrule(self, versions: Mapping[MailboxKey, int]) -> int:
        """Makes mailboxes that are published at these versions pending again, under higher ones.

        Returns:
            How many there were.
        """
        writes = [
            UpdateOne(
                {"_id": join_key(key), "version": version, "publish_pending": False},
                self._pipelines.record({}, version + 1),
            )
            for key, version in versions.items()
        ]
        return (await self._mailboxes.bulk_write(writes)).matched

    async def make_due(self, keys: Collection[MailboxKey]) -> None:
        """Has a worker publish what is pending."""
        await self._mailboxes.update_many(
            {"_id": {"$in": [join_key(key) for key in keys]}, "publish_pending": True},
            self._pipelines.set_and_schedule({"publish_pending": True}),
        )


async def _find(collection: MongoCollection, keys: Collection[Key]) -> dict[Key, DocumentState]:
    by_id = {join_key(key): key for key in keys}
    compared = {"version": 1, "publish_pending": 1, "since": 1}
    found = collection.find({"_id": {"$in": list(by_id)}}, compared)
    return {
        by_id[document["_id"]]: DocumentState(
            document["version"], document["publish_pending"], document.get("since")
        )
        async for document in found
    }
