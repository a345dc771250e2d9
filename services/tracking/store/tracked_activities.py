"""Tracked activities, with the outbox of `tracked-activities`.

    {_id: "tenant/activity", tenant, identity, content_id, kind, direction, at, activity,
     content: {text, html, cut}, regarding: [{record: "tenant/type/id", by, name, at}], affected_records,
     copies: [{item: "tenant/mailbox/item", mailbox: "tenant/mailbox", kind, version, digest, until,
     sensitivity, gone}], revision, publish_pending, publish_lease: {holder, until}, delete_at,
     lost, lost_regarding: [{record, by, name, at}]}

`content_id` is the id that an activity with the present content gets when it is tracked first.

`affected_records` are the records that the activity is regarding, and those that the last change
removed. An untracked activity keeps its ids and its revision, and is deleted when its tombstone leaves
Kafka.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.tracking.domain.tracked_activity import TrackedActivity, activity_id
from services.tracking.domain.tracked_copy import TrackedCopy
from shared.events import Content
from shared.keys import ItemKey, MailboxKey, RecordKey, TrackedActivityKey, join_key, split_key
from shared.mongodb import (
    ASCENDING,
    DESCENDING,
    Document,
    DuplicateDocumentError,
    IndexModel,
    MongoCollection,
    Session,
    UpdateOne,
)
from shared.topics import TOMBSTONE_RETENTION

from .documents import (
    DELETE_AT_INDEX,
    activity_document,
    copy_document,
    regarding_document,
    to_activity,
    to_copy,
    to_regarding,
)
from .publish_leases import PUBLISH_PENDING_INDEX, lease_fields, lease_pending

WITHOUT_TEXT = {"content": 0}


def _document(tracked: TrackedActivity) -> Document:
    document: Document = {
        "_id": join_key(tracked.key),
        "tenant": tracked.tenant,
        "identity": tracked.identity,
        "regarding": [regarding_document(entry) for entry in tracked.regarding],
        "copies": _copy_documents(tracked),
        "revision": tracked.revision,
        "publish_pending": True,
    }
    if tracked.lost:
        document["lost"] = True
        document["lost_regarding"] = [regarding_document(entry) for entry in tracked.lost_regarding]
    if tracked.content is None:
        return document
    activity, content = tracked.content.activity, tracked.content
    return document | {
        "content_id": activity_id(content),
        "kind": activity.kind.value,
        "direction": activity.direction.value if activity.direction else None,
        "at": activity.at,
        "activity": activity_document(activity),
        "content": {"text": content.text, "html": content.html, "cut": content.cut},
    }


def _to_tracked(document: Mapping[str, Any]) -> TrackedActivity:
    """A tracked activity; its text is empty when the document was read without."""
    content = None
    if "activity" in document:
        text_fields = {"text": "", **document.get("content", {})}
        content = Content(activity=to_activity(document["activity"]), **text_fields)
    key = split_key(TrackedActivityKey, document["_id"])
    return TrackedActivity(
        key.tenant,
        key.activity,
        document["identity"],
        content,
        tuple(map(to_regarding, document["regarding"])),
        document["revision"],
        tuple(map(to_copy, document["copies"])),
        document.get("lost", False),
        tuple(map(to_regarding, document.get("lost_regarding", ()))),
    )


def _copy_documents(tracked: TrackedActivity) -> list[Document]:
    return list(map(copy_document, tracked.copies))


def _unchanged(before: TrackedActivity) -> Document:
    """Finds an activity if its stored state is still this one."""
    return {"_id": join_key(before.key), "revision": before.revision, "copies": _copy_documents(before)}


def _in_scope(scope: str) -> Document:
    """Finds the activities of a record, or of a tenant."""
    return {"regarding.record" if "/" in scope else "tenant": scope}


class TrackedActivityCollection:
    """The tracked activities of every tenant."""

    INDEXES = (
        IndexModel([("regarding.record", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("regarding.record", ASCENDING), ("revision", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("identity", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("revision", ASCENDING)]),
        IndexModel([("copies.item", ASCENDING)]),
        IndexModel([("copies.mailbox", ASCENDING), ("copies.until", ASCENDING)]),
        PUBLISH_PENDING_INDEX,
        DELETE_AT_INDEX,
    )

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def find_by_key(
        self, key: TrackedActivityKey, session: Session | None = None
    ) -> TrackedActivity | None:
        """A tracked activity with its text, untracked or not."""
        document = await self._collection.find_one({"_id": join_key(key)}, session=session)
        return _to_tracked(document) if document else None

    async def find_by_content(
        self, tenant: str, identity: str, content_id: str, session: Session
    ) -> TrackedActivity | None:
        """The activity that is tracked under this identity, and whose present content has this id."""
        query = {"tenant": tenant, "identity": identity, "content_id": content_id}
        document = await self._collection.find_one(query, session=session)
        return _to_tracked(document) if document else None

    async def find_by_copy(self, item: ItemKey) -> list[TrackedActivity]:
        """The activities that were tracked from this item, with their texts."""
        found = self._collection.find({"copies.item": join_key(item)})
        return [_to_tracked(document) async for document in found]

    async def find_followed(self, mailbox: MailboxKey, now: datetime) -> AsyncIterator[TrackedCopy]:
        """The items of a mailbox that are followed now; one of several activities comes for each of them."""
        owner = join_key(mailbox)
        query = {"copies": {"$elemMatch": {"mailbox": owner, "until": {"$gt": now}}}}
        async for document in self._collection.find(query, {"copies": 1}):
            for copy in map(to_copy, document["copies"]):
                if copy.item.mailbox_key == mailbox and copy.until > now:
                    yield copy

    async def find_by_identity(self, tenant: str, identity: str) -> list[TrackedActivity]:
        """The activities that are tracked under an identity, and those untracked, without their texts."""
        found = self._collection.find({"tenant": tenant, "identity": identity}, WITHOUT_TEXT)
        return [_to_tracked(document) async for document in found]

    async def find_page(
        self,
        record: RecordKey,
        before: tuple[datetime, str] | None,
        fields: Mapping[str, str],
        limit: int,
    ) -> list[TrackedActivity]:
        """The activities that are tracked on a record, newest first, without their texts.

        Args:
            record: the record.
            before: time and id of the last activity of the page before.
            fields: field of the document -> the value that it must have.
            limit: the most activities.
        """
        query: Document = {"regarding.record": join_key(record), **fields}
        if before:
            at, activity = before
            last = join_key(TrackedActivityKey(record.tenant, activity))
            query["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": last}}]
        newest_first = [("at", DESCENDING), ("_id", DESCENDING)]
        found = self._collection.find(query, WITHOUT_TEXT, sort=newest_first, limit=limit)
        return [_to_tracked(document) async for document in found]

    async def find_identities(
        self, tenant: str, identities: Iterable[str], records: Sequence[RecordKey]
    ) -> set[tuple[RecordKey, str]]:
        """(record, identity) of those of these identities that anyone has tracked on these records."""
        keys = {join_key(record): record for record in records}
        query = {
            "tenant": tenant,
            "identity": {"$in": list(identities)},
            "regarding.record": {"$in": list(keys)},
        }
        found = self._collection.find(query, {"identity": 1, "regarding.record": 1})
        return {
            (keys[entry["record"]], document["identity"])
            async for document in found
            for entry in document["regarding"]
            if entry["record"] in keys
        }

    async def replace_if_unchanged(
        self, tracked: TrackedActivity, before: TrackedActivity | None, session: Session | None = None
    ) -> bool:
        """Stores a new state as `publish_pending`.

        Args:
            tracked: the new state.
            before: the state that it follows, None for a new activity.
            session: a transaction.

        Returns:
            False when the stored state is no longer `before`.
        """
        document = _document(tracked)
        document["affected_records"] = sorted(
            {join_key(entry.record) for state in (tracked, before) if state for entry in state.regarding}
        )
        if before is None:
            try:
                await self._collection.insert_one(document, session=session)
            except DuplicateDocumentError:
                return False
            return True
        replaced = await self._collection.replace_one(_unchanged(before), document, session=session)
        return replaced.matched > 0

    async def record_copies(self, tracked: TrackedActivity, before: TrackedActivity) -> bool:
        """Records what is known of the copies, when nothing that is shown has changed.

        Returns:
            False when the stored state is no longer `before`.
        """
        recorded = await self._collection.update_one(
            _unchanged(before), {"$set": {"copies": _copy_documents(tracked)}}
        )
        return recorded.matched > 0

    async def find_max_revision(self, scope: str) -> int | None:
        """The greatest revision of the activities of a scope, see `Republication`; None when it has none."""
        newest = await self._collection.find_one(
            _in_scope(scope), {"revision": 1}, sort=[("revision", DESCENDING)]
        )
        return int(newest["revision"]) if newest else None

    async def find_tenants(self) -> list[str]:
        """The tenants that have tracked activities."""
        # In this form MongoDB reads one entry of the index for each tenant.
        first: list[Document] = [
            {"$sort": {"tenant": ASCENDING}},
            {"$group": {"_id": "$tenant", "first": {"$first": "$_id"}}},
        ]
        return sorted([document["_id"] async for document in self._collection.aggregate(first)])

    async def lease_below(self, scope: str, revision: int, holder: str, limit: int) -> list[TrackedActivity]:
        """Raises activities to a revision, and leases them to be published again, without their texts.

        Args:
            scope: see `Republication`.
            revision: activities of lower revisions are raised to it, the lowest first.
            holder: token of this replica.
            limit: the most activities.
        """
        lower = _in_scope(scope) | {"revision": {"$lt": revision}}
        lowest_first = self._collection.find(lower, {"_id": 1}, sort=[("revision", ASCENDING)], limit=limit)
        ids = [document["_id"] async for document in lowest_first]
        raised = {"revision": revision, "publish_pending": True} | lease_fields(holder)
        await self._collection.update_many(lower | {"_id": {"$in": ids}}, [{"$set": raised}])
        leased = {"_id": {"$in": ids}, "revision": revision, "publish_lease.holder": holder}
        return [
            _to_tracked(document) async for document in self._collection.find(leased, {"content.text": 0})
        ]

    async def lease_pending(self, holder: str, limit: int) -> list[TrackedActivity]:
        """Leases activities whose state is not published yet, without their texts; see `publish_leases`."""
        return [_to_tracked(document) for document in await lease_pending(self._collection, holder, limit)]

    async def acknowledge(self, published: Sequence[TrackedActivity], now: datetime) -> None:
        """Marks states as published, after Kafka has acknowledged them.

        An activity that has another revision by now is `publish_pending` again, whichever replica published
        what in the meantime.
        """
        writes = []
        for tracked in published:
            document_id = join_key(tracked.key)
            stays = tracked.is_tracked or tracked.lost
            expiry = {} if stays else {"$set": {"delete_at": now + TOMBSTONE_RETENTION}}
            writes.append(
                UpdateOne(
                    {"_id": document_id, "revision": tracked.revision},
                    {"$unset": {"publish_pending": "", "publish_lease": ""}} | expiry,
                )
            )
            writes.append(
                UpdateOne(
                    {"_id": document_id, "revision": {"$ne": tracked.revision}},
                    {"$set": {"publish_pending": True}, "$unset": {"publish_lease": ""}},
                )
            )
        await self._collection.bulk_write(writes, ordered=True)

    async def count_publish_pending(self) -> int:
        """The number of activities whose state is not published yet."""
        return await self._collection.count({"publish_pending": True})
