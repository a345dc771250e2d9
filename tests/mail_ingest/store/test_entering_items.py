"""Items that enter the capture window by the clock are found by an index, when their time has come."""

from datetime import timedelta
from typing import Any

from pymongo import MongoClient

from services.mail_ingest.domain.items import CapturedItem, ItemUpdate
from services.mail_ingest.store.database import Store
from shared.events import ActivityKind

from .stores import ANN, BO, now


def early(item: str, minutes: float) -> ItemUpdate:
    """An item that enters the window in so many minutes."""
    enters_at = now() + timedelta(minutes=minutes)
    refused = CapturedItem(
        item, ActivityKind.MEETING, "k", "", 1, gone=now(), refused="out_of_window", enters_at=enters_at
    )
    return ItemUpdate(refused, 0)


async def test_items_enter_one_after_another(store: Store) -> None:
    await store.items.record(ANN, "h", [early("now", -1), early("soon", 5), early("late", 9)])
    await store.items.record(BO, "h", [early("other", -1)])

    assert [each.item for each in await store.items.find_entering(ANN, now(), 10)] == ["now"]
    await store.items.forget_entries(ANN, ["now", "late"], now())

    assert await store.items.find_entering(ANN, now(), 10) == []
    next_at = await store.items.next_entry(ANN)
    assert next_at is not None
    assert timedelta(minutes=4) < next_at - now() < timedelta(minutes=5)
    later = await store.items.find_entering(ANN, now() + timedelta(minutes=10), 10)
    assert sorted(each.item for each in later) == ["late", "soon"]


async def test_entering_items_are_found_by_their_index(
    store: Store, mongodb_uri: str, mongodb_database: str
) -> None:
    await store.items.record(ANN, "h", [early("now", -1)])

    def count_uses() -> int:
        with MongoClient[dict[str, Any]](mongodb_uri) as client:
            statistics = client[mongodb_database]["items"].aggregate([{"$indexStats": {}}])
            return sum(each["accesses"]["ops"] for each in statistics if "enters_at" in each["key"])

    before = count_uses()
    await store.items.find_entering(ANN, now(), 10)
    await store.items.next_entry(ANN)

    assert count_uses() == before + 2
