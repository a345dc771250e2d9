"""Reads a topic in a group: drained and gated at rebalances, dead letters, and the three fates."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from faststream.kafka.message import KafkaAckableMessage

from .bus import ENVELOPE, Headers, Received
from .cluster import Cluster
from .errors import Rejected, Transient
from .producer import size
from .telemetry import DEAD_LETTERS, LAG_MESSAGES, LAG_SECONDS
from .topics import MAX_DEAD_LETTER_BYTES, Topic

log = logging.getLogger(__name__)
V = TypeVar("V")

BACK_OFF = (0.2, 15.0)
"""Seconds before the first retry of a batch, and at most."""
ANSWER = timedelta(seconds=2)
"""Who asks how much waits gets an answer within this, or that Kafka does not say."""
COMMIT = timedelta(seconds=5)
"""aiokafka would wait for a Kafka that is away for ever, and with it whoever waits for the batch."""
LATE = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
"""What a commit says that came after the partition had moved on: the next owner does the batch again."""


@dataclass(slots=True)
class Batch(Generic[V]):
    """Messages in the order of their partitions; those with `refused` set become dead letters."""

    messages: list[Received[V]]
    rejections: list[tuple[Received[V], Rejected]] = field(default_factory=list)

    @property
    def good(self) -> list[Received[V]]:
        """The messages that could be read."""
        return [message for message in self.messages if message.refused is None]

    def reject(self, message: Received[V], reason: Rejected) -> None:
        """Sends one message to its dead-letter topic; the others of the batch go on."""
        self.rejections.append((message, reason))


Records = tuple["ConsumerRecord[bytes, bytes]", ...]
OnBatch = Callable[[Batch[Any]], Awaitable[None]]
StartAt = Callable[[Sequence[TopicPartition]], Awaitable[dict[TopicPartition, int]]]
"""Asked at every assignment: the offsets to start from; a partition left out starts at its commit."""


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One topic as one service reads it.

    Attributes:
        assigned: this replica's partitions now.
        paused: no messages come, because a batch will be tried again or the start is being asked for.
    """

    def __init__(
        self, kafka: Cluster, topic: Topic, group: str, on_batch: OnBatch, start_at: StartAt | None
    ) -> None:
        self.topic = topic
        self.group = group
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.paused = False
        self.kafka = kafka
        self._on_batch = on_batch
        self._start_at = start_at
        self._decoders = kafka.decoders(topic)
        self._in_flight = asyncio.Lock()
        self._open = False
        self._stopped = False
        self._failures = 0
        self._waking: asyncio.Task[None] | None = None
        self._subscriber: Any = None
        self._next: dict[TopicPartition, int] = {}
        self._last: dict[TopicPartition, int] = {}
        self._measured: set[TopicPartition] = set()
        self._uncommitted_since: float | None = None

    def attach(self, subscriber: Any) -> None:
        """Makes FastStream's subscriber call us."""
        self._subscriber = subscriber
        subscriber(self._handle)

    def watch(self) -> None:
        """FastStream would begin its loop again after any error, and again after the same one."""
        for task in self._subscriber.tasks:
            task.add_done_callback(self._ended)

    def _ended(self, polling: "asyncio.Task[None]") -> None:
        if not polling.cancelled() and (error := polling.exception()):
            self._fail(error)

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """The consumer under way; Transient where there is none."""
        if self._subscriber.consumer is None:
            raise Transient("not connected to Kafka")
        return self._subscriber.consumer

    async def parse(self, records: Records) -> Any:
        """FastStream's parser is bypassed: it drops what it cannot read."""
        return KafkaAckableMessage(
            raw_message=records, body=b"", headers={}, batch_headers=[], message_id="", consumer=self.consumer
        )

    async def undecoded(self, message: Any) -> Any:
        """FastStream decodes nothing: one bad message would cost its whole batch."""
        return message.raw_message

    # -- rebalances -------------------------------------------------------------------------------

    async def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        """Drains: waits for the batch in flight, which commits inside the lock."""
        self._open = False
        if self._waking:
            self._waking.cancel()
            await asyncio.gather(self._waking, return_exceptions=True)
        async with self._in_flight:
            self.assigned = frozenset()
            self._uncommitted_since = None
            self._next.clear()
            self._last.clear()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Opens the gate; where the start is ours to say, not before it is known."""
        # No await in here: what the gate dropped meanwhile would be skipped, not fetched again.
        self.assigned = frozenset(assigned)
        if self._stopped or (self._start_at and assigned):
            self._pause()
        else:
            self._open, self.paused = True, False
        if self._start_at and assigned and not self._stopped:
            self._waking = asyncio.create_task(self._seek(self._start_at))

    async def _seek(self, start_at: StartAt) -> None:
        try:
            for tp, offset in (await self._ask(start_at)).items():
                self.consumer.seek(tp, offset)
            self._open = True
            self._resume()
        except Exception as error:  # noqa: BLE001  # it stops the process
            self._fail(error)

    async def _ask(self, start_at: StartAt) -> dict[TopicPartition, int]:
        while True:
            try:
                return await start_at(sorted(self.assigned))
            except Transient as away:
                log.warning(
                    "cannot say yet where to start", extra={"topic": self.topic.name, "why": str(away)}
                )
                await asyncio.sleep(1)

    def _pause(self) -> None:
        self.paused = True
        self.consumer.pause(*self.assigned)

    def _resume(self) -> None:
        self.consumer.resume(*self.assigned)
        self.paused = False

    # -- a batch ----------------------------------------------------------------------------------

    async def _handle(self, records: Records) -> None:
        async with self._in_flight:
            if not self._open:
                return  # fetched before the revocation: left uncommitted, the next owner fetches it again
            first: dict[TopicPartition, int] = {}
            after: dict[TopicPartition, int] = {}
            for record in records:
                tp = TopicPartition(record.topic, record.partition)
                first.setdefault(tp, record.offset)
                after[tp] = record.offset + 1
            self._next |= first
            try:
                await self._work(records)
            except Transient as away:
                self._try_again(first, away)
            except Exception as error:  # noqa: BLE001  # it stops the process
                self._fail(error)
            else:
                self._failures = 0
                await self._commit(after)
                self._next |= after
                self._last |= {
                    TopicPartition(record.topic, record.partition): record.timestamp for record in records
                }

    async def _work(self, records: Records) -> None:
        batch: Batch[Any] = Batch([self._decoders[record.topic](record) for record in records])
        await self._on_batch(batch)
        refused = [
            (message, message.refused) for message in batch.messages if message.refused
        ] + batch.rejections
        letters = [
            (self.kafka.name(self.topic.dead_letters), *dead_letter(message, reason))
            for message, reason in refused
        ]
        await self.kafka.producer.send_raw(letters, limit=MAX_DEAD_LETTER_BYTES)
        for message, reason in refused:
            DEAD_LETTERS.labels(self.topic.name).inc()
            at = {"topic": message.at.topic, "partition": message.at.partition, "offset": message.at.offset}
            log.warning("a message was refused", extra=at | {"field": reason.field, "why": reason.reason})

    async def _commit(self, after: dict[TopicPartition, int]) -> None:
        try:
            async with asyncio.timeout(COMMIT.total_seconds()):
                await self.consumer.commit(after)
            self._uncommitted_since = None
        except LATE as late:
            self._uncommitted_since = None
            log.info("a commit came late", extra={"topic": self.topic.name, "error": type(late).__name__})
        except (KafkaError, TimeoutError) as error:
            # Harmless: `commit_late` or the next commit says the same and more, or the messages come again.
            self._uncommitted_since = self._uncommitted_since or time.time()
            log.warning("a commit failed", extra={"topic": self.topic.name, "error": type(error).__name__})

    async def commit_late(self) -> None:
        """Commits what could not be committed when it was done."""
        if self._uncommitted_since and self._open and not self._in_flight.locked():
            async with self._in_flight:
                await self._commit(dict(self._next))

    def _try_again(self, first: dict[TopicPartition, int], away: Transient) -> None:
        """Back to the batch's start; polling goes on with the partitions paused."""
        if not self._open:
            return  # the batch's next owner starts there anyway
        pause = min(BACK_OFF[0] * 2**self._failures, BACK_OFF[1]) * random.uniform(0.5, 1)
        self._failures += 1
        log.warning(
            "will try again", extra={"topic": self.topic.name, "why": str(away), "seconds": round(pause, 2)}
        )
        self._pause()
        for tp, offset in first.items():
            self.consumer.seek(tp, offset)
        self._waking = asyncio.create_task(self._resume_after(pause))

    async def _resume_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._resume()

    def _fail(self, error: BaseException) -> None:
        """The third fate: nothing more is read here, and the process stops."""
        self._stop()
        self.kafka.fail(error)

    def _stop(self) -> None:
        self._stopped, self._open = True, False
        if self._waking:
            self._waking.cancel()
        with contextlib.suppress(Transient, IllegalStateError):
            self._pause()

    async def drain(self) -> None:
        """Takes no more batches, and waits for the one in flight."""
        self._stop()
        async with self._in_flight:
            pass

    # -- what is known of it ----------------------------------------------------------------------

    async def lag(self) -> dict[TopicPartition, int]:
        """Messages that wait in each partition of this replica, the batch in hand included.

        Raises:
            Transient: it cannot be said now, because Kafka is away or partitions are being assigned.
        """
        return await self._waiting(sorted(self.assigned))

    async def backlog(self) -> int:
        """Messages that wait in the whole topic for this service, in whichever replica; raises as `lag` does."""
        return sum(
            (
                await self._waiting(
                    [tp for name in self._decoders for tp in await self.kafka.partitions(name)]
                )
            ).values()
        )

    async def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Where partitions end, of whatever topic; raises Transient where this subscription has not begun to read."""
        if (
            not self._open
        ):  # aiokafka's consumer cannot be asked before it has started, and fails with no error of its own
            raise Transient(f"the partitions of {self.topic.name} are being assigned")
        return dict(await self.consumer.end_offsets(list(partitions)))

    async def _waiting(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        if not self._open:
            raise Transient(f"the partitions of {self.topic.name} are being assigned")
        if not partitions:
            return {}
        try:
            async with asyncio.timeout(ANSWER.total_seconds()):
                ends = await self.consumer.end_offsets(partitions)
                done = {tp: await self._position(tp) for tp in partitions if tp in self.assigned}
                if elsewhere := [tp for tp in partitions if tp not in done]:
                    done |= await self.kafka.committed(self.group, elsewhere)
        except (TimeoutError, KafkaError) as away:
            raise Transient("Kafka does not say how much waits") from away
        return {tp: max(0, ends[tp] - done[tp]) for tp in partitions}

    async def _position(self, tp: TopicPartition) -> int:
        return self._next[tp] if tp in self._next else await self.consumer.position(tp)

    async def measure(self) -> None:
        """Brings the lag's gauges up to date."""
        now_ms = int(self.kafka.clock().timestamp() * 1000)
        lag = await self.lag()
        for tp, waiting in lag.items():
            LAG_MESSAGES.labels(*self._labels(tp)).set(waiting)
            LAG_SECONDS.labels(*self._labels(tp)).set(
                max(0.0, (now_ms - self._last.get(tp, now_ms)) / 1000) if waiting else 0.0
            )
        for tp in self._measured - lag.keys():  # another replica's now
            LAG_MESSAGES.remove(*self._labels(tp))
            LAG_SECONDS.remove(*self._labels(tp))
        self._measured = set(lag)

    def _labels(self, tp: TopicPartition) -> tuple[str, str, str]:
        return self.kafka.source, tp.topic.removeprefix(self.kafka.settings.topic_prefix), str(tp.partition)

    def silent_for(self, now_ms: int) -> float:
        """Seconds since Kafka last answered a poll, or since it took no commit any more; 0 where none is due."""
        uncommitted = max(0.0, now_ms / 1000 - self._uncommitted_since) if self._uncommitted_since else 0.0
        if not self.assigned or self.paused:
            return uncommitted
        polls = [self.consumer.last_poll_timestamp(tp) or 0 for tp in self.assigned]
        return max(uncommitted, (now_ms - max(polls)) / 1000) if any(polls) else uncommitted


def dead_letter(message: Received[Any], reason: Rejected) -> tuple[bytes | None, bytes | None, Headers]:
    """The original bytes, with headers that hold position, error class and field path, never a value."""
    raw = message.raw
    # The envelope is ours and holds ids alone; headers of upstream systems may hold anything.
    headers: Headers = [
        (name, value)
        for name, value in raw.headers
        if message.topic.messages and name in ENVELOPE and value is not None
    ]
    headers += [
        ("dead_letter_topic", message.at.topic.encode()),
        ("dead_letter_partition", str(message.at.partition).encode()),
        ("dead_letter_offset", str(message.at.offset).encode()),
        ("dead_letter_error", reason.reason[:200].encode()),
        ("dead_letter_field", reason.field[:200].encode()),
    ]
    value = raw.value if message.topic.copied_to_dead_letters else None
    return (
        (raw.key, value, headers)
        if size(raw.key, value, headers) <= MAX_DEAD_LETTER_BYTES
        else (None, None, headers[-5:])
    )
