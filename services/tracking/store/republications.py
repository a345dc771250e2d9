"""What has to be published again: the tracked activities of a record, or of a whole tenant.

    {_id: "tenant/type/id" or "tenant", closes, below, served_at, publish_lease: {holder, until}}

The activities of a lower revision than `below` are not published again yet. `closes`: the change may have
taken readers away. `served_at` is when the last piece of them was published.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.mongodb import ASCENDING, DESCENDING, Document, IndexModel, MongoCollection, UpdateOne

from .publish_leases import NOT_LEASED, lease_fields

CLOSING_FIRST = [("closes", DESCENDING), ("served_at", ASCENDING)]


@dataclass(frozen=True, slots=True)
class Republication:
    """A record or a tenant whose tracked activities have to be published again.

    Attributes:
        scope: id of the record, `tenant/type/id`, or of the tenant.
        below: a revision; the activities of lower ones are not published again yet.
        closes: users who could read the activities may not read them any more.
    """

    scope: str
    below: int
    closes: bool = False


class RepublicationCollection:
    """The republications that are not done."""

    INDEXES = (IndexModel(CLOSING_FIRST),)

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def request(self, republications: Sequence[Republication]) -> None:
        """Adds republications; one that is not done yet is widened, and keeps its place."""
        await self._collection.bulk_write(
            [UpdateOne({"_id": each.scope}, _widened(each), upsert=True) for each in republications]
        )

    async def lease_next(self, holder: str) -> Republication | None:
        """Leases the republication that is next; None when there is none, or others have them."""
        leased = await self._collection.find_one_and_update(
            NOT_LEASED, [{"$set": lease_fields(holder)}], sort=CLOSING_FIRST
        )
        return Republication(leased["_id"], leased["below"], leased["closes"]) if leased else None

    async def release(self, republication: Republication) -> None:
        """Ends the lease after a piece; republications whose last piece is longer ago come first."""
        await self._collection.update_one(
            {"_id": republication.scope}, [{"$set": {"served_at": "$$NOW"}}, {"$unset": "publish_lease"}]
        )

    async def finish(self, republication: Republication) -> None:
        """Deletes a republication, unless it was requested again meanwhile."""
        done = {"_id": republication.scope, "below": republication.below}
        if not await self._collection.delete_many(done):
            await self.release(republication)

    async def count(self) -> int:
        """The number of republications that are not done."""
        return await self._collection.count({"closes": {"$in": [False, True]}})


def _widened(requested: Republication) -> list[Document]:
    fields: Document = {
        "below": {"$max": ["$below", requested.below]},
        "closes": {"$or": ["$closes", requested.closes]},
        "served_at": {"$ifNull": ["$served_at", "$$NOW"]},
    }
    return [{"$set": fields}]
