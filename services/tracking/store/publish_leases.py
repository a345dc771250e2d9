"""Leases of documents that wait to be published: `publish_lease: {holder, until}`.

A document with `publish_pending` is leased by one replica, which publishes it. Leases run by MongoDB's
clock, so that all replicas agree on which of them have ended.
"""

from datetime import timedelta

from shared.leases import has_ended, lease_end
from shared.mongodb import ASCENDING, Document, IndexModel, MongoCollection

PUBLISH_LEASE = timedelta(seconds=15)
"""A replica that has not acknowledged within this time is dead, or was paused."""
PUBLISH_PENDING_INDEX = IndexModel(
    [("publish_pending", ASCENDING)], partialFilterExpression={"publish_pending": True}
)
NOT_LEASED: Document = {"$expr": has_ended("$publish_lease.until", PUBLISH_LEASE)}
"""Finds the documents that no replica is publishing."""


def lease_fields(holder: str) -> Document:
    """The field of a lease that begins now, for an update that MongoDB computes.

    Args:
        holder: token of the replica.
    """
    return {"publish_lease": {"holder": {"$literal": holder}, "until": lease_end(PUBLISH_LEASE)}}


async def lease_pending(collection: MongoCollection, holder: str, limit: int) -> list[Document]:
    """Leases documents that wait to be published and that no other replica is publishing.

    Args:
        collection: of documents with `publish_pending`.
        holder: token of this replica.
        limit: the most documents.

    Returns:
        The leased documents, without their texts.
    """
    free = {"publish_pending": True} | NOT_LEASED
    ids = [document["_id"] async for document in collection.find(free, {"_id": 1}, limit=limit)]
    if not ids:
        return []
    await collection.update_many(free | {"_id": {"$in": ids}}, [{"$set": lease_fields(holder)}])
    leased = {"_id": {"$in": ids}, "publish_pending": True, "publish_lease.holder": holder}
    return [document async for document in collection.find(leased, {"content.text": 0})]
