"""Divides a collection into ranges of ids, so that what concerns all of it is done in bounded commands."""

from collections.abc import AsyncIterator

from shared.mongodb import ASCENDING, Document, MongoCollection

RANGE_SIZE = 1000
"""Documents that one command reads at most; a command must end within the time-out of the connection."""
ANY: Document = {"_id": {"$gt": ""}}
"""Matches every document, by the index of the ids."""


async def id_ranges(collection: MongoCollection, size: int = RANGE_SIZE) -> AsyncIterator[Document]:
    """Conditions that match all documents of a collection, each at most `size` of them.

    Args:
        collection: its ids are texts that are not empty.
        size: the most documents of a range.
    """
    last = ""
    in_order = [("_id", ASCENDING)]
    while ids := [
        document["_id"]
        async for document in collection.find({"_id": {"$gt": last}}, {"_id": 1}, sort=in_order, limit=size)
    ]:
        yield {"_id": {"$gt": last, "$lte": ids[-1]}}
        last = ids[-1]
