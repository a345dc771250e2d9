"""Reads many documents in the order of their keys: in bounded pages, each from where the last ended."""

from collections.abc import AsyncIterator

from shared.mongodb import ASCENDING, Document, MongoCollection

WALK_SIZE = 500
"""Documents that one update of a walk changes at most."""
KEY_ORDER = [("_id", ASCENDING)]


def below(prefix: str | None, after: str | None = None) -> Document:
    """Matches the documents whose keys begin with these parts, or all, after one of them.

    Args:
        prefix: parts of a key, joined by `/`.
        after: a key.
    """
    bounds = {"$gt": max(after or "", f"{prefix}/" if prefix else "")}
    if prefix:
        bounds["$lt"] = f"{prefix}0"  # the character after /
    return {"_id": bounds}


async def read_page(
    collection: MongoCollection,
    prefix: str | None,
    after: str | None,
    limit: int,
    query: Document | None = None,
    projection: Document | None = None,
) -> list[Document]:
    """The next documents below a prefix that match."""
    found = collection.find(
        {**(query or {}), **below(prefix, after)}, projection, sort=KEY_ORDER, limit=limit
    )
    return [document async for document in found]


async def walk(
    collection: MongoCollection,
    query: Document,
    prefix: str | None = None,
    after: str | None = None,
    size: int = WALK_SIZE,
) -> AsyncIterator[list[str]]:
    """The keys of all documents below a prefix that match, in lists of at most `size`."""
    while page := await read_page(collection, prefix, after, size, query, {"_id": 1}):
        keys = [document["_id"] for document in page]
        yield keys
        after = keys[-1]
