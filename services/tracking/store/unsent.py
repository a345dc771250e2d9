"""What is noted as unsent, taken for a moment by whoever says it: `saying: {by, until}`."""

from datetime import timedelta

from pymongo import ASCENDING, IndexModel

from .connection import Collection, Document, milliseconds

SAYING_FOR = timedelta(seconds=15)
"""Who takes something to say and has not confirmed it after this is dead, or slept."""
UNSENT = IndexModel([("unsent", ASCENDING)], partialFilterExpression={"unsent": True})


async def take(collection: Collection, by: str, limit: int) -> list[Document]:
    """Takes unsent documents that nobody else is saying, by MongoDB's clock, so that replicas agree on who is dead; without a text."""
    free: Document = {
        "unsent": True,
        "$or": [{"saying": None}, {"$expr": {"$lt": ["$saying.until", "$$NOW"]}}],
    }
    ids = [document["_id"] async for document in collection.find(free, {"_id": 1}).limit(limit)]
    if not ids:
        return []
    mine = {"saying": {"by": {"$literal": by}, "until": {"$add": ["$$NOW", milliseconds(SAYING_FOR)]}}}
    await collection.update_many(free | {"_id": {"$in": ids}}, [{"$set": mine}])
    return [
        document
        async for document in collection.find(
            {"_id": {"$in": ids}, "unsent": True, "saying.by": by}, {"content.text": 0}
        )
    ]
