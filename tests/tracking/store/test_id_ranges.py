"""Ranges of ids divide a collection into parts of a bounded size."""

from services.tracking.store import Store
from services.tracking.store.id_ranges import id_ranges


async def test_every_document_is_in_one_range_though_documents_are_deleted(store: Store) -> None:
    collection = store.collection("divided")
    await collection.insert_many([{"_id": f"t/{number}"} for number in range(5)])

    parts = []
    async for part in id_ranges(collection, size=2):
        parts.append([document["_id"] async for document in collection.find(part)])
        await collection.delete_many(part)

    assert parts == [["t/0", "t/1"], ["t/2", "t/3"], ["t/4"]]
