"""Where reading starts.

{_id: "topic/partition", next_offset, read_to, max_epoch, generation, topic_id}
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.mongodb import MongoCollection, UpdateOne

from .id_ranges import ANY


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """The progress in one partition.

    Attributes:
        next_offset: the first offset whose message is not stored yet.
        read_to: the offset behind the last batch. It is stored before the consumer group commits it, so a
            greater commit is that of a later store. Behind `next_offset` are messages whose dead letters may
            be missing.
        max_epoch: the greatest epoch that was read.
        generation: a monotonic version, made when offsets began to count. A topic that was made anew starts
            at offset 0 in a new generation, and so does one that is read again from its start.
        topic_id: that Kafka gave the topic at its creation; None: an earlier release stored the position.
    """

    next_offset: int
    read_to: int
    max_epoch: int
    generation: int
    topic_id: str | None


class ReadPositionCollection:
    """The positions of all partitions that tracking reads."""

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def find_by_partition(self, names: Iterable[str]) -> dict[str, StoredPosition]:
        """The positions of the partitions that are known, by `topic/partition`."""
        return {
            document["_id"]: _to_position(document)
            async for document in self._collection.find({"_id": {"$in": list(names)}})
        }

    async def any_stored(self) -> bool:
        """Whether there is any position: a store without one has never been used."""
        return await self._collection.find_one(ANY, {"_id": 1}) is not None

    async def start(self, changes: Mapping[str, tuple[StoredPosition | None, StoredPosition]]) -> None:
        """Stores positions at which partitions begin to be read: (the one that is stored, the new one).

        Where another one is stored, it stays: the write of a replica that has lost a partition may land after
        that of the new owner.
        """
        writes = []
        for name, (before, after) in changes.items():
            if before is None:
                writes.append(UpdateOne({"_id": name}, {"$setOnInsert": _fields(after)}, upsert=True))
            else:
                is_stored = {"_id": name, "generation": before.generation, "next_offset": before.next_offset}
                writes.append(UpdateOne(is_stored, {"$set": _fields(after)}))
        await self._collection.bulk_write(writes)

    async def advance(self, changes: Mapping[str, tuple[StoredPosition, StoredPosition]]) -> bool:
        """Stores positions by `topic/partition`: (the one that its writer stored last, the new one).

        `read_to` never decreases: a replica that was paused costs work and nothing else.

        Returns:
            False when a stored position is of another generation or behind the one that its writer stored.
        """
        writes = [
            UpdateOne(
                {"_id": name, "generation": before.generation, "read_to": {"$gte": before.read_to}},
                {
                    "$set": {"next_offset": after.next_offset},
                    "$max": {"read_to": after.read_to, "max_epoch": after.max_epoch},
                },
            )
            for name, (before, after) in changes.items()
        ]
        return (await self._collection.bulk_write(writes)).matched == len(writes)

    async def accept(self, positions: Mapping[str, StoredPosition]) -> None:
        """Raises `read_to` of these partitions; one that has no position gets all of it."""
        writes = []
        for name, position in positions.items():
            new = _fields(position)
            del new["read_to"]
            update = {"$max": {"read_to": position.read_to}, "$setOnInsert": new}
            writes.append(UpdateOne({"_id": name}, update, upsert=True))
        await self._collection.bulk_write(writes)

    async def begin_generation(self, names: Sequence[str], generation: int) -> None:
        """Makes these partitions be read from their starts, unless they already are in this generation."""
        start = _fields(StoredPosition(0, 0, 0, generation, None))
        await self._collection.bulk_write(
            [UpdateOne({"_id": name}, {"$setOnInsert": start}, upsert=True) for name in names]
        )
        await self._collection.update_many(
            {"_id": {"$in": list(names)}, "generation": {"$lt": generation}},
            {"$set": {"next_offset": 0, "read_to": 0, "max_epoch": 0, "generation": generation}},
        )


def _fields(position: StoredPosition) -> dict[str, Any]:
    return {
        "next_offset": position.next_offset,
        "read_to": position.read_to,
        "max_epoch": position.max_epoch,
        "generation": position.generation,
        "topic_id": position.topic_id,
    }


def _to_position(document: Mapping[str, Any]) -> StoredPosition:
    return StoredPosition(
        document["next_offset"],
        document.get("read_to", document["next_offset"]),
        document["max_epoch"],
        document["generation"],
        document.get("topic_id"),
    )
