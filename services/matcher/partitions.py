"""This replica's partitions, and how their words come onto `matches`."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.broker import Kafka, Subscription
from shared.bus import Outgoing, Received
from shared.errors import Rejected, Transient
from shared.events import Activity
from shared.service import Stopping
from shared.topics import ACTIVITIES, MATCHES

from .domain.directory import Touched
from .domain.window import Window, Word
from .metrics import SENT, TOUCHED, TRUNCATED, WITHDRAWN

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Activities matched between two looks at everything else; dense ones take about a millisecond each."""
ANSWER = timedelta(seconds=5)
"""Kafka has this long to say whether a partition is still ours."""


@dataclass(slots=True)
class Partition:
    """A partition that was taken over.

    Attributes:
        epoch: of all that this replica says there; `count` rises with each message.
        next: offset on `activities` up to which all is taken in and said.
        heard: offset on `matches` up to which all is known, and since then `written` messages of our own.
        taken: the takeover is complete.
    """

    window: Window
    epoch: int
    next: int
    heard: int
    count: int = 0
    written: int = 0
    taken: bool = False


class Partitions:
    """Those that are this replica's now. What touches one holds its lock, one at a time.

    Attributes:
        own: partition number -> what is known of it.
        changed: set when record changes have touched something.
        beat: when, by the loop's time, the last piece of work was done.
    """

    def __init__(self, kafka: Kafka) -> None:
        self.own: dict[int, Partition] = {}
        self.changed = asyncio.Event()
        self.locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.beat = 0.0
        self._kafka = kafka
        self._subscription: Subscription | None = None
        self._sure_until = 0.0

    @property
    def subscription(self) -> Subscription:
        """How we read `activities`; Transient before we do."""
        if self._subscription is None:
            raise Transient("not connected to Kafka")
        return self._subscription

    @subscription.setter
    def subscription(self, subscription: Subscription) -> None:
        self._subscription = subscription

    @property
    def unsaid(self) -> int:
        """How many activities wait for being compared and said."""
        return sum(partition.window.unsaid for partition in self.own.values())

    @property
    def live(self) -> int:
        """How many activities are in the windows."""
        return sum(len(partition.window) for partition in self.own.values())

    def touch(self, touched: Touched) -> None:
        """A record change: marks the live activities that it may change."""
        marked = sum(
            partition.window.touch(touched.tenant, touched.addresses, reordered=touched.reordered)
            for partition in self.own.values()
        )
        TOUCHED.inc(marked)
        if marked:
            self.changed.set()

    # -- saying -----------------------------------------------------------------------------------

    async def say_all(self, stopping: Stopping) -> None:
        """Says what waits anywhere; raises Transient where that is not possible now.

        What is still unsaid when the service is to stop is left to the partition's next owner, whose takeover finds it.
        """
        await together(
            self.say(number, stopping) for number, partition in self.own.items() if partition.window.unsaid
        )

    async def say(self, number: int, stopping: Stopping | None = None) -> None:
        """Says what waits in a partition, if it is still ours."""
        async with self.locks[number]:
            await self.say_locked(number, stopping)

    async def say_locked(self, number: int, stopping: Stopping | None = None) -> None:
        """The same for whoever holds the partition's lock."""
        partition = self.own.get(number)
        while partition and partition.window.waiting and not stopping:
            await self.be_sure(number, partition)
            if words := partition.window.words(AT_ONCE):
                await self._send(partition, words)
            self.beat = asyncio.get_running_loop().time()
            await asyncio.sleep(0)

    async def _send(self, partition: Partition, words: Sequence[Word]) -> None:
        messages = []
        for word in words:
            partition.count += 1
            messages.append(
                Outgoing(MATCHES, word.key, word.message, word.version, partition.epoch, partition.count)
            )
        sending = asyncio.create_task(self._kafka.producer.send(*messages))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait({sending})  # the partition goes to somebody else, who must find it there
            raise
        finally:
            if sending.done() and not sending.cancelled() and not sending.exception():
                partition.window.confirmed(words)
                partition.written += len(words)
                SENT.inc(sum(word.message is not None for word in words))
                WITHDRAWN.inc(sum(word.message is None for word in words))
                TRUNCATED.inc(sum(word.message is not None and word.message.truncated for word in words))
            else:
                partition.window.unconfirmed(words)

    # -- owning -----------------------------------------------------------------------------------

    def here(self, numbers: Sequence[int]) -> list[TopicPartition]:
        """These partitions of `activities`."""
        return [TopicPartition(self._kafka.name(ACTIVITIES), number) for number in numbers]

    def is_assigned(self, number: int) -> bool:
        """Is it this replica's, as far as we have heard?"""
        return self.here([number])[0] in self.subscription.assigned

    async def be_sure(self, number: int, partition: Partition) -> None:
        """Raises Transient unless the group still has us as the partition's owner.

        We are sure for half a session after the group last took a commit of ours: nobody else can
        have been given the partition in less than a whole one. After a longer silence, or a sleep that
        we did not notice, the group is asked by another commit.
        """
        if not self.is_assigned(number):
            raise Transient("the partition is no longer ours")
        if asyncio.get_running_loop().time() >= self._sure_until:
            await self.commit({number: partition.next})

    async def commit(self, done: dict[int, int]) -> None:
        """Commits offsets of `activities`; raises Transient where the group does not take them from us."""
        asked = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(ANSWER.total_seconds()):
                await self.subscription.consumer.commit(
                    dict(zip(self.here(list(done)), done.values(), strict=True))
                )
        except (TimeoutError, KafkaError) as refused:
            raise Transient(f"the partition may no longer be ours: {type(refused).__name__}") from refused
        self._sure_until = asked + self._kafka.settings.kafka_session_timeout.total_seconds() / 2


async def together(work: Iterable[Awaitable[None]]) -> None:
    """Does all of it, to the end, and then raises the first error that there was."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if outcome:
            raise outcome


def activity_of(message: Received[Any]) -> Activity | None:
    """The activity that a message carries; None: it is gone, or what came in its place is refused."""
    activity: Activity | None = message.value
    return None if disagreement(message) else activity


def disagreement(message: Received[Any]) -> Rejected | None:
    """Why a message that could be read is none of that key."""
    activity: Activity | None = message.value
    if activity is None or message.key == (activity.tenant, activity.mailbox, activity.item):
        return None
    return Rejected("key and body do not agree", "key")
