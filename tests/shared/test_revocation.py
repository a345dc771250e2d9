"""A revocation returns only when the batch in flight is done."""

import asyncio
from typing import Any

from shared.broker import Batch
from shared.settings import KafkaSettings

from .kafka_world import KafkaObserver, member


async def test_a_revocation_returns_after_the_batch_in_flight(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow(_batch: Batch[Any, Any]) -> None:
        started.set()
        await finish.wait()

    async with member(settings, slow) as consumer:
        await observer.write_activities("in flight")
        await started.wait()
        revoking = asyncio.create_task(consumer.on_partitions_revoked(set(consumer.assigned)))
        early, _ = await asyncio.wait({revoking}, timeout=0.5)
        finish.set()
        await revoking
        assert not early
        assert await observer.committed() == {0: 1}
