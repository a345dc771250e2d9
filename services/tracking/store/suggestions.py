"""Suggestions: matched activities, each for its owner alone.

    {_id: "tenant/mailbox/item", owner: "tenant/mailbox", live: true, activity, phrases, reasons, records,
     reason_indexes, truncated, identity, at, visible_from, visible_until, version, epoch, sequence,
     partition, generation, delete_at}

A dense mail matches hundreds of records for the same few reasons. Therefore `records` are "type/id" of
the owner's tenant; `reasons` holds each distinct list of reasons once, and `reason_indexes` holds, for
each of `records`, the index of its list. A withdrawn suggestion keeps its ids and its order, and nothing
else.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.tracking.domain.timeline import SUGGESTION_RETENTION_AFTER_WINDOW, MatchReason, Suggestion
from shared.errors import InvalidMessageError
from shared.events import ActivityMatched
from shared.keys import ItemKey, MailboxKey, RecordKey, join_key
from shared.messages import TombstoneMessage, ValidMessage
from shared.mongodb import ASCENDING, DESCENDING, Document, IndexModel, MongoCollection, UpdateOne
from shared.topics import TOMBSTONE_RETENTION

from .documents import DELETE_AT_INDEX, activity_document, replace_if, to_activity
from .id_ranges import id_ranges

SUGGESTION_PAGE_SIZE = 200
"""Suggestions that are read at once; most timelines need one page."""


def suggestion_document(
    message: ValidMessage[ItemKey, ActivityMatched], now: datetime, generation: int = 0
) -> Document:
    """The document for a message on `matches`.

    Args:
        message: the message.
        now: from which a withdrawn one is kept.
        generation: of its partition's offsets, see `StoredPosition`.

    Raises:
        InvalidMessageError: a reason refers to a rule or a participant that is missing.
    """
    document: Document = {
        "_id": join_key(message.key),
        "owner": join_key(message.key.mailbox_key),
        "version": message.version,
        "epoch": message.epoch,
        "sequence": message.sequence,
        "partition": message.position.partition,
        "generation": generation,
    }
    if isinstance(message, TombstoneMessage) or not message.value.matches:
        return document | {"delete_at": now + TOMBSTONE_RETENTION}
    matched = message.value
    activity = matched.activity
    reasons, reason_indexes = _distinct_reasons(matched)
    return document | {
        "live": True,
        "activity": activity_document(activity),
        "phrases": list(matched.rules.values()),
        "reasons": reasons,
        "records": [f"{match.type}/{match.id}" for match in matched.matches],
        "reason_indexes": reason_indexes,
        "truncated": matched.truncated,
        "identity": activity.identity,
        "at": activity.at,
        "visible_from": activity.visible_from,
        "visible_until": activity.visible_until,
        "delete_at": activity.visible_until + SUGGESTION_RETENTION_AFTER_WINDOW,
    }


def _distinct_reasons(matched: ActivityMatched) -> tuple[list[Document], list[int]]:
    """Each distinct list of reasons once, and the index of each match's list.

    A list is `{pairs, more}`; `pairs` holds phrase index and participant index alternately.
    """
    phrases = {rule: number for number, rule in enumerate(matched.rules)}
    people = len(matched.activity.participants)
    indexes: dict[tuple[tuple[tuple[str, int], ...], int], int] = {}
    reason_indexes = []
    for number, match in enumerate(matched.matches):
        key = match.reasons, match.more
        if key not in indexes:
            if not all(rule in phrases and 0 <= participant < people for rule, participant in match.reasons):
                raise InvalidMessageError(
                    "a reason without its rule or its participant", f"matches.{number}.reasons"
                )
            indexes[key] = len(indexes)
        reason_indexes.append(indexes[key])
    reasons = []
    for pairs, more in indexes:
        flat = [part for rule, participant in pairs for part in (phrases[rule], participant)]
        reasons.append({"pairs": flat, "more": more})
    return reasons, reason_indexes


def _within_tenant(record: RecordKey) -> str:
    """A record as the suggestions of its tenant name it."""
    return f"{record.type}/{record.id}"


def _projection_for(record: RecordKey) -> Document:
    """The projection to the parts of a suggestion that concern one record."""
    position = {"$indexOfArray": ["$records", _within_tenant(record)]}
    reason_index = {"$arrayElemAt": ["$reason_indexes", position]}
    return {"activity": 1, "phrases": 1, "reason": {"$arrayElemAt": ["$reasons", reason_index]}}


def _to_suggestion(document: Mapping[str, Any]) -> Suggestion:
    phrases, reason = document["phrases"], document["reason"]
    pairs = reason["pairs"]
    reasons = tuple(
        MatchReason(participant, phrases[phrase])
        for phrase, participant in zip(pairs[::2], pairs[1::2], strict=True)
    )
    return Suggestion(to_activity(document["activity"]), reasons, reason["more"])


class SuggestionCollection:
    """The suggestions of every owner."""

    INDEXES = (
        IndexModel([("owner", ASCENDING), ("records", ASCENDING), ("at", DESCENDING)]),
        IndexModel([("live", ASCENDING)], partialFilterExpression={"live": True}),
        DELETE_AT_INDEX,
    )

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def upsert_newer(self, documents: Sequence[Document]) -> int:
        """Stores each document with a greater (epoch, sequence) than the stored one; returns their number.

        When a partition is read again from its start, the same (epoch, sequence) is stored again.
        """
        result = await self._collection.bulk_write(
            [
                UpdateOne({"_id": document["_id"]}, _replace_if_newer(document), upsert=True)
                for document in documents
            ]
        )
        return result.written

    async def find_pages(
        self, owner: MailboxKey, record: RecordKey, now: datetime, activity_fields: Mapping[str, str]
    ) -> AsyncGenerator[list[Suggestion], None]:
        """An owner's suggestions on a record inside their window, newest first, in pages.

        Args:
            owner: the mailbox.
            record: the record.
            now: suggestions whose window is not open are left out.
            activity_fields: field of an activity -> the value that it must have.
        """
        query = (
            _visible(owner, now)
            | {"records": _within_tenant(record)}
            | {f"activity.{name}": value for name, value in activity_fields.items()}
        )
        pipeline: list[Document] = [
            {"$match": query},
            {"$sort": {"at": -1, "_id": -1}},
            {"$project": _projection_for(record)},
        ]
        async for page in self._collection.aggregate_pages(pipeline, SUGGESTION_PAGE_SIZE):
            yield [_to_suggestion(document) for document in page]

    async def find_on_record(self, item: ItemKey, record: RecordKey) -> tuple[bool, Suggestion | None]:
        """Whether the item is known in its mailbox, and its suggestion on the record, if they are related."""
        by_item = {"_id": join_key(item)}
        pipeline: list[Document] = [
            {"$match": by_item | {"records": _within_tenant(record)}},
            {"$project": _projection_for(record)},
        ]
        if found := [document async for document in self._collection.aggregate(pipeline)]:
            return True, _to_suggestion(found[0])
        return await self._collection.find_one(by_item, {"_id": 1}) is not None, None

    async def find_identities(
        self, owner: MailboxKey, records: Sequence[RecordKey], now: datetime
    ) -> list[tuple[RecordKey, str]]:
        """(record, identity) of each of an owner's suggestions on these records inside its window."""
        keys = {_within_tenant(record): record for record in records}
        query = _visible(owner, now) | {"records": {"$in": list(keys)}}
        projection = {"identity": 1, "on": {"$setIntersection": ["$records", list(keys)]}}
        found = self._collection.aggregate([{"$match": query}, {"$project": projection}])
        return [(keys[record], document["identity"]) async for document in found for record in document["on"]]

    async def find_records_of_newest(self, owner: MailboxKey, now: datetime, limit: int) -> list[RecordKey]:
        """At most `limit` records of an owner's newest `limit` suggestions, those of the newest first."""
        newest = self._collection.find(
            _visible(owner, now),
            {"records": 1},
            sort=[("at", DESCENDING), ("_id", DESCENDING)],
            limit=limit,
        )
        records = dict.fromkeys([record async for suggestion in newest for record in suggestion["records"]])
        return [RecordKey(owner.tenant, *record.split("/")) for record in list(records)[:limit]]

    async def delete_not_on_topic(self, generation: int) -> int:
        """Deletes the suggestions that were not read in this generation, and returns how many."""
        old: Document = {"generation": {"$not": {"$gte": generation}}}
        return sum(
            [await self._collection.delete_many(part | old) async for part in id_ranges(self._collection)]
        )

    async def count_live(self) -> int:
        """The number of suggestions that are not withdrawn."""
        return await self._collection.count({"live": True})

    async def export_live(self) -> AsyncIterator[Document]:
        """Every live suggestion in the order of its id: the ids of its item and of its records."""
        fields = {"records": 1, "activity.kind": 1, "activity.internet_message_id": 1, "activity.ical_uid": 1}
        in_order = [("_id", ASCENDING)]
        async for document in self._collection.find({"live": True}, fields, sort=in_order, hint=in_order):
            yield document


def _visible(owner: MailboxKey, now: datetime) -> Document:
    return {"owner": join_key(owner), "visible_from": {"$lte": now}, "visible_until": {"$gt": now}}


def _replace_if_newer(document: Document) -> list[Document]:
    epoch, sequence = document["epoch"], document["sequence"]
    same_epoch = {"$and": [{"$eq": ["$epoch", epoch]}, {"$lt": ["$sequence", sequence]}]}
    read_again = {
        "$and": [
            {"$eq": ["$epoch", epoch]},
            {"$eq": ["$sequence", sequence]},
            {"$lt": ["$generation", document["generation"]]},
        ]
    }
    return replace_if({"$or": [{"$lt": ["$epoch", epoch]}, same_epoch, read_again]}, document)
