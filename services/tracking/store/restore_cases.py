"""What a lost or restored database cannot bring back, a case each, until an administrator closes it.

    {_id, kind: "activity" | "dismissals", recovery, since, found_at, closed_at,
     tenant, activity, entries: [{record: "tenant/type/id", by, at}]}

The last three belong to an activity.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from services.tracking.domain.recovery import LostEntry
from shared.keys import TrackedActivityKey, join_key
from shared.mongodb import ASCENDING, Document, IndexModel, MongoCollection

from .id_ranges import ANY

OPEN: Document = {"closed_at": None}


class RestoreCaseCollection:
    """The cases of all recoveries."""

    INDEXES = (IndexModel([("closed_at", ASCENDING), ("_id", ASCENDING)]),)

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def open_activity(
        self,
        recovery: int,
        key: TrackedActivityKey,
        entries: tuple[LostEntry, ...],
        since: datetime | None,
        now: datetime,
    ) -> None:
        """Opens the case of an activity with entries that the store cannot back; once for each recovery."""
        documents = [{"record": join_key(each.record), "by": each.by, "at": each.at} for each in entries]
        fields = {"tenant": key.tenant, "activity": key.activity, "entries": documents}
        await self._open(f"{recovery}/{join_key(key)}", "activity", recovery, since, now, fields)

    async def open_dismissals(self, recovery: int, since: datetime | None, now: datetime) -> None:
        """Opens the case of the dismissals since then, which no topic holds."""
        await self._open(f"{recovery}/dismissals", "dismissals", recovery, since, now, {})

    async def _open(
        self, case: str, kind: str, recovery: int, since: datetime | None, now: datetime, fields: Document
    ) -> None:
        new = {
            "kind": kind,
            "recovery": recovery,
            "since": since,
            "found_at": now,
            "closed_at": None,
        } | fields
        await self._collection.update_one({"_id": case}, {"$setOnInsert": new}, upsert=True)

    async def find(self, *, closed: bool = False) -> AsyncIterator[dict[str, Any]]:
        """The open cases, or all of them, in the order of their ids."""
        async for document in self._collection.find(ANY if closed else OPEN, sort=[("_id", ASCENDING)]):
            yield document

    async def find_one(self, case: str) -> dict[str, Any] | None:
        """A case by its id."""
        return await self._collection.find_one({"_id": case})

    async def close(self, case: str) -> bool:
        """Closes a case; False when it is not open."""
        closed = await self._collection.update_one({"_id": case} | OPEN, [{"$set": {"closed_at": "$$NOW"}}])
        return closed.matched > 0

    async def count_open(self) -> int:
        """The number of open cases."""
        return await self._collection.count(OPEN)
