"""Activities and record changes in, matches out."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from shared.broker import Batch
from shared.bus import Received
from shared.clock import Clock
from shared.errors import Transient
from shared.events import Activity
from shared.service import Stopping

from .partitions import Partitions, activity_of, disagreement, together

log = logging.getLogger(__name__)

EVERY_SECOND = timedelta(seconds=1)


class Handlers:
    """What happens to a partition that is ours.

    Args:
        quiet: record changes closer together than this are computed together.
        at_most: but they wait no longer than this.
    """

    def __init__(self, partitions: Partitions, clock: Clock, quiet: timedelta, at_most: timedelta) -> None:
        self._partitions = partitions
        self._clock = clock
        self._quiet = quiet.total_seconds()
        self._at_most = at_most.total_seconds()

    async def on_activities(self, batch: Batch[Activity]) -> None:
        """Takes in what `activities` says, and says what changes by it."""
        for message in batch.good:
            if refused := disagreement(message):
                batch.reject(message, refused)
        by_partition: defaultdict[int, list[Received[Activity]]] = defaultdict(list)
        for message in batch.messages:
            by_partition[message.at.partition].append(message)
        await together(self._take(number, messages) for number, messages in by_partition.items())

    async def _take(self, number: int, messages: Sequence[Received[Activity]]) -> None:
        async with self._partitions.locks[number]:
            partition = self._partitions.own.get(number)
            if partition is None:
                raise Transient("the partition is not taken over yet")
            now = self._clock()
            for message in messages:
                if message.key:
                    tenant, mailbox, item = message.key
                    partition.window.take((tenant, mailbox, item), activity_of(message), message.version, now)
            await self._partitions.say_locked(number)
            partition.next = max(partition.next, messages[-1].at.offset + 1)

    async def settle(self, stopping: Stopping) -> None:
        """Says what record changes have changed, those that come together together."""
        changed = self._partitions.changed
        while not stopping:
            self._partitions.beat = asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(changed.wait(), EVERY_SECOND.total_seconds())
                await self._until_quiet()
                await self._partitions.say_all(stopping)
            except TimeoutError:
                continue
            except Transient as away:
                changed.set()
                log.warning("what records changed is said later", extra={"why": str(away)})
                await stopping.sleep(EVERY_SECOND)

    async def _until_quiet(self) -> None:
        loop, changed = asyncio.get_running_loop(), self._partitions.changed
        latest = loop.time() + self._at_most
        while changed.is_set():
            changed.clear()
            await asyncio.sleep(max(0.0, min(self._quiet, latest - loop.time())))
            if loop.time() >= latest:
                changed.clear()

    async def leave(self, stopping: Stopping) -> None:
        """Lets activities go whose time is over, and says so."""
        while not stopping:
            now = self._clock()
            for partition in self._partitions.own.values():
                partition.window.leave(now)
            try:
                await self._partitions.say_all(stopping)
            except Transient as away:
                log.warning("what is over is withdrawn later", extra={"why": str(away)})
            await stopping.sleep(EVERY_SECOND)
