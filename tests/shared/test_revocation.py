"""A revocation returns only when the batch in flight is done, on the real Kafka."""

import asyncio
from typing import Any

from shared.broker import Batch
from shared.settings import KafkaSettings

from .members import Bus, member


async def test_a_revocation_returns_after_the_batch_in_flight(settings: KafkaSettings, bus: Bus) -> None:
    working, going_on = asyncio.Event(), asyncio.Event()

    async def slow(_batch: Batch[Any]) -> None:
        working.set()
        await going_on.wait()

    async with member(settings, slow) as subscription:
        await bus.put_activities("in flight")
        await working.wait()
        revoking = asyncio.create_task(subscription.on_partitions_revoked(set(subscription.assigned)))
        early, _ = await asyncio.wait({revoking}, timeout=0.5)
        going_on.set()
        await revoking
        assert not early
        assert await bus.committed() == {0: 1}
