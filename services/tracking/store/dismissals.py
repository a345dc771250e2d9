"""Dismissals: identities that an owner does not want to see on a record.

    {_id: "tenant/oid/type/id/identity", owner: "tenant/oid", record: "tenant/type/id", item, identity,
     owner_identity: "tenant/oid/identity", delete_at}

`owner_identity` names all of an owner's copies of one identity.
"""

from collections.abc import Sequence
from datetime import datetime

from services.tracking.domain.timeline import DISMISSAL_RETENTION, Suggestion
from shared.keys import ItemKey, MailboxKey, RecordKey, join_key
from shared.mongodb import ASCENDING, Document, IndexModel, MongoCollection, UpdateMany

from .documents import DELETE_AT_INDEX


class DismissalCollection:
    """Dismissals are documents of their own, so that they outlive their suggestions and every replay."""

    INDEXES = (
        IndexModel([("owner", ASCENDING), ("record", ASCENDING)]),
        IndexModel([("owner_identity", ASCENDING)]),
        DELETE_AT_INDEX,
    )

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def upsert(self, suggestion: Suggestion, record: RecordKey) -> None:
        """Stores that the owner dismisses a suggestion on a record."""
        activity = suggestion.activity
        owner = join_key(activity.key.mailbox_key)
        document = {
            "_id": f"{owner}/{record.type}/{record.id}/{activity.identity}",
            "owner": owner,
            "record": join_key(record),
            "item": activity.item,
            "identity": activity.identity,
            "owner_identity": _owner_identity(owner, activity.identity),
            "delete_at": activity.visible_until + DISMISSAL_RETENTION,
        }
        await self._collection.replace_one({"_id": document["_id"]}, document, upsert=True)

    async def delete(self, item: ItemKey, record: RecordKey, identity: str | None) -> bool:
        """Deletes the dismissals of an item, and of its identity, on a record.

        Args:
            item: the item.
            record: the record.
            identity: None when a withdrawn suggestion has only the item's id left.

        Returns:
            True when there was one.
        """
        same = [{"item": item.item}] + ([{"identity": identity}] if identity else [])
        query = {"owner": join_key(item.mailbox_key), "record": join_key(record), "$or": same}
        return await self._collection.delete_many(query) > 0

    async def find_identities(
        self, owner: MailboxKey, records: Sequence[RecordKey]
    ) -> set[tuple[RecordKey, str]]:
        """(record, identity) of all that an owner has dismissed on these records."""
        keys = {join_key(record): record for record in records}
        query = {"owner": join_key(owner), "record": {"$in": list(keys)}}
        return {
            (keys[document["record"]], document["identity"])
            async for document in self._collection.find(query)
        }

    async def extend_retention(self, suggestions: Sequence[Document]) -> None:
        """Keeps the dismissals of live suggestions for as long as a replay may bring the item back.

        Args:
            suggestions: documents of the collection `suggestions`, withdrawn ones included.
        """
        until: dict[str, datetime] = {}
        for document in suggestions:
            if document.get("live"):
                copies = _owner_identity(document["owner"], document["identity"])
                until[copies] = document["visible_until"] + DISMISSAL_RETENTION
        if not until:
            return
        query = {"owner_identity": {"$in": list(until)}}
        dismissed = {
            document["owner_identity"]
            async for document in self._collection.find(query, {"owner_identity": 1})
        }
        await self._collection.bulk_write(
            [
                UpdateMany({"owner_identity": copies}, {"$max": {"delete_at": until[copies]}})
                for copies in dismissed
            ]
        )


def _owner_identity(owner: str, identity: str) -> str:
    return f"{owner}/{identity}"
