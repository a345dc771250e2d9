"""Tracked activities, and the note of what is to be said of them.

    {_id: "tenant/activity", tenant, identity, kind, direction, at, activity, content: {text, html, cut},
     regarding: [{record: "tenant/type/id", by, name, at}], touched, revision, unsent, saying, delete_at}

`touched` are the records that it is on, and those that the last change took it off.
Of an untracked one only ids and the revision are left, and they go as its tombstone on Kafka does.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne

from services.tracking.domain.activity import ItemKey, Tracked
from shared.events import Content
from shared.records import RecordKey
from shared.topics import TOMBSTONES_KEPT

from .claims import ask_document, to_ask
from .connection import ONCE_GONE, Collection, Document, Session, asks_mongodb, joined
from .suggestions import activity_document, to_activity
from .unsent import UNSENT, take

WITHOUT_TEXT = {"content": 0}


def _document(tracked: Tracked) -> Document:
    document: Document = {
        "_id": joined((tracked.tenant, tracked.id)),
        "tenant": tracked.tenant,
        "identity": tracked.identity,
        "regarding": [ask_document(entry) for entry in tracked.regarding],
        "revision": tracked.revision,
        "unsent": True,
    }
    if tracked.content is None:
        return document
    activity, content = tracked.content.activity, tracked.content
    return document | {
        "kind": activity.kind.value,
        "direction": activity.direction.value if activity.direction else None,
        "at": activity.at,
        "activity": activity_document(activity),
        "content": {"text": content.text, "html": content.html, "cut": content.cut},
    }


def _to_tracked(document: Mapping[str, Any]) -> Tracked:
    """A tracked activity; with an empty text where the document was read without."""
    content = None
    if "activity" in document:
        content = Content(
            activity=to_activity(document["activity"]), **{"text": "", **document.get("content", {})}
        )
    return Tracked(
        document["tenant"],
        document["_id"].split("/", 1)[1],
        document["identity"],
        content,
        tuple(map(to_ask, document["regarding"])),
        document["revision"],
    )


class StoredTracked:
    """The tracked activities of every tenant."""

    INDEXES = (
        IndexModel([("regarding.record", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("tenant", ASCENDING), ("identity", ASCENDING)]),
        UNSENT,
        ONCE_GONE,
    )

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @asks_mongodb
    async def one(self, tenant: str, activity: str, session: Session | None = None) -> Tracked | None:
        """A tracked activity with its text."""
        document = await self._collection.find_one({"_id": joined((tenant, activity))}, session=session)
        return _to_tracked(document) if document else None

    @asks_mongodb
    async def by_owner(self, item: ItemKey, identity: str, record: RecordKey) -> Tracked | None:
        """The activity that the owner of an item has tracked on a record as this thing."""
        entry = {"$elemMatch": {"record": joined(record), "by": item[1]}}
        document = await self._collection.find_one(
            {"tenant": item[0], "identity": identity, "regarding": entry}, WITHOUT_TEXT
        )
        return _to_tracked(document) if document else None

    @asks_mongodb
    async def on(
        self, record: RecordKey, before: tuple[datetime, str] | None, filters: Document, limit: int
    ) -> list[Tracked]:
        """What is tracked on a record, newest first, without the texts."""
        wanted: Document = {"regarding.record": joined(record)} | filters
        if before:
            at, activity = before
            wanted["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": joined((record[0], activity))}}]
        found = (
            self._collection.find(wanted, WITHOUT_TEXT)
            .sort([("at", DESCENDING), ("_id", DESCENDING)])
            .limit(limit)
        )
        return [_to_tracked(document) async for document in found]

    @asks_mongodb
    async def among(
        self, tenant: str, identities: Iterable[str], records: Sequence[RecordKey]
    ) -> set[tuple[RecordKey, str]]:
        """(record, identity) of those of these things that somebody has tracked on these records."""
        keys = {joined(record): record for record in records}
        wanted = {
            "tenant": tenant,
            "identity": {"$in": list(identities)},
            "regarding.record": {"$in": list(keys)},
        }
        found = self._collection.find(wanted, {"identity": 1, "regarding.record": 1})
        return {
            (keys[entry["record"]], document["identity"])
            async for document in found
            for entry in document["regarding"]
            if entry["record"] in keys
        }

    @asks_mongodb
    async def put(self, tracked: Tracked, after: Tracked | None, session: Session | None = None) -> bool:
        """The new state, noted as unsent, if the old one is still `after`; False otherwise."""
        document = _document(tracked)
        document["touched"] = sorted(
            {joined(entry.record) for state in (tracked, after) if state for entry in state.regarding}
        )
        if after is None:
            await self._collection.insert_one(document, session=session)
            return True
        replaced = await self._collection.replace_one(
            {"_id": document["_id"], "revision": after.revision}, document, session=session
        )
        return replaced.matched_count > 0

    @asks_mongodb
    async def announce_again(self, records: Iterable[str], revision: int) -> int:
        """Notes what is tracked on these records as unsent, at a higher revision; answers how many activities."""
        higher = {"$max": [revision, {"$add": ["$revision", 1]}]}
        noted = await self._collection.update_many(
            {"regarding.record": {"$in": list(records)}}, [{"$set": {"unsent": True, "revision": higher}}]
        )
        return noted.modified_count

    @asks_mongodb
    async def take(self, by: str, limit: int) -> list[Tracked]:
        """Takes those whose state was not announced yet, without their texts."""
        return [_to_tracked(document) for document in await take(self._collection, by, limit)]

    @asks_mongodb
    async def confirm(self, said: Sequence[Tracked], now: datetime) -> None:
        """Kafka has these states; one that has changed since is unsent again, whoever said what meanwhile."""
        writes = []
        for tracked in said:
            _id = joined((tracked.tenant, tracked.id))
            gone = {} if tracked.is_live else {"$set": {"delete_at": now + TOMBSTONES_KEPT}}
            writes.append(
                UpdateOne(
                    {"_id": _id, "revision": tracked.revision},
                    {"$unset": {"unsent": "", "saying": ""}} | gone,
                )
            )
            writes.append(
                UpdateOne(
                    {"_id": _id, "revision": {"$ne": tracked.revision}},
                    {"$set": {"unsent": True}, "$unset": {"saying": ""}},
                )
            )
        await self._collection.bulk_write(writes)

    @asks_mongodb
    async def resend(self) -> int:
        """Notes every one as unsent; answers how many."""
        return (await self._collection.update_many({}, {"$set": {"unsent": True}})).matched_count

    @asks_mongodb
    async def unsent(self) -> int:
        """How many are still to be announced."""
        return await self._collection.count_documents({"unsent": True})
