"""One person's request at a time has a mailbox's slot, by MongoDB's clock."""

import asyncio

from services.mail_ingest.store.database import Store

from .stores import ANN, BO, LEASE, SHORT


async def test_slot_is_one_holders_at_a_time(store: Store) -> None:
    slots = store.request_slots

    granted = await asyncio.gather(*(slots.acquire(ANN, f"h{number}", LEASE) for number in range(8)))

    assert sum(granted) == 1
    holder = f"h{granted.index(True)}"
    assert await slots.acquire(BO, "other mailbox", LEASE)
    await slots.release(ANN, "somebody")
    assert not await slots.acquire(ANN, "early", LEASE)
    await slots.release(ANN, holder)
    assert await slots.acquire(ANN, "next", LEASE)


async def test_slot_of_a_killed_replica_ends_by_itself(store: Store) -> None:
    slots = store.request_slots
    assert await slots.acquire(ANN, "killed", SHORT)
    assert not await slots.acquire(ANN, "early", LEASE)
    await asyncio.sleep(2 * SHORT.total_seconds())

    assert await slots.acquire(ANN, "next", LEASE)

    await slots.release(ANN, "killed")
    assert not await slots.acquire(ANN, "late", LEASE), "the slot is fenced"
