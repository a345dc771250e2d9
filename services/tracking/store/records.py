"""Records, as far as a timeline needs them.

    {_id: "tenant/type/id", tenant, name, search, readers, modified_on, absence,
     source: [topic, partition], order: [generation, offset], unpublished_change: {order, closes}}

`unpublished_change` is the last change for which no republication is recorded yet, and whether readers were
taken away since.
"""

import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any, assert_never

from services.tracking.domain.visibility import KnownRecord, RecordAbsence
from shared.keys import RecordKey, join_key, split_key
from shared.messages import InvalidMessage, ReceivedMessage, TombstoneMessage, ValueMessage
from shared.mongodb import ASCENDING, DESCENDING, Document, IndexModel, MongoCollection, UpdateOne
from shared.records import AnyRecord

from .id_ranges import id_ranges

MAX_SEARCH_CHARACTERS = 200
"""Characters of a name that can be searched; an index entry must stay small."""


def record_document(
    key: RecordKey, message: ReceivedMessage[RecordKey, AnyRecord], generation: int
) -> Document:
    """The document for a message on `records`.

    Args:
        key: the message's key; an invalid message is about a record only when it has one.
        message: the message; an invalid one means that there is no such record.
        generation: of its partition's offsets, see `StoredPosition`.
    """
    document: Document = {
        "_id": join_key(key),
        "tenant": key.tenant,
        "source": [message.position.topic, message.position.partition],
        "order": [generation, message.position.offset],
    }
    match message:
        case ValueMessage(value=record):
            return document | {
                "name": record.name,
                "search": (record.name or record.id).casefold()[:MAX_SEARCH_CHARACTERS],
                "readers": None if record.readers is None else list(record.readers),
                "modified_on": record.modified_on,
                "absence": None,
            }
        case TombstoneMessage():
            return document | {"absence": RecordAbsence.DELETED.value}
        case InvalidMessage():
            return document | {"absence": RecordAbsence.REFUSED.value}
        case _:
            assert_never(message)


def _to_record(document: Mapping[str, Any]) -> KnownRecord:
    readers, absence = document.get("readers"), document.get("absence")
    return KnownRecord(
        split_key(RecordKey, document["_id"]),
        document.get("name"),
        None if readers is None else tuple(readers),
        document.get("modified_on"),
        RecordAbsence(absence) if absence else None,
    )


class RecordCollection:
    """The name and the readers of each record."""

    INDEXES = (
        IndexModel([("tenant", ASCENDING), ("search", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("modified_on", DESCENDING)]),
    )

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def upsert_later(self, documents: Sequence[Document]) -> int:
        """Stores each document that is later than the stored one, and returns how many were.

        When a change is visible to other users (name, readers, absence), it also sets `unpublished_change`.
        """
        result = await self._collection.bulk_write(
            [
                UpdateOne({"_id": document["_id"]}, _replace_if_later(document), upsert=True)
                for document in documents
            ]
        )
        return result.written

    async def find_unpublished_changes(self, ids: Sequence[str]) -> dict[str, Any]:
        """`_id` -> `unpublished_change` of those of these records that have one."""
        query = {"_id": {"$in": list(ids)}, "unpublished_change": {"$exists": True}}
        return {
            document["_id"]: document["unpublished_change"]
            async for document in self._collection.find(query, {"unpublished_change": 1})
        }

    async def clear_unpublished_changes(self, changes: Mapping[str, Any]) -> None:
        """Clears these changes; a later change of the same record stays."""
        await self._collection.bulk_write(
            [
                UpdateOne(
                    {"_id": record_id, "unpublished_change": change}, {"$unset": {"unpublished_change": ""}}
                )
                for record_id, change in changes.items()
            ]
        )

    async def delete_not_on_topic(
        self, generation: int, new_topics: Collection[str]
    ) -> AsyncIterator[list[str]]:
        """Deletes the records that were not read in this generation, as their tombstones would.

        Args:
            generation: of the positions from which the topics were read again.
            new_topics: names of topics that were made anew: what they lack is not gone.

        Yields:
            The ids of deleted records, some at a time.
        """
        not_read: Document = {
            "order.0": {"$lt": generation},
            "source.0": {"$nin": sorted(new_topics)},
            "absence": {"$ne": RecordAbsence.DELETED.value},
        }
        async for part in id_ranges(self._collection):
            deleted = [
                {
                    "_id": document["_id"],
                    "tenant": document["tenant"],
                    "source": document["source"],
                    "order": [generation, 0],
                    "absence": RecordAbsence.DELETED.value,
                }
                async for document in self._collection.find(part | not_read, {"tenant": 1, "source": 1})
            ]
            if deleted:
                await self.upsert_later(deleted)
                yield [document["_id"] for document in deleted]

    async def find_by_key(self, key: RecordKey) -> KnownRecord | None:
        """The record of a key, absent or not."""
        document = await self._collection.find_one({"_id": join_key(key)})
        return _to_record(document) if document else None

    async def find_by_keys(self, keys: Iterable[RecordKey]) -> dict[RecordKey, KnownRecord]:
        """The records of these keys, absent or not."""
        found = self._collection.find({"_id": {"$in": [join_key(key) for key in set(keys)]}})
        return {record.key: record async for record in (_to_record(document) async for document in found)}

    async def find_readable(
        self, tenant: str, keys: Sequence[RecordKey], readers: Sequence[str | None], limit: int
    ) -> list[KnownRecord]:
        """The first of these records, in their order, that have one of the readers, see `search`."""
        query = _readable(tenant, readers) | {"_id": {"$in": [join_key(key) for key in keys]}}
        found = [_to_record(document) async for document in self._collection.find(query)]
        records = {record.key: record for record in found}
        return [records[key] for key in keys if key in records][:limit]

    async def search(
        self, tenant: str, text: str, readers: Sequence[str | None], limit: int
    ) -> list[KnownRecord]:
        """Records by name: those that begin with the text, then those that contain it.

        Args:
            tenant: of the records.
            text: without one the last modified records are found.
            readers: a record must have one of them; None stands for a record that names no readers.
            limit: the most records.
        """
        readable = _readable(tenant, readers)
        if not text:
            newest = self._collection.find(readable, sort=[("modified_on", DESCENDING)], limit=limit)
            return [_to_record(document) async for document in newest]
        literal = re.escape(text.casefold())
        found: dict[str, KnownRecord] = {}
        for pattern in (f"^{literal}", literal):
            if len(found) < limit:
                query = readable | {"search": {"$regex": pattern}}
                matching = self._collection.find(query, sort=[("search", ASCENDING)], limit=limit)
                found |= {
                    document["_id"]: _to_record(document)
                    async for document in matching
                    if document["_id"] not in found
                }
        return list(found.values())[:limit]


def _readable(tenant: str, readers: Sequence[str | None]) -> Document:
    return {"tenant": tenant, "absence": None, "readers": {"$in": list(readers)}}


def _replace_if_later(document: Document) -> list[Document]:
    """An update that changes nothing when the stored message is the later one.

    Within a partition the later offset counts. When publishers disagree about a key's partition, the
    lowest partition that has the record counts, and a deletion applies only to its own partition's record.
    """
    source, order = {"$literal": document["source"]}, {"$literal": document["order"]}
    later: Document = {
        "$or": [
            {"$lte": ["$source", None]},
            {"$and": [{"$eq": ["$source", source]}, {"$lt": ["$order", order]}]},
        ]
    }
    if document["absence"] != RecordAbsence.DELETED:
        deleted_elsewhere = {
            "$and": [{"$lt": ["$source", source]}, {"$eq": ["$absence", RecordAbsence.DELETED.value]}]
        }
        later["$or"] += [{"$gt": ["$source", source]}, deleted_elsewhere]
    is_stored = {"$gt": ["$source", None]}
    stored: dict[str, Document] = {
        field: {"$ifNull": [f"${field}", None]} for field in ("name", "readers", "absence")
    }
    # Of a record whose first message is a deletion, or refused, nobody is known who may read it.
    stored["readers"] = {"$cond": [is_stored, stored["readers"], {"$literal": []}]}
    new: dict[str, Document] = {field: {"$literal": document.get(field)} for field in stored}
    if document["absence"]:
        new["readers"] = stored["readers"]
    # A record that was not stored before has no tracked activities, so its first message is no change.
    differs = {
        "$and": [
            is_stored,
            {"$or": [{"$ne": [stored[field], new[field]]} for field in stored]},
        ]
    }
    narrows = {"$not": [{"$setIsSubset": [_as_set(stored["readers"]), _as_set(new["readers"])]}]}
    closes = {"$or": [narrows, {"$ifNull": ["$unpublished_change.closes", False]}]}
    change: Document = {
        "$cond": [
            differs,
            {"order": order, "closes": closes},
            {"$ifNull": ["$unpublished_change", "$$REMOVE"]},
        ]
    }
    # An absent record keeps its last readers, and no other field that a user could read.
    whole = {
        "$mergeObjects": [
            {"readers": stored["readers"]},
            {"$literal": document},
            {"unpublished_change": change},
        ]
    }
    return [{"$replaceWith": {"$cond": [later, whole, "$$ROOT"]}}]


def _as_set(readers: Document) -> Document:
    """Readers for a comparison: the tenant's setting, which may change, includes nobody for certain."""
    return {"$ifNull": [readers, [None]]}
