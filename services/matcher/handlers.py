"""Activities in, matches out.

`records` has no handler here: every replica reads all of it without a group (`records/loader.py`).
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

from shared.broker import Batch
from shared.clock import Clock
from shared.errors import RetryableError
from shared.events import Activity
from shared.keys import ItemKey
from shared.messages import ReceivedMessage

from .publishing.partitions import OwnedPartitions, gather_all
from .publishing.publisher import MatchPublisher
from .restore.restorer import apply_activity_message

ActivityMessage: TypeAlias = ReceivedMessage[ItemKey, Activity]


class Handlers:
    """The handler of each topic that the matcher consumes in a group."""

    def __init__(self, owned: OwnedPartitions, publisher: MatchPublisher, clock: Clock) -> None:
        self._owned = owned
        self._publisher = publisher
        self._clock = clock

    async def on_activities(self, batch: Batch[ItemKey, Activity]) -> None:
        """Applies a batch of `activities`, and publishes the matches that change by it."""
        by_partition: defaultdict[int, list[ActivityMessage]] = defaultdict(list)
        for message in batch.messages:
            by_partition[message.position.partition].append(message)
        await gather_all(self._apply(number, messages) for number, messages in by_partition.items())

    async def _apply(self, number: int, messages: Sequence[ActivityMessage]) -> None:
        async with self._owned.locks[number]:
            partition = self._owned.by_number.get(number)
            if partition is None:
                raise RetryableError("the partition is not restored yet")
            now = self._clock()
            for message in messages:
                apply_activity_message(partition.activities, message, now)
            await self._publisher.publish_pending(number)
            partition.next_offset = max(partition.next_offset, messages[-1].position.offset + 1)
