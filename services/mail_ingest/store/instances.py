"""The collection `instances`: which process runs under each INSTANCE, by MongoDB's clock.

| field | meaning |
|---|---|
| `_id` | INSTANCE |
| `process` | id of the process; empty after it has stopped |
| `seen` | when it was alive last |
| `refused` | processes that have been refused because this one was alive |
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.clock import to_milliseconds
from shared.leases import NOW, has_ended
from shared.mongodb import Document, MongoCollection, MongoDatabase


@dataclass(frozen=True, slots=True)
class RunningInstance:
    """The process that runs under an INSTANCE."""

    process: str
    seen: datetime
    refused: int


class InstanceCollection:
    """The processes of all named replicas."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection: MongoCollection = database.collection("instances")

    async def claim(self, instance: str, process: str, silent_for: timedelta) -> RunningInstance:
        """Registers a process, unless another one has been alive within this time.

        Returns:
            The process that is registered afterwards.

        Raises:
            DuplicateDocumentError: another one has registered in the same moment; the next call finds it.
        """
        is_other = {"$not": [{"$in": [{"$ifNull": ["$process", ""]}, ["", process]]}]}
        seen_until = {"$add": ["$seen", to_milliseconds(silent_for)]}
        is_silent = has_ended(seen_until, silent_for)
        is_alive = {"$and": [is_other, {"$not": [is_silent]}]}
        claimed = {
            "process": {"$cond": [is_alive, "$process", process]},
            "seen": {"$cond": [is_alive, "$seen", NOW]},
            "refused": {"$ifNull": ["$refused", 0]},
        }
        document = await self._collection.find_one_and_update(
            {"_id": instance}, [{"$set": claimed}], upsert=True
        )
        return _read(document or {})

    async def show_alive(self, instance: str, process: str) -> RunningInstance | None:
        """Records that a process is alive; None: another one is registered."""
        alive = await self._collection.find_one_and_update(
            {"_id": instance, "process": process}, [{"$set": {"seen": NOW}}]
        )
        return _read(alive) if alive else None

    async def report_refusal(self, instance: str, process: str) -> None:
        """Records that a process was refused because this one was alive."""
        await self._collection.update_one({"_id": instance, "process": process}, {"$inc": {"refused": 1}})

    async def release(self, instance: str, process: str) -> None:
        """A process has stopped; the next one need not wait."""
        await self._collection.update_one({"_id": instance, "process": process}, {"$set": {"process": ""}})


def _read(document: Document) -> RunningInstance:
    return RunningInstance(document["process"], document["seen"], document["refused"])
