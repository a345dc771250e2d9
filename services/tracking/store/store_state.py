"""What the store knows of itself: one document.

{_id: "store", version, at,
 recovery: {id, cause, since, is_long, new_topics, ends: [[topic, partition, end]]}}

Every replica renews `version` and `at` (MongoDB's clock). A replica that finds a lower version than it has
seen, or none, is connected to another database, or to an older copy. `recovery` is there while the store is
compared with the topics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.tracking.domain.recovery import Cause
from shared.mongodb import Document, DuplicateDocumentError, MongoCollection

STORE = {"_id": "store"}


@dataclass(frozen=True, slots=True)
class Recovery:
    """A comparison of the store with the topics that all replicas take part in.

    Attributes:
        id: a monotonic version; also the generation of the positions of tables that are read again.
        since: when the store was last in use, as far as it knows.
        is_long: tombstones of that time may be gone, so that the tables are read again from their starts.
        new_topics: names of the topics that were made anew: what they lack is not gone.
        ends: (topic, partition, offset) to which each partition has to be read.
    """

    id: int
    cause: Cause
    since: datetime | None
    is_long: bool
    new_topics: frozenset[str]
    ends: Sequence[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class StoreState:
    """The document.

    Attributes:
        version: a monotonic version.
        at: when it was renewed, by MongoDB's clock.
        recovery: the one that is going on.
    """

    version: int
    at: datetime
    recovery: Recovery | None


class StoreStateCollection:
    """The store's own state."""

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def find(self) -> StoreState | None:
        """The state; None in a store that was never used."""
        document = await self._collection.find_one(STORE)
        return _to_state(document) if document else None

    async def create(self, version: int) -> None:
        """Makes a store that has no state one that is in use."""
        try:
            await self._collection.update_one(
                STORE | {"version": {"$exists": False}}, _renewal(version), upsert=True
            )
        except DuplicateDocumentError:
            return  # another replica has made it

    async def renew(self, seen: int, version: int) -> StoreState | None:
        """Renews the version.

        Args:
            seen: the greatest version that this replica has seen.
            version: the least new version.

        Returns:
            None when the store has a lower version than `seen`, or none.
        """
        document = await self._collection.find_one_and_update(
            STORE | {"version": {"$gte": seen}}, _renewal(version)
        )
        return _to_state(document) if document else None

    async def open_recovery(self, recovery: Recovery) -> None:
        """Begins a recovery, unless one is going on."""
        document = {
            "id": recovery.id,
            "cause": recovery.cause.value,
            "since": recovery.since,
            "is_long": recovery.is_long,
            "new_topics": sorted(recovery.new_topics),
            "ends": [list(end) for end in recovery.ends],
        }
        try:
            await self._collection.update_one(
                STORE | {"recovery": None},
                [*_renewal(recovery.id), {"$set": {"recovery": {"$literal": document}}}],
                upsert=True,
            )
        except DuplicateDocumentError:
            return  # another replica has begun one

    async def finish_recovery(self, recovery_id: int) -> bool:
        """Ends a recovery; False when another replica has ended it."""
        ended = await self._collection.update_one(
            STORE | {"recovery.id": recovery_id}, {"$unset": {"recovery": ""}}
        )
        return ended.matched > 0


def _renewal(version: int) -> list[Document]:
    greater = {"$max": [version, {"$add": [{"$ifNull": ["$version", 0]}, 1]}]}
    return [{"$set": {"version": greater, "at": "$$NOW"}}]


def _to_state(document: Mapping[str, Any]) -> StoreState:
    recovery = document.get("recovery")
    return StoreState(
        document["version"],
        document["at"],
        Recovery(
            recovery["id"],
            Cause(recovery["cause"]),
            recovery["since"],
            recovery["is_long"],
            frozenset(recovery["new_topics"]),
            [(topic, partition, end) for topic, partition, end in recovery["ends"]],
        )
        if recovery
        else None,
    )
