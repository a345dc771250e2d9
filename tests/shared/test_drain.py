"""A stop waits for the work that is in flight."""

import signal
from pathlib import Path

from shared.settings import KafkaSettings

from .members import Bus, eventually, process

WORK = 3.5
"""Seconds; longer than the client waits for a batch when it is stopped without a drain."""


async def test_a_stop_waits_for_the_batch_in_flight(
    settings: KafkaSettings, bus: Bus, tmp_path: Path
) -> None:
    await bus.put_activities(*(f"item-{number}" for number in range(5)))
    async with process(settings, tmp_path / "it", WORK=WORK) as it:
        await eventually(lambda: it.has_said("begun"), 30)
        assert await it.stop(signal.SIGTERM) == 0
    assert it.done.total() >= 1
    assert sum((await bus.committed()).values()) == it.done.total()
