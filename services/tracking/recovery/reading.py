"""Whether the store has all of a topic up to given offsets, by any replica."""

import time
from collections.abc import Mapping

from services.tracking.read_positions import name_of
from services.tracking.store import Store
from shared.broker import KafkaClient, TopicPartition

QUIET_SECONDS = 1.0
"""A partition whose position has not moved for this time may have no messages left before its end."""


class Reading:
    """Waits for the read positions of all replicas.

    Args:
        store: has the positions.
        kafka: of the topics.
        ends: offsets that have to be reached.
    """

    def __init__(self, store: Store, kafka: KafkaClient, ends: Mapping[TopicPartition, int]) -> None:
        self._store = store
        self._kafka = kafka
        self._ends = {name_of(tp): (tp, end) for tp, end in ends.items() if end}
        self._unread: dict[str, int] = {}
        self._moved_at = time.monotonic()

    async def count_unread(self) -> int:
        """Offsets that are still to be read; 0 when the store has all messages.

        Raises:
            RetryableError: MongoDB or Kafka is unavailable.
        """
        stored = await self._store.read_positions.find_by_partition(self._ends)
        read_to = {name: stored[name].read_to if name in stored else 0 for name in self._ends}
        unread = {name: read_to[name] for name, (_, end) in self._ends.items() if read_to[name] < end}
        if unread != self._unread:
            self._unread, self._moved_at = unread, time.monotonic()
        elif unread and time.monotonic() - self._moved_at > QUIET_SECONDS:
            await self._complete_without_messages()
        return sum(self._ends[name][1] - start for name, start in self._unread.items() if name in self._ends)

    async def _complete_without_messages(self) -> None:
        """The last offsets of a log may hold no messages: the ends of transactions, removed tombstones."""
        for name, start in self._unread.items():
            if not await self._kafka.has_messages(self._ends[name][0], start, self._ends[name][1]):
                del self._ends[name]
        self._moved_at = time.monotonic()
