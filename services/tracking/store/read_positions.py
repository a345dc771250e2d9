"""Where reading starts: `{_id: "topic/partition", next_offset, max_epoch, generation}`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.mongodb import MongoCollection, ReplaceOne


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """The progress in one partition.

    Attributes:
        next_offset: the first offset whose message is not stored yet.
        max_epoch: the greatest epoch that was read.
        generation: a monotonic version, made when offsets began to count. A topic that was lost and
            created again starts at offset 0 in a new generation.
    """

    next_offset: int
    max_epoch: int
    generation: int


class ReadPositionCollection:
    """The positions of all partitions that tracking reads."""

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def find_by_partition(self, names: Iterable[str]) -> dict[str, StoredPosition]:
        """The positions of the partitions that are known, by `topic/partition`."""
        return {
            document["_id"]: StoredPosition(
                document["next_offset"], document["max_epoch"], document["generation"]
            )
            async for document in self._collection.find({"_id": {"$in": list(names)}})
        }

    async def upsert(self, positions: Mapping[str, StoredPosition]) -> None:
        """Stores positions by `topic/partition`.

        There is no condition: the writer of a position has stored all that comes before it, so an older
        position costs work and nothing else.
        """
        await self._collection.bulk_write(
            [
                ReplaceOne(
                    {"_id": name},
                    {
                        "_id": name,
                        "next_offset": position.next_offset,
                        "max_epoch": position.max_epoch,
                        "generation": position.generation,
                    },
                    upsert=True,
                )
                for name, position in positions.items()
            ]
        )
