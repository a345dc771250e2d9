"""Dismissals: what an owner does not want to see on a record.

{_id: "tenant/oid/type/id/identity", owner: "tenant/oid", record: "tenant/type/id", item, identity, thing, delete_at}
"""

from collections.abc import Sequence
from datetime import datetime

from pymongo import ASCENDING, IndexModel, UpdateMany

from services.tracking.domain.activity import ItemKey
from services.tracking.domain.timeline import DISMISSED_AFTER_LAST_SEEN, Suggestion
from shared.records import RecordKey

from .connection import ONCE_GONE, Collection, Document, asks_mongodb, joined


class StoredDismissals:
    """Documents of their own, so that they outlive their suggestions and every replay of them."""

    INDEXES = (
        IndexModel([("owner", ASCENDING), ("record", ASCENDING)]),
        IndexModel([("thing", ASCENDING)]),
        ONCE_GONE,
    )

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @asks_mongodb
    async def put(self, suggestion: Suggestion, record: RecordKey) -> None:
        """She does not want to see it there."""
        activity = suggestion.activity
        owner = joined((activity.tenant, activity.mailbox))
        document = {
            "_id": joined((owner, *record[1:], activity.identity)),
            "owner": owner,
            "record": joined(record),
            "item": activity.item,
            "identity": activity.identity,
            "thing": _thing(owner, activity.identity),
            "delete_at": activity.visible_until + DISMISSED_AFTER_LAST_SEEN,
        }
        await self._collection.replace_one({"_id": document["_id"]}, document, upsert=True)

    @asks_mongodb
    async def undo(self, item: ItemKey, record: RecordKey, identity: str | None) -> bool:
        """She wants to see it again, also where only the item's id is left of it; was it dismissed?"""
        same = [{"item": item[2]}] + ([{"identity": identity}] if identity else [])
        gone = await self._collection.delete_many(
            {"owner": joined(item[:2]), "record": joined(record), "$or": same}
        )
        return gone.deleted_count > 0

    @asks_mongodb
    async def on(self, owner: str, records: Sequence[RecordKey]) -> set[tuple[RecordKey, str]]:
        """(record, identity) of what an owner has dismissed on these records."""
        keys = {joined(record): record for record in records}
        wanted = {"owner": owner, "record": {"$in": list(keys)}}
        return {
            (keys[document["record"]], document["identity"])
            async for document in self._collection.find(wanted)
        }

    @asks_mongodb
    async def seen(self, suggestions: Sequence[Document]) -> None:
        """The dismissals of what is still there stay for as long as it may come again."""
        until: dict[str, datetime] = {}
        for document in suggestions:
            if document.get("live"):
                thing = _thing(document["owner"], document["identity"])
                until[thing] = document["visible_until"] + DISMISSED_AFTER_LAST_SEEN
        dismissed = (
            [
                document["thing"]
                async for document in self._collection.find({"thing": {"$in": list(until)}}, {"thing": 1})
            ]
            if until
            else []
        )
        if dismissed:
            await self._collection.bulk_write(
                [
                    UpdateMany({"thing": thing}, {"$max": {"delete_at": until[thing]}})
                    for thing in set(dismissed)
                ],
                ordered=False,
            )


def _thing(owner: str, identity: str) -> str:
    """All of an owner's copies of one thing."""
    return joined((owner, identity))
