"""Records, as far as a timeline needs them, and mailboxes.

records   {_id: "tenant/type/id", tenant, name, search, readers, modified_on, gone, source: [topic, partition], order: [taken, offset], changed}
mailboxes {_id: "tenant/mailbox", status, reason, since, complete_as_of, version}
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne

from services.tracking.domain.timeline import Mailbox
from services.tracking.domain.visibility import Gone, Record
from shared.bus import Received
from shared.events import MailboxChanged, MailboxStatus
from shared.records import AnyRecord, RecordKey

from .connection import Collection, Document, asks_mongodb, joined, replaced

SEARCHED = 200
"""Characters of a name that can be searched; an index entry must stay small."""


def record_document(message: Received[AnyRecord], taken: int) -> Document:
    """What a message on `records` says is true now; `taken` is since when offsets of its partition count."""
    value = message.value
    document: Document = {
        "_id": joined(message.key),
        "tenant": message.key[0],
        "source": [message.at.topic, message.at.partition],
        "order": [taken, message.at.offset],
    }
    if value is None:
        return document | {"gone": (Gone.REFUSED if message.refused else Gone.DELETED).value}
    return document | {
        "name": value.name,
        "search": (value.name or value.id).casefold()[:SEARCHED],
        "readers": None if value.readers is None else list(value.readers),
        "modified_on": value.modified_on,
        "gone": None,
    }


def to_key(joined_key: str) -> RecordKey:
    """(tenant, type, id) of a record's `_id`."""
    tenant, kind, record_id = joined_key.split("/")
    return tenant, kind, record_id


def _to_record(document: Mapping[str, Any]) -> Record:
    readers, gone = document.get("readers"), document.get("gone")
    return Record(
        to_key(document["_id"]),
        document.get("name"),
        None if readers is None else tuple(readers),
        document.get("modified_on"),
        Gone(gone) if gone else None,
    )


class StoredRecords:
    """Who may read each record, and what it is called."""

    INDEXES = (
        IndexModel([("tenant", ASCENDING), ("search", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("modified_on", DESCENDING)]),
    )

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @asks_mongodb
    async def put(self, documents: Sequence[Document]) -> int:
        """The records as they now are, each only where it is the later word; answers how many were.

        Where what others may know of a record changed, it is noted as `changed`.
        """
        if not documents:
            return 0
        writes = [
            UpdateOne({"_id": document["_id"]}, _if_later(document), upsert=True) for document in documents
        ]
        result = await self._collection.bulk_write(writes, ordered=False)
        return result.upserted_count + result.modified_count

    @asks_mongodb
    async def changed(self, keys: Sequence[str]) -> dict[str, Any]:
        """Those of these records that have changed and were not announced since, each with its change."""
        found = self._collection.find(
            {"_id": {"$in": list(keys)}, "changed": {"$exists": True}}, {"changed": 1}
        )
        return {document["_id"]: document["changed"] async for document in found}

    @asks_mongodb
    async def announced(self, changes: Mapping[str, Any]) -> None:
        """These changes will be told; later ones of the same records are still to be announced."""
        writes = [
            UpdateOne({"_id": key, "changed": change}, {"$unset": {"changed": ""}})
            for key, change in changes.items()
        ]
        await self._collection.bulk_write(writes, ordered=False)

    @asks_mongodb
    async def one(self, key: RecordKey) -> Record | None:
        """What is known of a record."""
        document = await self._collection.find_one({"_id": joined(key)})
        return _to_record(document) if document else None

    @asks_mongodb
    async def many(self, keys: Iterable[RecordKey]) -> dict[RecordKey, Record]:
        """What is known of these records."""
        found = self._collection.find({"_id": {"$in": [joined(key) for key in set(keys)]}})
        return {to_key(document["_id"]): _to_record(document) async for document in found}

    @asks_mongodb
    async def read_by(
        self, tenant: str, keys: Sequence[RecordKey], readers: Sequence[str | None], limit: int
    ) -> list[Record]:
        """The first of these records, in their order, that have one of the readers."""
        found = self._collection.find(
            _readable(tenant, readers) | {"_id": {"$in": [joined(key) for key in keys]}}
        )
        records = {record.key: record async for record in (_to_record(document) async for document in found)}
        return [records[key] for key in keys if key in records][:limit]

    @asks_mongodb
    async def search(self, tenant: str, text: str, readers: Sequence[str | None], limit: int) -> list[Record]:
        """Records by name: those that begin with the text, then those that hold it; without a text the last modified ones.

        Only those that have one of the readers; None among them stands for "names no readers".
        """
        readable = _readable(tenant, readers)
        if not text:
            newest = self._collection.find(readable).sort([("modified_on", DESCENDING)]).limit(limit)
            return [_to_record(document) async for document in newest]
        literal = re.escape(text.casefold())
        found: dict[str, Record] = {}
        for pattern in (f"^{literal}", literal):
            if len(found) < limit:
                holding = (
                    self._collection.find(readable | {"search": {"$regex": pattern}})
                    .sort([("search", ASCENDING)])
                    .limit(limit)
                )
                found |= {
                    document["_id"]: _to_record(document)
                    async for document in holding
                    if document["_id"] not in found
                }
        return list(found.values())[:limit]


def _readable(tenant: str, readers: Sequence[str | None]) -> Document:
    return {"tenant": tenant, "gone": None, "readers": {"$in": list(readers)}}


def _if_later(document: Document) -> list[Document]:
    """An update that stays out where a later word is there.

    Within a partition the later offset counts. Where publishers disagree on a key's partition, the
    lowest that has the record counts, and a deletion is only of what its own partition says.
    """
    source, order = {"$literal": document["source"]}, {"$literal": document["order"]}
    later: Document = {
        "$or": [
            {"$lte": ["$source", None]},
            {"$and": [{"$eq": ["$source", source]}, {"$lt": ["$order", order]}]},
        ]
    }
    if document["gone"] != Gone.DELETED:
        deleted_elsewhere = {"$and": [{"$lt": ["$source", source]}, {"$eq": ["$gone", Gone.DELETED.value]}]}
        later["$or"] += [{"$gt": ["$source", source]}, deleted_elsewhere]
    known = {field: {"$ifNull": [f"${field}", None]} for field in ("name", "readers", "gone")}
    new: dict[str, Document] = {field: {"$literal": document.get(field)} for field in known}
    if document["gone"]:
        new["readers"] = known["readers"]
    # Nothing can be tracked on a record that was never there.
    differs = {
        "$and": [
            {"$gt": ["$source", None]},
            {"$or": [{"$ne": [known[field], new[field]]} for field in known]},
        ]
    }
    changed = {"$cond": [differs, order, {"$ifNull": ["$changed", "$$REMOVE"]}]}
    # What is gone keeps its last readers, and nothing else that could be read.
    whole = {"$mergeObjects": [{"readers": known["readers"]}, {"$literal": document}, {"changed": changed}]}
    return [{"$replaceWith": {"$cond": [later, whole, "$$ROOT"]}}]


def mailbox_document(message: Received[MailboxChanged]) -> Document:
    """What a message on `mailboxes` says is true now; a tombstone says removed."""
    value = message.value
    document: Document = {"_id": joined(message.key), "version": message.version}
    if value is None:
        return document | {"status": MailboxStatus.REMOVED.value}
    return document | {
        "status": value.status.value,
        "reason": value.reason,
        "since": value.since,
        "complete_as_of": value.complete_as_of,
    }


class StoredMailboxes:
    """What capture does with each mailbox."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @asks_mongodb
    async def put(self, documents: Sequence[Document]) -> None:
        """The mailboxes' states, each only where its version is not lower than the one there."""
        if documents:
            writes = [
                UpdateOne(
                    {"_id": doc["_id"]}, replaced(doc, {"$lte": ["$version", doc["version"]]}), upsert=True
                )
                for doc in documents
            ]
            await self._collection.bulk_write(writes, ordered=False)

    @asks_mongodb
    async def one(self, tenant: str, oid: str) -> Mailbox | None:
        """The state of somebody's mailbox; None where it was never enrolled."""
        document = await self._collection.find_one({"_id": joined((tenant, oid))})
        if document is None:
            return None
        return Mailbox(
            MailboxStatus(document["status"]),
            document.get("reason"),
            document.get("since"),
            document.get("complete_as_of"),
        )
