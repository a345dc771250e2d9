"""Publishes pending matches on `matches`, under the epoch and sequence of their partition."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from services.matcher.domain.live_activities import MatchUpdate
from services.matcher.domain.tenant_directory import DirectoryChange
from services.matcher.metrics import (
    ACTIVITIES_AFFECTED,
    MATCHES_PUBLISHED,
    MATCHES_TRUNCATED,
    MATCHES_WITHDRAWN,
)
from shared.broker import KafkaClient
from shared.clock import Clock
from shared.errors import RetryableError
from shared.messages import OutgoingMessage
from shared.retry import OutageLog
from shared.service import StopSignal
from shared.topics import MATCHES

from .partitions import OwnedPartitions, RestoredPartition, gather_all

log = logging.getLogger(__name__)

ACTIVITIES_PER_STEP = 100
"""Activities matched before the event loop runs other tasks; a dense one takes about a millisecond."""
LOOP_INTERVAL = timedelta(seconds=1)
"""Interval of expiry, of heartbeats without work, and of retries."""


class MatchPublisher:
    """Publishes the differences between the matches of live activities and the topic `matches`.

    Args:
        quiet_period: record changes that come within this time of each other are published together.
        max_delay: a record change waits for others at most this long.
    """

    def __init__(
        self,
        kafka: KafkaClient,
        owned: OwnedPartitions,
        clock: Clock,
        quiet_period: timedelta,
        max_delay: timedelta,
    ) -> None:
        self._kafka = kafka
        self._owned = owned
        self._clock = clock
        self._quiet_period = quiet_period.total_seconds()
        self._max_delay = max_delay.total_seconds()
        self._records_changed = asyncio.Event()

    # -- record changes ---------------------------------------------------------------------------

    def mark_affected(self, change: DirectoryChange) -> None:
        """Marks the live activities that a record change may affect as pending."""
        marked = sum(
            partition.activities.mark_affected(
                change.tenant, change.addresses, order_changed=change.order_changed
            )
            for partition in self._owned.by_number.values()
        )
        ACTIVITIES_AFFECTED.inc(marked)
        if marked:
            self._records_changed.set()

    async def publish_record_changes(self, stop_signal: StopSignal) -> None:
        """Publishes the effects of record changes, those that come together at once."""
        outage = OutageLog(log, "publishing record changes failed, retrying")
        while not stop_signal:
            self._owned.beat()
            try:
                await asyncio.wait_for(self._records_changed.wait(), LOOP_INTERVAL.total_seconds())
                await self._wait_until_quiet()
                await self.publish_all(stop_signal)
                outage.succeeded()
            except TimeoutError:
                continue
            except RetryableError as error:
                self._records_changed.set()
                outage.failed(error)
                await stop_signal.sleep(LOOP_INTERVAL)

    async def _wait_until_quiet(self) -> None:
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._max_delay
        while self._records_changed.is_set():
            self._records_changed.clear()
            await asyncio.sleep(max(0.0, min(self._quiet_period, latest - loop.time())))
            if loop.time() >= latest:
                self._records_changed.clear()

    # -- expiry -----------------------------------------------------------------------------------

    async def expire_activities(self, stop_signal: StopSignal) -> None:
        """Removes activities whose time is over, and withdraws their matches."""
        outage = OutageLog(log, "withdrawing expired activities failed, retrying")
        while not stop_signal:
            now = self._clock()
            for partition in self._owned.by_number.values():
                partition.activities.expire(now)
            try:
                await self.publish_all(stop_signal)
                outage.succeeded()
            except RetryableError as error:
                outage.failed(error)
            await stop_signal.sleep(LOOP_INTERVAL)

    # -- publishing -------------------------------------------------------------------------------

    async def publish_all(self, stop_signal: StopSignal) -> None:
        """Publishes the pending matches of all owned partitions; raises RetryableError.

        Matches that are still pending at the stop signal are left to the restore by the next owner.
        """
        await gather_all(
            self._publish_partition(number, stop_signal)
            for number, partition in self._owned.by_number.items()
            if partition.activities.pending_count
        )

    async def _publish_partition(self, number: int, stop_signal: StopSignal) -> None:
        async with self._owned.locks[number]:
            await self.publish_pending(number, stop_signal)

    async def publish_pending(self, number: int, stop_signal: StopSignal | None = None) -> None:
        """Publishes the pending matches of one partition; the caller holds its lock.

        Raises:
            RetryableError: the partition belongs to another replica, or Kafka does not acknowledge.
        """
        partition = self._owned.by_number.get(number)
        while partition and partition.activities.has_pending and not stop_signal:
            await self._owned.ensure_owned(number, partition)
            if updates := partition.activities.next_updates(ACTIVITIES_PER_STEP):
                await self._send(partition, updates)
            self._owned.beat()
            await asyncio.sleep(0)

    async def _send(self, partition: RestoredPartition, updates: Sequence[MatchUpdate]) -> None:
        messages = []
        for update in updates:
            partition.sequence += 1
            messages.append(
                OutgoingMessage(
                    MATCHES, update.key, update.message, update.version, partition.epoch, partition.sequence
                )
            )
        sending = asyncio.create_task(self._kafka.producer.send(*messages))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait({sending})  # the next owner of the partition must find the messages there
            raise
        finally:
            if sending.done() and not sending.cancelled() and not sending.exception():
                partition.activities.acknowledge(updates)
                partition.own_writes += len(updates)
                _count_published(updates)
            else:
                partition.activities.mark_uncertain(updates)


def _count_published(updates: Sequence[MatchUpdate]) -> None:
    messages = [update.message for update in updates if update.message]
    MATCHES_PUBLISHED.inc(len(messages))
    MATCHES_WITHDRAWN.inc(len(updates) - len(messages))
    MATCHES_TRUNCATED.inc(sum(message.truncated for message in messages))
