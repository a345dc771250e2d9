"""Suggestions: what was matched, for its owner alone.

    {_id: "tenant/mailbox/item", owner: "tenant/mailbox", live: true, activity, rules, reasons, records, matches,
     truncated, identity, at, visible_from, visible_until, version, epoch, count, partition, delete_at}

A dense mail matches hundreds of records for the same few reasons. So `records` are "type/id", of the
owner's tenant; a document names each distinct list of reasons once, in `reasons`, and `matches` says
for each of `records` which one it is. A withdrawn one keeps its ids and its order, and nothing else.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne

from services.tracking.domain.activity import ItemKey
from services.tracking.domain.timeline import KEPT_AFTER_WINDOW, Reason, Suggestion
from shared.bus import Received
from shared.errors import Rejected
from shared.events import Activity, ActivityMatched
from shared.records import RecordKey
from shared.topics import TOMBSTONES_KEPT

from .connection import ONCE_GONE, Collection, Document, asks_mongodb, joined, replaced, translated
from .records import to_key

PAGE = 200
"""Suggestions read at once; most timelines need one page."""


def suggestion_document(message: Received[ActivityMatched], now: datetime) -> Document:
    """What a message on `matches` leaves.

    Raises:
        Rejected: key and body do not agree, or a reason points at nothing.
    """
    tenant, mailbox, item = message.key
    document: Document = {
        "_id": joined(message.key),
        "owner": joined((tenant, mailbox)),
        "version": message.version,
        "epoch": message.epoch,
        "count": message.count,
        "partition": message.at.partition,
    }
    value = message.value
    if value is None or not value.matches:
        return document | {"delete_at": now + TOMBSTONES_KEPT}
    activity = value.activity
    for name, of_key, of_body in (
        ("tenant", tenant, activity.tenant),
        ("mailbox", mailbox, activity.mailbox),
        ("item", item, activity.item),
    ):
        if of_key != of_body:
            raise Rejected("key and body do not agree", f"activity.{name}")
    reasons, matches = _reasons(value)
    return document | {
        "live": True,
        "activity": activity_document(activity),
        "rules": list(value.rules.values()),
        "reasons": reasons,
        "records": [f"{match.type}/{match.id}" for match in value.matches],
        "matches": matches,
        "truncated": value.truncated,
        "identity": activity.identity,
        "at": activity.at,
        "visible_from": activity.visible_from,
        "visible_until": activity.visible_until,
        "delete_at": activity.visible_until + KEPT_AFTER_WINDOW,
    }


def _reasons(value: ActivityMatched) -> tuple[list[Document], list[int]]:
    """Each distinct list of reasons, `of` holding phrase and participant by turns; and which one each match has."""
    rules = {rule: number for number, rule in enumerate(value.rules)}
    people = len(value.activity.participants)
    numbers: dict[tuple[tuple[tuple[str, int], ...], int], int] = {}
    matches = []
    for at, match in enumerate(value.matches):
        key = match.reasons, match.more
        if key not in numbers:
            if not all(rule in rules and 0 <= participant < people for rule, participant in match.reasons):
                raise Rejected("a reason without its rule or its participant", f"matches.{at}.reasons")
            numbers[key] = len(numbers)
        matches.append(numbers[key])
    return [
        {"of": [part for rule, participant in reasons for part in (rules[rule], participant)], "more": more}
        for reasons, more in numbers
    ], matches


def activity_document(activity: Activity) -> Document:
    """An activity as a part of a document; times stay as exact as they were."""
    return activity.model_dump(mode="json", exclude_none=True, exclude_defaults=True)


def to_activity(document: Mapping[str, Any]) -> Activity:
    """And back."""
    return Activity.model_validate(document)


def _of_tenant(record: RecordKey) -> str:
    """A record as its tenant's suggestions name it."""
    return joined(record[1:])


def _only(record: RecordKey) -> Document:
    """The projection that leaves of a suggestion what concerns one record."""
    number = {"$arrayElemAt": ["$matches", {"$indexOfArray": ["$records", _of_tenant(record)]}]}
    return {"activity": 1, "rules": 1, "reason": {"$arrayElemAt": ["$reasons", number]}}


def _to_suggestion(document: Mapping[str, Any]) -> Suggestion:
    phrases, reason = document["rules"], document["reason"]
    flat = reason["of"]
    reasons = tuple(
        Reason(participant, phrases[rule]) for rule, participant in zip(flat[::2], flat[1::2], strict=True)
    )
    return Suggestion(to_activity(document["activity"]), reasons, reason["more"])


class StoredSuggestions:
    """The suggestions of every owner."""

    INDEXES = (
        IndexModel([("owner", ASCENDING), ("records", ASCENDING), ("at", DESCENDING)]),
        IndexModel([("live", ASCENDING)], partialFilterExpression={"live": True}),
        ONCE_GONE,
    )

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @asks_mongodb
    async def put(self, documents: Sequence[Document]) -> int:
        """Suggestions and withdrawals, each only where its (epoch, count) is the greater; answers how many were."""
        if not documents:
            return 0
        writes = [
            UpdateOne({"_id": document["_id"]}, _if_greater(document), upsert=True) for document in documents
        ]
        result = await self._collection.bulk_write(writes, ordered=False)
        return result.upserted_count + result.modified_count

    async def pages(
        self, owner: str, record: RecordKey, now: datetime, filters: Document
    ) -> AsyncIterator[list[Suggestion]]:
        """One owner's suggestions on a record inside their window, newest first."""
        wanted = (
            _visible(owner, now)
            | {"records": _of_tenant(record)}
            | {f"activity.{name}": value for name, value in filters.items()}
        )
        steps: list[Document] = [
            {"$match": wanted},
            {"$sort": {"at": -1, "_id": -1}},
            {"$project": _only(record)},
        ]
        with translated():
            cursor = self._collection.aggregate(steps)
            while page := await cursor.to_list(PAGE):
                yield [_to_suggestion(document) for document in page]

    @asks_mongodb
    async def one(self, item: ItemKey, record: RecordKey) -> tuple[bool, Suggestion | None]:
        """Is the item known in its mailbox, and what it is on the record, if it is related."""
        of_item = {"_id": joined(item)}
        steps: list[Document] = [
            {"$match": of_item | {"records": _of_tenant(record)}},
            {"$project": _only(record)},
        ]
        if found := await self._collection.aggregate(steps).to_list(1):
            return True, _to_suggestion(found[0])
        return await self._collection.find_one(of_item, {"_id": 1}) is not None, None

    @asks_mongodb
    async def on(
        self, owner: str, records: Sequence[RecordKey], now: datetime
    ) -> list[tuple[RecordKey, str]]:
        """(record, identity) of what one owner has inside its window on any of these records."""
        keys = {_of_tenant(record): record for record in records}
        wanted = _visible(owner, now) | {"records": {"$in": list(keys)}}
        only = {"identity": 1, "on": {"$setIntersection": ["$records", list(keys)]}}
        found = self._collection.aggregate([{"$match": wanted}, {"$project": only}])
        return [(keys[key], document["identity"]) async for document in found for key in document["on"]]

    @asks_mongodb
    async def newest_on(self, owner: str, now: datetime, most: int) -> list[RecordKey]:
        """Up to so many records that an owner's newest suggestions are on, those of the newest first."""
        tenant, _ = owner.split("/")
        newest = (
            self._collection.find(_visible(owner, now), {"records": 1})
            .sort([("at", DESCENDING), ("_id", DESCENDING)])
            .limit(most)
        )
        records = dict.fromkeys([record async for suggestion in newest for record in suggestion["records"]])
        return [to_key(joined((tenant, record))) for record in list(records)[:most]]

    @asks_mongodb
    async def count(self) -> int:
        """The live ones."""
        return await self._collection.count_documents({"live": True})

    async def export(self) -> AsyncIterator[Document]:
        """Every live one in the order of its id: the ids of its item and of its records."""
        fields = {"records": 1, "activity.kind": 1, "activity.internet_message_id": 1, "activity.ical_uid": 1}
        in_order = [("_id", ASCENDING)]
        with translated():
            async for document in self._collection.find({"live": True}, fields).sort(in_order).hint(in_order):
                yield document


def _visible(owner: str, now: datetime) -> Document:
    return {"owner": owner, "visible_from": {"$lte": now}, "visible_until": {"$gt": now}}


def _if_greater(document: Document) -> list[Document]:
    epoch, count = document["epoch"], document["count"]
    same_epoch = {"$and": [{"$eq": ["$epoch", epoch]}, {"$lt": ["$count", count]}]}
    return replaced(document, {"$or": [{"$lt": ["$epoch", epoch]}, same_epoch]})
