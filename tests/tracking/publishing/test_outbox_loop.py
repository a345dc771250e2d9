"""The loop of an outbox: when it publishes, and when it rests."""

import asyncio
from datetime import timedelta

from services.tracking.publishing.outbox_loop import OutboxLoop
from shared.errors import RetryableError
from shared.service import StopSignal
from tests.tracking.bus import until


class CountingOutbox(OutboxLoop):
    """An outbox in which nothing is pending; it counts how often it looks."""

    def __init__(self) -> None:
        super().__init__("publishing failed, retrying", timedelta(seconds=0.01))
        self.looked = 0
        self.refused = 0
        self.why: str | None = None

    async def publish_pending(self) -> int:
        self.looked += 1
        if self.looked == 1:
            raise RetryableError("Kafka is unavailable")
        return 0

    async def refuse(self) -> str | None:
        self.refused += 1
        return self.why


async def test_outbox_rests_while_the_store_must_not_be_used() -> None:
    outbox, stop_signal = CountingOutbox(), StopSignal()
    outbox.refusal, outbox.why = outbox.refuse, "the store is being compared with the topics"
    running = asyncio.create_task(outbox.run(stop_signal))

    async def has_rested() -> bool:
        outbox.wake()
        assert outbox.looked == 0
        return outbox.refused > 3

    async def looks_again() -> bool:
        return outbox.looked > 1  # also after an outage

    await until(has_rested)
    outbox.why = None
    await until(looks_again)
    stop_signal.set()
    await running
