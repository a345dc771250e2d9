"""Where reading starts: `{_id: "topic/partition", next, epoch, taken}`."""

from collections.abc import Iterable, Sequence

from pymongo import ReplaceOne

from .connection import Collection, Document, asks_mongodb


class StoredPositions:
    """Each partition's position, the greatest epoch seen there, and since when its offsets count."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @asks_mongodb
    async def of(self, names: Iterable[str]) -> dict[str, Document]:
        """Those of these partitions that are known, by name."""
        return {
            document["_id"]: document
            async for document in self._collection.find({"_id": {"$in": list(names)}})
        }

    @asks_mongodb
    async def put(self, positions: Sequence[Document]) -> None:
        """Reading starts here next time.

        Without a condition: whoever says a position has done all before it, so that an older one
        costs work and nothing else.
        """
        if positions:
            await self._collection.bulk_write(
                [ReplaceOne({"_id": document["_id"]}, document, upsert=True) for document in positions],
                ordered=False,
            )
