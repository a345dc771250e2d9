"""A stop waits for the batch in flight."""

import signal
from pathlib import Path

from shared.settings import KafkaSettings

from .kafka_world import KafkaObserver, eventually, process

WORK = 3.5
"""Seconds; without a drain the client waits for a batch for a shorter time than this when it stops."""


async def test_a_stop_waits_for_the_batch_in_flight(
    settings: KafkaSettings, observer: KafkaObserver, tmp_path: Path
) -> None:
    await observer.write_activities(*(f"item-{number}" for number in range(5)))
    async with process(settings, tmp_path / "it", WORK=WORK) as it:
        await eventually(lambda: it.has_logged("batch started"), 30)
        assert await it.stop(signal.SIGTERM) == 0
    assert it.processed.total() >= 1
    assert sum((await observer.committed()).values()) == it.processed.total()
