"""How recently a topic was read to its real end."""

import contextlib
import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .consumer import TopicConsumer
from .errors import RetryableError

if TYPE_CHECKING:
    from .service import StopSignal

VERIFY_INTERVAL = timedelta(seconds=1)
READ_POLL_INTERVAL = timedelta(seconds=0.1)


class TopicFreshness:
    """Verifies again and again that a group has read a topic to its end, over all replicas of the service.

    The ends are those of leaders that most of their replicas name. What was acknowledged to its writer
    more than `age_seconds` ago has been read, committed and processed; an outage, a leader that is cut off
    and a reader that is late let the age grow.
    """

    def __init__(self, consumer: TopicConsumer[Any, Any]) -> None:
        self._consumer = consumer
        self._verified: float | None = None

    def age_seconds(self) -> float:
        """Seconds since the last time to whose end the topic is read; infinite before the first."""
        return math.inf if self._verified is None else time.monotonic() - self._verified

    async def follow(self, stop_signal: "StopSignal") -> None:
        """A loop of the service: verifies until the stop signal."""
        while not stop_signal:
            with contextlib.suppress(RetryableError):  # the age grows
                await self._verify(stop_signal)
            await stop_signal.sleep(VERIFY_INTERVAL)

    async def _verify(self, stop_signal: "StopSignal") -> None:
        began = time.monotonic()
        cluster = self._consumer.cluster
        missing = await cluster.end_offsets(await cluster.partitions(self._consumer.topic))
        while missing and not stop_signal:
            done = await self._consumer.done(list(missing))
            missing = {tp: end for tp, end in missing.items() if done[tp] < end}
            if missing:
                await stop_signal.sleep(READ_POLL_INTERVAL)
        if not missing:
            self._verified = began
