"""What changes in the database, whichever replica changes it: MongoDB's change stream.

A change says whom and which records it concerns, and never what stands there now.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo.errors import ConnectionFailure, PyMongoError

from shared.errors import Transient

from .connection import Document, milliseconds

WATCHED = ("suggestions", "dismissals", "mailboxes", "records", "claims", "tracked")
BY_OWNER = {"suggestions", "dismissals", "mailboxes"}
"""Their ids begin with `tenant/oid`."""
AWAIT = timedelta(seconds=1)
"""MongoDB answers after this also where nothing has changed."""
STEPS: list[Document] = [
    {
        "$match": {
            "ns.coll": {"$in": list(WATCHED)},
            "operationType": {"$in": ["insert", "update", "replace", "delete"]},
        }
    },
    {
        "$project": {
            "ns.coll": 1,
            "documentKey": 1,
            "fullDocument.owner": 1,
            "fullDocument.touched": 1,
            "updated": {
                "$cond": [
                    {"$in": ["$ns.coll", ["claims", "tracked"]]},
                    "$updateDescription.updatedFields",
                    "$$REMOVE",
                ]
            },
        }
    },
]


@dataclass(frozen=True, slots=True)
class Change:
    """Something changed for an owner ("tenant/oid"), or on records ("tenant/type/id")."""

    owner: str | None = None
    records: frozenset[str] = frozenset()
    everything: bool = False


EVERYTHING = Change(everything=True)
"""What was missed is not known."""


class Changes:
    """Reads the changes of one database, from where it last stood."""

    def __init__(self, database: "AsyncIOMotorDatabase[Document]") -> None:
        self._database = database
        self._token: Mapping[str, Any] | None = None

    def forget(self) -> None:
        """Begin anew next time, with `EVERYTHING`."""
        self._token = None

    async def watch(self) -> AsyncIterator[Change | None]:
        """Changes as they come, None where none came for a second.

        Raises:
            Transient: MongoDB is away; watching again goes on without a gap.
        """
        try:
            async with self._database.watch(
                STEPS, resume_after=self._token, max_await_time_ms=milliseconds(AWAIT)
            ) as opened:
                stream: Any = opened  # motor's types take its properties for methods
                if self._token is None:
                    yield EVERYTHING
                while stream.alive:
                    event = await stream.try_next()
                    self._token = stream.resume_token
                    yield await self._change(event) if event else None
        except ConnectionFailure as away:
            raise Transient(f"MongoDB does not answer: {type(away).__name__}") from away
        except PyMongoError as error:
            self._token = None  # too old, or not from here
            raise Transient(f"MongoDB's changes cannot be read from there: {type(error).__name__}") from error
        self._token = None
        raise Transient("MongoDB has closed the stream of changes")

    async def _change(self, event: Mapping[str, Any]) -> Change | None:
        collection, key = event["ns"]["coll"], event["documentKey"]["_id"]
        if collection in BY_OWNER:
            return Change(owner="/".join(key.split("/", 2)[:2]))
        if collection == "records":
            return Change(records=frozenset({key}))
        document = event.get("fullDocument") or {}
        if not document and _matters(event.get("updated") or {}):
            document = (
                await self._database.get_collection(collection).find_one(
                    {"_id": key}, {"owner": 1, "touched": 1}
                )
                or {}
            )
        if not document:
            return None
        return Change(document.get("owner"), frozenset(document.get("touched", ())))


def _matters(updated: Mapping[str, Any]) -> bool:
    """Whether an update changed more than the note of what is to be said."""
    return bool(updated.keys() - {"unsent", "saying", "delete_at"})
