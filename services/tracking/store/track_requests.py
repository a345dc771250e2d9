"""Track requests. A unique index allows at most one open request for an item.

    {_id: request id, item: "tenant/mailbox/item", owner: "tenant/mailbox", kind,
     regarding: [{record, by, name, at}], state, reason, opened_at, deadline, activity, publish_pending,
     publish_lease: {holder, until}, repeat_at, delete_at}

A closed request keeps nothing of the item. `publish_pending` and `publish_lease` are the outbox of
`content-requests`; an open request is pending there again at `repeat_at`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.tracking.domain.timeline import SUGGESTION_RETENTION_AFTER_WINDOW
from services.tracking.domain.track_request import (
    FIRST_REPEAT,
    MAX_REPEAT,
    NO_ANSWER,
    Regarding,
    TrackRequest,
    TrackRequestState,
)
from shared.clock import UNIX_EPOCH, to_milliseconds
from shared.events import Activity, ActivityKind
from shared.keys import ItemKey, MailboxKey, RecordKey, join_key, split_key
from shared.mongodb import ASCENDING, Document, DuplicateDocumentError, IndexModel, MongoCollection, Session

from .documents import DELETE_AT_INDEX, activity_document, regarding_document, to_activity, to_regarding
from .publish_leases import PUBLISH_PENDING_INDEX, lease_pending

OPEN: Document = {"state": TrackRequestState.OPEN.value}
ANY_OPEN: Document = OPEN | {"deadline": {"$gt": UNIX_EPOCH}}
"""Finds all open requests by the index of the deadlines."""


def _to_request(document: Mapping[str, Any]) -> TrackRequest:
    return TrackRequest(
        document["_id"],
        split_key(ItemKey, document["item"]),
        ActivityKind(document["kind"]),
        tuple(map(to_regarding, document["regarding"])),
        document["opened_at"],
        document["deadline"],
        to_activity(document["activity"]) if "activity" in document else None,
        TrackRequestState(document["state"]),
        document.get("reason"),
    )


class TrackRequestCollection:
    """The track requests of every owner."""

    INDEXES = (
        IndexModel(
            [("item", ASCENDING)],
            name="one open request for an item",
            unique=True,
            partialFilterExpression=OPEN,
        ),
        IndexModel([("deadline", ASCENDING)], partialFilterExpression=OPEN),
        IndexModel([("repeat_at", ASCENDING)], partialFilterExpression=OPEN),
        IndexModel([("owner", ASCENDING), ("regarding.record", ASCENDING)]),
        PUBLISH_PENDING_INDEX,
        DELETE_AT_INDEX,
    )

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def find_for_record(self, owner: MailboxKey, record: RecordKey) -> list[TrackRequest]:
        """An owner's track requests for a record, closed ones included."""
        query = {"owner": join_key(owner), "regarding.record": join_key(record)}
        return [_to_request(document) async for document in self._collection.find(query)]

    async def find_by_id(self, request_id: str, session: Session) -> TrackRequest | None:
        """A track request, as a transaction sees it."""
        document = await self._collection.find_one({"_id": request_id}, session=session)
        return _to_request(document) if document else None

    async def find_open(self, item: ItemKey) -> TrackRequest | None:
        """The request for an item that is stored as open, also when its deadline has passed."""
        document = await self._collection.find_one(OPEN | {"item": join_key(item)})
        return _to_request(document) if document else None

    async def insert(self, request: TrackRequest, activity: Activity) -> bool:
        """Stores a new request as `publish_pending`; False when the item has an open one already."""
        document = OPEN | {
            "_id": request.id,
            "item": join_key(request.item),
            "owner": join_key(request.item.mailbox_key),
            "kind": request.kind.value,
            "regarding": [regarding_document(entry) for entry in request.regarding],
            "opened_at": request.opened_at,
            "deadline": request.deadline,
            "activity": activity_document(activity),
            "publish_pending": True,
            "repeat_at": request.opened_at + FIRST_REPEAT,
            "delete_at": max(request.deadline, activity.visible_until) + SUGGESTION_RETENTION_AFTER_WINDOW,
        }
        try:
            await self._collection.insert_one(document)
        except DuplicateDocumentError:
            return False
        return True

    async def join(self, request: TrackRequest, regarding: Regarding) -> bool:
        """Adds an entry, once; False when the request is no longer open."""
        same_entry = {"$elemMatch": {"record": join_key(regarding.record), "by": regarding.by}}
        still_open = OPEN | {"_id": request.id}
        added = await self._collection.update_one(
            still_open | {"regarding": {"$not": same_entry}},
            {"$push": {"regarding": regarding_document(regarding)}},
        )
        if added.matched:
            return True
        there = await self._collection.find_one(still_open | {"regarding": same_entry}, {"_id": 1})
        return there is not None

    async def close(
        self,
        request_id: str,
        state: TrackRequestState,
        reason: str | None = None,
        session: Session | None = None,
    ) -> None:
        """Closes a request, if it is open."""
        await self._collection.update_one(
            OPEN | {"_id": request_id}, _closing(state, reason), session=session
        )

    async def fail_overdue(self, now: datetime) -> int:
        """Fails the open requests whose deadline has passed, and returns how many."""
        failed = await self._collection.update_many(
            OPEN | {"deadline": {"$lte": now}}, _closing(TrackRequestState.FAILED, NO_ANSWER)
        )
        return failed.modified

    async def fail_open(self) -> int:
        """Fails every open request, and returns how many there were."""
        failed = await self._collection.update_many(ANY_OPEN, _closing(TrackRequestState.FAILED, NO_ANSWER))
        return failed.modified

    async def lease_pending(self, holder: str, limit: int) -> list[TrackRequest]:
        """Leases requests that are not on `content-requests` yet; see `publish_leases`."""
        return [_to_request(document) for document in await lease_pending(self._collection, holder, limit)]

    async def acknowledge(self, requests: Sequence[TrackRequest]) -> None:
        """Marks requests as published, after Kafka has acknowledged them."""
        await self._collection.update_many(
            {"_id": {"$in": [request.id for request in requests]}},
            {"$unset": {"publish_pending": "", "publish_lease": ""}},
        )

    async def repeat_unanswered(self, now: datetime) -> int:
        """Makes the open requests pending again that should have an answer by now; returns how many."""
        first, most = map(to_milliseconds, (FIRST_REPEAT, MAX_REPEAT))
        pause = {"$min": [{"$max": [{"$subtract": [now, "$opened_at"]}, first]}, most]}
        repeated = await self._collection.update_many(
            OPEN | {"repeat_at": {"$lte": now}},
            [{"$set": {"publish_pending": True, "repeat_at": {"$add": [now, pause]}}}],
        )
        return repeated.modified

    async def count_open(self) -> int:
        """The number of requests that are stored as open."""
        return await self._collection.count(ANY_OPEN)

    async def count_publish_pending(self) -> int:
        """The number of requests that are not on `content-requests` yet."""
        return await self._collection.count({"publish_pending": True})


def _closing(state: TrackRequestState, reason: str | None) -> Document:
    return {
        "$set": {"state": state.value, "reason": reason},
        "$unset": dict.fromkeys(("activity", "publish_pending", "publish_lease", "repeat_at"), ""),
    }
