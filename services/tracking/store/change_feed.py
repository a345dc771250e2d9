"""Changes of the database, by whichever replica, from MongoDB's change stream.

A change names the owner and the records that it concerns, and none of the data.
"""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared.mongodb import Document, MongoDatabase

OWNED_COLLECTIONS = frozenset({"suggestions", "dismissals", "capture_statuses"})
"""The ids of their documents begin with `tenant/oid`."""
OUTBOX_COLLECTIONS = ("track_requests", "tracked_activities")
INVISIBLE_FIELDS = frozenset(
    {"publish_pending", "publish_lease", "repeat_at", "topic_revision", "topic_generation"}
    | {"delete_at", "copies", "revision"}
)
"""A change of these fields alone, of the outbox and of what is known of followed items, shows nothing.

A state that shows something else is a replacement of its document.
"""
MAX_WAIT = timedelta(seconds=1)
"""MongoDB answers after this time when nothing changed."""
PIPELINE: list[Document] = [
    {
        "$match": {
            "ns.coll": {"$in": [*sorted(OWNED_COLLECTIONS), "records", *OUTBOX_COLLECTIONS]},
            "operationType": {"$in": ["insert", "update", "replace", "delete"]},
        }
    },
    {
        "$project": {
            "ns.coll": 1,
            "documentKey": 1,
            "fullDocument.owner": 1,
            "fullDocument.affected_records": 1,
            "updated": {
                "$cond": [
                    {"$in": ["$ns.coll", list(OUTBOX_COLLECTIONS)]},
                    "$updateDescription.updatedFields",
                    "$$REMOVE",
                ]
            },
        }
    },
]


@dataclass(frozen=True, slots=True)
class Change:
    """What a change concerns.

    Attributes:
        owner: `tenant/oid` of the only user who sees it.
        records: `tenant/type/id` of the records whose timelines may change for all their readers.
        everything: changes may have been missed, so that any timeline may have changed.
    """

    owner: str | None = None
    records: frozenset[str] = frozenset()
    everything: bool = False

    def concerns(self, owner: str, record: str | None) -> bool:
        """True when a page of this user, on this record if any, may show something else."""
        return self.everything or self.owner == owner or record in self.records


UNKNOWN_CHANGES = Change(everything=True)


class ChangeFeed:
    """Reads the changes of one database, from where the last reading ended."""

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database
        self._stream = database.watch(PIPELINE, MAX_WAIT)

    def forget_position(self) -> None:
        """The next reading begins with `UNKNOWN_CHANGES`, and with what changes from then on."""
        self._stream.resume_token = None

    async def changes(self) -> AsyncGenerator[Change | None, None]:
        """Changes as they come; None whenever `MAX_WAIT` passed without one.

        Raises:
            RetryableError: MongoDB is unavailable; the next reading goes on without a gap, or begins with
                `UNKNOWN_CHANGES`.
        """
        gap = self._stream.resume_token is None
        async with contextlib.aclosing(self._stream.events()) as events:
            async for event in events:
                if gap:  # the first event is None: the stream is open, and no change is missed from here on
                    gap = False
                    yield UNKNOWN_CHANGES
                else:
                    yield await self._to_change(event) if event else None

    async def _to_change(self, event: Mapping[str, Any]) -> Change | None:
        collection, document_id = event["ns"]["coll"], event["documentKey"]["_id"]
        if collection in OWNED_COLLECTIONS:
            return Change(owner="/".join(document_id.split("/", 2)[:2]))
        if collection == "records":
            return Change(records=frozenset({document_id}))
        document = event.get("fullDocument") or {}
        if not document and _is_visible(event.get("updated") or {}):
            document = (
                await self._database.collection(collection).find_one(
                    {"_id": document_id}, {"owner": 1, "affected_records": 1}
                )
                or {}
            )
        if not document:
            return None
        return Change(document.get("owner"), frozenset(document.get("affected_records", ())))


def _is_visible(updated: Mapping[str, Any]) -> bool:
    """True when an update changed more than fields that users do not see."""
    return bool(updated.keys() - INVISIBLE_FIELDS)
