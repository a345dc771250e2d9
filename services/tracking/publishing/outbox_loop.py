"""The loop of an outbox: it publishes what is pending, at once when it is woken, and else looks for it."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

from shared.errors import InvalidMessageError, RetryableError
from shared.heartbeat import Heartbeat
from shared.retry import OutageLog
from shared.service import StopSignal

log = logging.getLogger(__name__)

SEND_DEADLINE = timedelta(seconds=10)
"""Kafka must acknowledge well before the lease ends."""

Refusal: TypeAlias = Callable[[], Awaitable[str | None]]


async def _never_refuses() -> None:
    """The refusal of a store that is always in use."""


class OutboxLoop(ABC):
    """Publishes what is pending for as long as the service runs.

    Args:
        failure: the event of the log while Kafka or MongoDB is unavailable.
        poll_interval: interval at which a replica looks for what others recorded and did not publish.

    Attributes:
        refusal: why the store must not be used now, or None; the loop rests meanwhile.
    """

    def __init__(self, failure: str, poll_interval: timedelta) -> None:
        self.heartbeat = Heartbeat()
        self.refusal: Refusal = _never_refuses
        self._failure = failure
        self._poll_interval = poll_interval
        self._work_recorded = asyncio.Event()

    @abstractmethod
    async def publish_pending(self) -> int:
        """Publishes a part of what is pending, and returns how much; 0 when nothing is pending now.

        Raises:
            RetryableError: MongoDB or Kafka is unavailable.
            InvalidMessageError: one of them refuses a document or a message.
        """

    def wake(self) -> None:
        """Makes the loop publish at once, after work was recorded."""
        self._work_recorded.set()

    async def run(self, stop_signal: StopSignal) -> None:
        """The loop."""
        outage = OutageLog(log, self._failure)
        while not stop_signal:
            self.heartbeat.beat()
            self._work_recorded.clear()
            try:
                published = 0 if await self.refusal() else await self.publish_pending()
            except (RetryableError, InvalidMessageError) as error:
                outage.failed(error)
            else:
                outage.succeeded()
                if published:
                    continue
            await self._wait_for_work(stop_signal)

    async def _wait_for_work(self, stop_signal: StopSignal) -> None:
        """Waits until work is recorded, the service stops, or the poll interval has passed."""
        work = asyncio.create_task(self._work_recorded.wait())
        pause = asyncio.create_task(stop_signal.sleep(self._poll_interval))
        await asyncio.wait({work, pause}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, pause):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
