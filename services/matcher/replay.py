"""What Kafka remembers for us: records into the directory, a partition's tables at its takeover, and its end."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import timedelta

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.broker import Chunk, Kafka
from shared.bus import Received, decode
from shared.clock import stamp
from shared.errors import Transient
from shared.events import Event
from shared.records import AnyRecord
from shared.service import Stopping
from shared.topics import ACTIVITIES, MATCHES, RECORDS

from .domain.directory import Directory, Touched
from .domain.matching import Matcher
from .domain.window import Window
from .metrics import EPOCH, FOREIGN, KEPT, REFUSED, TAKEOVERS
from .partitions import Partition, Partitions, activity_of

log = logging.getLogger(__name__)


def take_in(directory: Directory, message: Received[AnyRecord]) -> Touched | None:
    """Takes a message on `records` into the directory; None where it has no key that could mean anything."""
    if message.refused:
        REFUSED.inc()
    if not message.key:
        return None
    tenant, type_, id_ = message.key
    return directory.apply(
        (tenant, type_, id_),
        message.value,
        (message.at.topic, message.at.partition),
        refused=message.refused is not None,
    )


class Records:
    """Follows the `records` table into the directory.

    Attributes:
        caught_up: all that was there at the start is read.
        beat: when, by the loop's time, it last came round.
    """

    def __init__(self, kafka: Kafka, directory: Directory, on_touched: Callable[[Touched], None]) -> None:
        self.caught_up = asyncio.Event()
        self.beat = 0.0
        self.positions: dict[TopicPartition, int] = {}
        self._kafka = kafka
        self._directory = directory
        self._on_touched = on_touched

    async def follow(self, stopping: Stopping) -> None:
        """Reads until told to stop."""
        table = self._kafka.read_table(RECORDS, follow=True)
        async with contextlib.aclosing(table):  # type: ignore[type-var]  # it is a generator
            async for chunk in table:
                self._take(chunk)
                if stopping:
                    return

    def _take(self, chunk: Chunk) -> None:
        for message in chunk.messages:
            touched = take_in(self._directory, message)
            if touched and (touched.addresses or touched.reordered):
                self._on_touched(touched)
        self.positions = chunk.positions
        self.beat = asyncio.get_running_loop().time()
        if chunk.caught_up and not self.caught_up.is_set():
            gc.collect()
            gc.freeze()  # the directory stays: collections need not look at it again
            log.info("all records are read", extra={"records": len(self._directory)})
            self.caught_up.set()


class Replay:
    """Takes partitions over, and looks after them.

    Args:
        reading: off, for counting deliveries alone, a takeover knows nothing but the group's commit.

    Attributes:
        under_way: how many partitions are being taken over.
    """

    def __init__(
        self,
        kafka: Kafka,
        matcher: Matcher,
        records: Records,
        partitions: Partitions,
        *,
        reading: bool = True,
    ) -> None:
        self.under_way = 0
        self._kafka = kafka
        self._matcher = matcher
        self._records = records
        self._partitions = partitions
        self._reading = reading

    # -- takeover ---------------------------------------------------------------------------------

    async def take_over(self, assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Makes these partitions ours and says what is not as it should be; answers where to go on from.

        One that was ours before, and in which nobody else has written since, is kept as it is.
        """
        numbers = sorted(tp.partition for tp in assigned)
        self.under_way = len(numbers)
        try:
            await self._records.caught_up.wait()
            own = self._partitions.own
            async with contextlib.AsyncExitStack() as locked:
                for number in sorted({*numbers, *own}):
                    await locked.enter_async_context(self._partitions.locks[number])
                for lost in own.keys() - set(numbers):
                    del own[lost]
                    EPOCH.remove(str(lost))
                ends = await self._ends(numbers)
                fresh = [
                    number
                    for number in numbers
                    if not (number in own and _is_ours_alone(own[number], ends[number]))
                ]
                KEPT.inc(len(numbers) - len(fresh))
                await self._read_and_say(fresh)
                for number in numbers:
                    await self._partitions.say_locked(number)
                done = {number: own[number].next for number in numbers}
                await self._partitions.commit(done)  # for the sake of lag
            return dict(zip(self._partitions.here(numbers), done.values(), strict=True))
        finally:
            self.under_way = 0

    async def _read_and_say(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        for number, partition in (await (self._read if self._reading else self._unread)(numbers)).items():
            self._partitions.own[number] = partition
            EPOCH.labels(str(number)).set(partition.epoch)
        for number in numbers:
            await self._partitions.say_locked(number)
            self._partitions.own[number].taken = True
            TAKEOVERS.inc()
        log.info("took over", extra={"partitions": list(numbers)})

    async def _read(self, numbers: Sequence[int]) -> dict[int, Partition]:
        """Both tables of these partitions to their ends; every activity there is unsaid then."""
        windows = {number: Window(self._matcher) for number in numbers}
        greatest = dict.fromkeys(numbers, 0)
        goes_on: dict[int, int] = {}
        heard: dict[int, int] = {}
        async for chunk in self._kafka.read_table(ACTIVITIES, numbers):
            now = self._kafka.clock()
            for message in _with_key(chunk.messages):
                windows[message.at.partition].take(_key(message), activity_of(message), message.version, now)
            goes_on = {tp.partition: position for tp, position in chunk.positions.items()}
            self._partitions.beat = asyncio.get_running_loop().time()
        async for chunk in self._kafka.read_table(MATCHES, numbers):
            for message in chunk.messages:
                number = message.at.partition
                # Readers ignore a smaller epoch, but the log keeps it: what stands where is not certain then.
                certain = message.refused is None and message.epoch >= greatest[number]
                greatest[number] = max(greatest[number], message.epoch)
                if message.key:
                    windows[number].hear(_key(message), message.version, message.raw.value, certain=certain)
            heard = {tp.partition: position for tp, position in chunk.positions.items()}
            self._partitions.beat = asyncio.get_running_loop().time()
        now = self._kafka.clock()
        return {
            number: Partition(windows[number], stamp(now, greatest[number]), goes_on[number], heard[number])
            for number in numbers
        }

    async def _unread(self, numbers: Sequence[int]) -> dict[int, Partition]:
        """These partitions as if nothing were in their tables; what no commit covers comes again."""
        here, ends = self._partitions.here(numbers), await self._ends(numbers)
        try:
            committed = await self._kafka.committed(self._partitions.subscription.group, here)
        except KafkaError as away:
            raise Transient(f"Kafka does not say what is committed: {type(away).__name__}") from away
        now = self._kafka.clock()
        return {
            tp.partition: Partition(Window(self._matcher), stamp(now), committed[tp], ends[tp.partition])
            for tp in here
        }

    async def _ends(self, numbers: Sequence[int]) -> dict[int, int]:
        """Where `matches` ends in these partitions."""
        wanted = [TopicPartition(self._kafka.name(MATCHES), number) for number in numbers]
        try:
            return {
                tp.partition: end
                for tp, end in (await self._partitions.subscription.consumer.end_offsets(wanted)).items()
            }
        except KafkaError as away:
            raise Transient(f"Kafka does not say where matches ends: {type(away).__name__}") from away

    # -- what others wrote ------------------------------------------------------------------------

    async def look(self, every: timedelta, stopping: Stopping) -> None:
        """Compares the ends of our partitions of `matches` with what we wrote, until told to stop."""
        while not stopping:
            await stopping.sleep(every)
            for number in sorted(self._partitions.own):
                try:
                    await self.look_at(number)
                except Transient as away:
                    log.warning("cannot look now", extra={"partition": number, "why": str(away)})

    async def look_at(self, number: int) -> None:
        """Answers what another wrote into a partition of ours with our own word on that key.

        Where it has a greater epoch than ours, the partition is taken over anew.
        """
        async with self._partitions.locks[number]:
            partition = self._partitions.own.get(number)
            if partition is None or not self._partitions.is_assigned(number):
                return
            if not partition.taken:
                await self._read_and_say([number])  # a takeover that could not be completed
                return
            end = (await self._ends([number]))[number]
            if not _is_ours_alone(partition, end):
                await self._answer(number, partition, end)
            partition.heard, partition.written = end, 0

    async def _answer(self, number: int, partition: Partition, end: int) -> None:
        foreign: dict[tuple[str, ...], Received[Event]] = {}
        greatest = 0
        async for message in self._between(number, partition.heard, end):
            greatest = max(greatest, message.epoch)
            if message.epoch == partition.epoch:
                foreign.pop(message.key, None)  # ours came later and stands
            else:
                foreign[message.key] = message
        if foreign:
            log.warning(
                "another wrote into a partition of ours",
                extra={"partition": number, "keys": len(foreign), "epoch": greatest},
            )
            FOREIGN.inc(len(foreign))
        if greatest > partition.epoch:
            await self._partitions.be_sure(number, partition)
            await self._read_and_say([number])
            return
        for message in _with_key(foreign.values()):
            partition.window.hear(_key(message), message.version, None, certain=False)
        await self._partitions.say_locked(number)

    async def _between(self, number: int, start: int, end: int) -> AsyncIterator[Received[Event]]:
        tp = TopicPartition(self._kafka.name(MATCHES), number)
        async with self._kafka.consumer() as consumer:
            consumer.assign([tp])
            consumer.seek(tp, start)
            while await consumer.position(tp) < end:
                for record in (await consumer.getmany(timeout_ms=100)).get(tp, []):
                    if record.offset < end:
                        yield decode(MATCHES, record)


def _is_ours_alone(partition: Partition, end: int) -> bool:
    # Counted, for what another wrote may lie between our own messages.
    return partition.taken and end == partition.heard + partition.written


def _with_key(messages: Iterable[Received[Event]]) -> "Iterable[Received[Event]]":
    return (message for message in messages if message.key)


def _key(message: Received[Event]) -> tuple[str, str, str]:
    tenant, mailbox, item = message.key
    return tenant, mailbox, item
