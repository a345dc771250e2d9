"""The collection `subscriptions`: the Graph subscriptions of all mailboxes."""

from collections.abc import Collection
from datetime import datetime

from services.mail_ingest.domain.subscriptions import GraphSubscription
from shared.keys import MailboxKey, join_key
from shared.mongodb import ASCENDING, Document, IndexModel, MongoCollection, MongoDatabase

from .documents import SUBSCRIPTION


class SubscriptionCollection:
    """The subscriptions that this service created."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection: MongoCollection = database.collection("subscriptions")

    async def create_indexes(self) -> None:
        """Creates the indexes that are missing."""
        await self._collection.create_indexes(
            [
                IndexModel([("graph_id", ASCENDING), ("client_state", ASCENDING)]),
                IndexModel([("owner", ASCENDING)]),
                IndexModel([("removed", ASCENDING), ("graph_id", ASCENDING)]),
            ]
        )

    async def find_by_owner(self, owner: MailboxKey) -> list[GraphSubscription]:
        """A mailbox's subscriptions."""
        return await self._read({"owner": join_key(owner)})

    async def find_notified(
        self, graph_ids: Collection[str], client_states: Collection[str]
    ) -> list[GraphSubscription]:
        """The subscriptions with one of these ids of Graph.

        Also those with one of these client states whose creation Graph has not answered yet: thousands may
        wait for Graph, and a stranger's notification must not read all of them.
        """
        being_created = {"graph_id": None, "client_state": {"$in": list(client_states)}}
        return await self._read({"$or": [{"graph_id": {"$in": list(graph_ids)}}, being_created]})

    async def count_active(self) -> int:
        """Subscriptions that Graph has not removed."""
        return await self._collection.count({"removed": False, "graph_id": {"$gt": ""}})

    async def insert(self, subscription: GraphSubscription) -> None:
        """Stores a subscription before Graph is requested to create it."""
        await self._collection.insert_one({"_id": subscription.key, **SUBSCRIPTION.write(subscription)})

    async def set_created(self, key: str, graph_id: str, renew_at: datetime, expires: datetime) -> None:
        """Stores Graph's answer to the request that creates a subscription."""
        fields = SUBSCRIPTION.write_fields(graph_id=graph_id, renew_at=renew_at, expires=expires)
        await self._collection.update_one({"_id": key}, {"$set": fields})

    async def set_renewed(self, seen: GraphSubscription, renew_at: datetime, expires: datetime) -> None:
        """Stores a renewal; when Graph has required another one since `seen`, the subscription stays due."""
        await self._collection.update_one(
            {"_id": seen.key}, {"$set": SUBSCRIPTION.write_fields(expires=expires)}
        )
        await self._collection.update_one(
            {"_id": seen.key, "renew_at": seen.renew_at},
            {"$set": SUBSCRIPTION.write_fields(renew_at=renew_at)},
        )

    async def mark_removed(self, graph_ids: Collection[str]) -> None:
        """Graph has removed these subscriptions."""
        await self._collection.update_many(
            {"graph_id": {"$in": list(graph_ids)}}, {"$set": SUBSCRIPTION.write_fields(removed=True)}
        )

    async def mark_due(self, graph_ids: Collection[str], now: datetime) -> None:
        """Graph requires a new authorisation of these subscriptions; a renewal is one."""
        await self._collection.update_many(
            {"graph_id": {"$in": list(graph_ids)}}, {"$set": SUBSCRIPTION.write_fields(renew_at=now)}
        )

    async def delete(self, keys: Collection[str]) -> None:
        """Deletes subscriptions."""
        await self._collection.delete_many({"_id": {"$in": list(keys)}})

    async def _read(self, query: Document) -> list[GraphSubscription]:
        found = self._collection.find(query)
        return [SUBSCRIPTION.read(document, document["_id"]) async for document in found]
