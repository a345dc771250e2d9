"""No operation of the store reads a whole collection, however many documents there are."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pymongo import MongoClient

from services.tracking.settings import TrackingSettings
from services.tracking.store import Store
from shared.mongodb import Document
from shared.topics import TRACKING
from tests.support.query_plans import record_scans, recorded_scans

from .operations import OPERATIONS, prepare

COLLECTIONS = {
    "capture_statuses",
    "dismissals",
    "event_settings",
    "followed_mailboxes",
    "newer_states",
    "read_positions",
    "records",
    "republications",
    "restore_cases",
    "store_state",
    "suggestions",
    "track_requests",
    "tracked_activities",
}
OTHERS = 20
"""Documents of each collection besides that which the operations are about."""


def another(document: Mapping[str, Any], number: int) -> Document:
    """A document like this one, which does not conflict with it."""
    item = {"item": f"{document['item']}-{number}"} if "item" in document else {}
    return {**document, "_id": f"{document['_id']}-{number}", **item}


@pytest.fixture(params=["motor", "pymongo"])
async def own_store(
    settings: TrackingSettings, own_prefix: str, request: pytest.FixtureRequest
) -> AsyncIterator[Store]:
    """A store in a database of its own, which no other test fills."""
    store = Store(settings.model_copy(update={"mongodb_database": f"{own_prefix}scans"}), request.param)
    await store.create_indexes()
    yield store
    await store.close()


async def test_no_operation_reads_a_whole_collection(
    own_store: Store, own_prefix: str, mongodb_uri: str
) -> None:
    await prepare(own_store)
    for operation in OPERATIONS.values():
        await operation(own_store)
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        database = client[f"{own_prefix}scans"]
        assert set(database.list_collection_names()) == COLLECTIONS
        for name in COLLECTIONS:
            one = database[name].find_one()
            assert one, f"no operation leaves anything in {name}"
            database[name].insert_many([another(one, number) for number in range(OTHERS)])
        record_scans(database, TRACKING)
        for operation in OPERATIONS.values():
            await operation(own_store)
        scans = recorded_scans(database)
        client.drop_database(database.name)
    assert scans == [], "these operations use no index"
