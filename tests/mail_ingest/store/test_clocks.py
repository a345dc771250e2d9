"""Clocks that are a minute off: MongoDB's, from one primary to the next, and those of the workers."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Work
from services.mail_ingest.store.lease import LeaseLostError

from .stores import ANN, EMAIL, LEASE, SHORT, acquire, finish_all_work, has_work, now, read

MINUTE = timedelta(minutes=1)
MINUTE_MS = 60_000
SILENT_FOR = timedelta(seconds=2)


def move(mongodb_uri: str, database: str, collection: str, field: str, by_ms: int) -> None:
    """Moves a time that MongoDB's clock has set, as another primary's clock would have set it."""
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        moved = client[database][collection].update_many(
            {}, [{"$set": {field: {"$add": [f"${field}", by_ms]}}}]
        )
    assert moved.modified_count


async def test_lease_of_a_primary_that_was_ahead_holds_nobody_up(
    store: Store, mongodb_uri: str, mongodb_database: str
) -> None:
    first = await acquire(store, "first")
    assert not await has_work(store)
    move(mongodb_uri, mongodb_database, "mailboxes", "lease.until", MINUTE_MS)

    second = await acquire(store, "second")

    with pytest.raises(LeaseLostError):
        await first.read()
    assert await second.renew_lease()
    assert not await has_work(store)


async def test_renewal_makes_a_lease_right_again(
    store: Store, mongodb_uri: str, mongodb_database: str
) -> None:
    first = await acquire(store, "first")
    move(mongodb_uri, mongodb_database, "mailboxes", "lease.until", MINUTE_MS)

    assert await first.renew_lease()

    assert not await has_work(store)


async def test_ended_lease_has_ended_by_every_clock(
    store: Store, mongodb_uri: str, mongodb_database: str
) -> None:
    await acquire(store, "replica-1/former.1")
    await store.mailbox_leases.end_leases("replica-1")
    move(mongodb_uri, mongodb_database, "mailboxes", "lease.until", MINUTE_MS)

    assert await store.mailbox_leases.acquire_lease(Work.ROUTINE, "replica-1/new.1", LEASE, now())


async def test_slot_of_a_primary_that_was_ahead_holds_nobody_up(
    store: Store, mongodb_uri: str, mongodb_database: str
) -> None:
    assert await store.request_slots.acquire(ANN, "killed", LEASE)
    assert not await store.request_slots.acquire(ANN, "early", LEASE)
    move(mongodb_uri, mongodb_database, "request_slots", "until", MINUTE_MS)

    assert await store.request_slots.acquire(ANN, "next", LEASE)


async def test_instance_that_a_primary_ahead_has_seen_holds_nobody_up(
    store: Store, mongodb_uri: str, mongodb_database: str
) -> None:
    await store.instances.claim("replica-1", "killed", SILENT_FOR)
    assert (await store.instances.claim("replica-1", "twin", SILENT_FOR)).process == "killed"
    move(mongodb_uri, mongodb_database, "instances", "seen", MINUTE_MS)

    assert (await store.instances.claim("replica-1", "next", SILENT_FOR)).process == "next"


async def test_work_is_due_at_once_for_a_worker_whose_clock_is_behind(store: Store) -> None:
    await finish_all_work(store)
    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})
    assert await store.mailbox_leases.acquire_lease(Work.FRESH, "behind", SHORT, now() - MINUTE)
    await asyncio.sleep(2 * SHORT.total_seconds())
    await store.mailbox_work.request_subscription_work([ANN])

    assert await store.mailbox_leases.acquire_lease(Work.ROUTINE, "behind", SHORT, now() - MINUTE)

    due_at = (await read(store)).subscriptions_due_at
    assert due_at is not None
    assert due_at <= now() - MINUTE


async def test_scheduled_work_is_due_by_the_clock_that_scheduled_it(store: Store) -> None:
    await finish_all_work(store)
    await store.mailbox_work.request_subscription_work([ANN])
    held = await acquire(store)
    await held.schedule_subscriptions((await held.read()).subscriptions_due_at, now() + MINUTE)
    await held.release_lease()
    assert await store.mailbox_leases.acquire_lease(Work.ROUTINE, "early", LEASE, now()) is None

    assert await store.mailbox_leases.acquire_lease(Work.ROUTINE, "ahead", LEASE, now() + MINUTE)
