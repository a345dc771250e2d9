"""Consumes one topic in a consumer group: batches, commits after the work, retries, rebalances.

| the batch handler | what follows |
|---|---|
| raises `RetryableError` | the partitions pause; the same batch comes again after a back-off |
| calls `Batch.dead_letter(message, error)` | the message goes to the dead-letter topic; the batch commits |
| raises `InvalidMessageError` | its messages are handled one by one; one that raises again is a dead letter |
| raises any other exception | fatal: nothing is committed and the process stops |

At a rebalance the consumer *drains* (it waits for the batch in flight, which commits) and *gates* (it
drops what it fetched before the revocation, uncommitted, so that the next owner fetches it again).
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeAlias, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream.kafka.message import KafkaAckableMessage

from .cluster import QUERY_TIMEOUT, KafkaCluster
from .commits import GroupCommits
from .dead_letters import Refusal, write_dead_letters
from .errors import InvalidMessageError, RetryableError
from .identity import MemberIdentity
from .keys import K
from .messages import InvalidMessage, KafkaRecord, MessageDecoder, ReceivedMessage, ValidMessage
from .retry import OutageLog, retry_until_available
from .tasks import error_of, error_of_end
from .topics import Topic

log = logging.getLogger(__name__)
V = TypeVar("V")

FIRST_BACKOFF = timedelta(seconds=0.2)
MAX_BACKOFF = timedelta(seconds=15)
START_OFFSETS_RETRY = timedelta(seconds=1)


@dataclass(slots=True)
class Batch(Generic[K, V]):
    """Messages in the order of their partitions. Invalid ones become dead letters by themselves."""

    messages: list[ReceivedMessage[K, V]]
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def valid(self) -> list[ValidMessage[K, V]]:
        """The values and tombstones."""
        return [message for message in self.messages if not isinstance(message, InvalidMessage)]

    @property
    def invalid(self) -> list[InvalidMessage[K]]:
        """The messages that cannot be read."""
        return [message for message in self.messages if isinstance(message, InvalidMessage)]

    def dead_letter(self, message: ReceivedMessage[K, V], error: InvalidMessageError) -> None:
        """Marks a message for the dead-letter topic; the others of the batch go on."""
        self.refusals.append((message, error))


RecordBatch: TypeAlias = tuple[KafkaRecord, ...]
OnBatch: TypeAlias = Callable[[Batch[K, V]], Awaitable[None]]
StartOffsets: TypeAlias = Callable[[Sequence[TopicPartition]], Awaitable[dict[TopicPartition, int]]]
"""Called at every assignment. Returns the offsets to read from; a partition that is left out starts at
the group's commit. The partitions stay paused until it returns."""


class TopicConsumer(ConsumerRebalanceListener, Generic[K, V]):  # type: ignore[misc]  # aiokafka has no types
    """One topic as one service reads it.

    Attributes:
        is_static: the group knows this replica by its INSTANCE.
        assigned: this replica's partitions now.
        paused: no messages arrive, because a batch is retried or the start offsets are not known yet.
    """

    def __init__(
        self, cluster: KafkaCluster, topic: Topic[K, V], group: str, decoder: MessageDecoder[K, V] | None
    ) -> None:
        self.topic = topic
        self.group = group
        self.cluster = cluster
        self.is_static = False
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.paused = False
        self._decoders = cluster.decoders(topic, decoder)
        self._on_batch: OnBatch[K, V] | None = None
        self._start_offsets: StartOffsets | None = None
        self._subscriber: Any = None
        self._batch_lock = asyncio.Lock()
        self._gate_open = False
        self._stopped = False
        self._failures = 0
        self._resume_task: asyncio.Task[None] | None = None
        self._next_offsets: dict[TopicPartition, int] = {}
        self._last_timestamps_ms: dict[TopicPartition, int] = {}
        self._commits = GroupCommits(topic.name, self._connected)
        self._identity = MemberIdentity(topic.name)

    def handle(self, on_batch: OnBatch[K, V], start_offsets: StartOffsets | None = None) -> None:
        """Sets the handler of batches; called once, before the client starts.

        Args:
            on_batch: does the work; its offsets are committed after it returns.
            start_offsets: where reading starts; absent: at the group's commit.
        """
        self._on_batch = on_batch
        self._start_offsets = start_offsets

    # -- FastStream -------------------------------------------------------------------------------

    def attach(self, subscriber: Any) -> None:
        """Makes FastStream's subscriber call this consumer."""
        self._subscriber = subscriber
        subscriber(self._handle)

    def watch(self) -> None:
        """Makes the end of FastStream's poll loop fatal.

        FastStream restarts a loop after any error, and leaves it as it is when it returns or is cancelled.
        """
        if self._on_batch is None:
            raise TypeError(f"the consumer of {self.topic.name} has no handler")
        for task in self._subscriber.tasks:
            task.set_name(f"poll {self.topic.name}")
            task.add_done_callback(self._on_end)

    def unwatch(self) -> None:
        """Expects the end of the poll loop: the client stops."""
        for task in self._subscriber.tasks:
            task.remove_done_callback(self._on_end)

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        """Fails when a task of this consumer ends before it is stopped."""
        if not self._stopped:
            self._fail(error_of_end(task))

    async def parse(self, records: RecordBatch) -> Any:
        """Replaces FastStream's parser, which drops what it cannot read."""
        return KafkaAckableMessage(
            raw_message=records,
            body=b"",
            headers={},
            batch_headers=[],
            message_id="",
            consumer=self._connected(),
        )

    async def pass_undecoded(self, message: Any) -> Any:
        """Replaces FastStream's decoder, with which one bad message costs its whole batch."""
        return message.raw_message

    @property
    def client(self) -> AIOKafkaConsumer | None:
        """Aiokafka's consumer; None when it is not connected."""
        return self._subscriber.consumer if self._subscriber else None

    def _connected(self) -> AIOKafkaConsumer:
        if self._subscriber is None or self._subscriber.consumer is None:
            raise RetryableError("not connected to Kafka")
        return self._subscriber.consumer

    # -- rebalances -------------------------------------------------------------------------------

    async def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        """Drains: waits for the batch in flight, which commits while it holds the lock."""
        self._gate_open = False
        if self._resume_task:
            self._resume_task.cancel()
            await asyncio.gather(self._resume_task, return_exceptions=True)
        async with self._batch_lock:
            self.assigned = frozenset()
            self._commits.forget()
            self._next_offsets.clear()
            self._last_timestamps_ms.clear()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Opens the gate, after the start offsets are known when there is a callback for them."""
        # No await in this method: what the gate drops meanwhile would be skipped, not fetched again.
        self._observe_identity()
        self.assigned = frozenset(assigned)
        if self._stopped or (self._start_offsets and assigned):
            self._pause()
        else:
            self._gate_open, self.paused = True, False
        if self._start_offsets and assigned and not self._stopped:
            self._start_resuming(self._seek(self._start_offsets))

    def _start_resuming(self, resume: Coroutine[Any, Any, None]) -> None:
        self._resume_task = asyncio.create_task(resume, name=f"resume {self.topic.name}")
        self._resume_task.add_done_callback(self._on_resumed)

    def _on_resumed(self, task: "asyncio.Task[None]") -> None:
        """Fails when the partitions stay paused for ever; a rebalance and the stop cancel the task."""
        if not task.cancelling() and (error := error_of(task)):
            self._fail(error)

    def _observe_identity(self) -> None:
        coordinator = self._connected()._coordinator  # noqa: SLF001  # it has no public name
        if coordinator is not None and self.is_static:
            self._identity.observe(coordinator.member_id)

    @property
    def has_twin(self) -> bool:
        """Whether another process runs under the same INSTANCE."""
        return self._identity.has_twin

    async def _seek(self, start_offsets: StartOffsets) -> None:
        outage = OutageLog(log, "start offsets unavailable, retrying", topic=self.topic.name)

        async def query() -> dict[TopicPartition, int]:
            return await start_offsets(sorted(self.assigned))

        offsets = await retry_until_available(query, outage, START_OFFSETS_RETRY)
        for tp, offset in offsets.items():
            self._connected().seek(tp, offset)
        if offsets:  # by its commit other replicas measure the lag of a partition in which nothing arrives
            self._next_offsets |= offsets
            await self._commits.commit(offsets)
        self._gate_open = True
        self._resume()

    async def seek_again(self) -> None:
        """Requests the start offsets again, as after an assignment; the batch in flight is done before."""
        if self._start_offsets is None or not self.assigned or self._stopped:
            return
        self._gate_open = False
        if self._resume_task:
            self._resume_task.cancel()
            await asyncio.gather(self._resume_task, return_exceptions=True)
        async with self._batch_lock:
            self._next_offsets.clear()
            self._commits.forget()
            if self.assigned and not self._stopped:
                self._pause()
                self._start_resuming(self._seek(self._start_offsets))

    def _pause(self) -> None:
        self.paused = True
        self._connected().pause(*self.assigned)

    def _resume(self) -> None:
        self._connected().resume(*self.assigned)
        self.paused = False

    # -- a batch ----------------------------------------------------------------------------------

    async def _handle(self, records: RecordBatch) -> None:
        async with self._batch_lock:
            if not self._gate_open:
                return  # fetched before the revocation: the next owner fetches it again
            first, after = _offset_range(records)
            self._next_offsets |= first
            try:
                await self._process(records)
            except RetryableError as error:
                self._retry(first, error)
            except Exception as error:  # noqa: BLE001  # it stops the process
                self._fail(error)
            else:
                self._failures = 0
                await self._commits.commit(after)
                self._next_offsets |= after
                self._last_timestamps_ms |= {_partition_of(record): record.timestamp for record in records}

    async def _process(self, records: RecordBatch) -> None:
        if self._on_batch is None:
            raise TypeError(f"the consumer of {self.topic.name} has no handler")
        batch: Batch[K, V] = Batch([self._decoders[record.topic](record) for record in records])
        try:
            await self._on_batch(batch)
        except InvalidMessageError as error:
            if len(records) > 1:  # one of them, and the handler does not know which
                for record in records:
                    await self._process((record,))
                return
            batch.refusals = [(message, error) for message in batch.valid]
        invalid: list[Refusal] = [(message, message.error) for message in batch.invalid]
        await write_dead_letters(self.cluster, self.topic, invalid + batch.refusals)

    def _retry(self, first: dict[TopicPartition, int], error: RetryableError) -> None:
        """Seeks to the batch's start; polling goes on with the partitions paused."""
        if not self._gate_open:
            return  # the next owner starts there
        backoff = min(FIRST_BACKOFF * 2**self._failures, MAX_BACKOFF).total_seconds() * random.uniform(0.5, 1)
        self._failures += 1
        log.warning(
            "batch failed, retrying",
            extra={"topic": self.topic.name, "error": str(error), "retry_in": round(backoff, 2)},
        )
        self._pause()
        for tp, offset in first.items():
            self._connected().seek(tp, offset)
        self._start_resuming(self._resume_after(backoff))

    async def _resume_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._resume()

    def _fail(self, error: BaseException) -> None:
        """Handles a fatal error: this consumer reads nothing more, and the process stops."""
        self._stop()
        self.cluster.fail(error)

    def _stop(self) -> None:
        self._stopped, self._gate_open = True, False
        if self._resume_task:
            self._resume_task.cancel()
        with contextlib.suppress(RetryableError, IllegalStateError):
            self._pause()

    async def drain(self) -> None:
        """Takes no more batches, and waits for the one in flight."""
        self._stop()
        async with self._batch_lock:
            pass

    # -- commits ----------------------------------------------------------------------------------

    async def commit_overdue(self) -> None:
        """Commits the offsets whose commit failed when their batch was done."""
        if self._commits.is_overdue and self._gate_open and not self._batch_lock.locked():
            async with self._batch_lock:
                await self._commits.commit({})

    async def commit_offsets(self, offsets: dict[TopicPartition, int], within: timedelta) -> None:
        """Commits offsets outside of a batch, to prove that the group still has this member.

        Raises:
            RetryableError: the group does not accept the commit in time.
        """
        await self._commits.prove_membership(offsets, within)

    # -- positions --------------------------------------------------------------------------------

    async def waiting(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Messages that wait in each of these partitions, the batch in hand included.

        For partitions of other replicas it counts from the group's commit.

        Raises:
            RetryableError: Kafka does not answer in time, or partitions are being assigned.
        """
        self.check_assigned()
        try:
            async with asyncio.timeout(QUERY_TIMEOUT.total_seconds()):
                ends = await self.cluster.end_offsets(partitions)
                done = await self.done(partitions)
        except TimeoutError as error:
            raise RetryableError("Kafka does not return the lag") from error
        return {tp: max(0, ends[tp] - done[tp]) for tp in partitions}

    async def done(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset up to which each partition is processed; raises as `waiting`."""
        self.check_assigned()
        try:
            async with asyncio.timeout(QUERY_TIMEOUT.total_seconds()):
                done = {tp: await self._position(tp) for tp in partitions if tp in self.assigned}
                if elsewhere := [tp for tp in partitions if tp not in done]:
                    done |= await self.cluster.committed_offsets(self.group, elsewhere)
        except (TimeoutError, KafkaError) as error:
            raise RetryableError("Kafka does not return positions") from error
        return done

    def check_assigned(self) -> None:
        """Raises RetryableError while partitions are being assigned.

        aiokafka's consumer cannot be queried before that, and fails with errors of other types.
        """
        if not self._gate_open:
            raise RetryableError(f"the partitions of {self.topic.name} are being assigned")

    async def _position(self, tp: TopicPartition) -> int:
        return self._next_offsets[tp] if tp in self._next_offsets else await self._connected().position(tp)

    def last_processed_ms(self, tp: TopicPartition) -> int | None:
        """Timestamp of the last message that was processed in a partition, in ms since 1970."""
        return self._last_timestamps_ms.get(tp)

    def idle_seconds(self, now_ms: int) -> float:
        """Seconds since Kafka last answered a poll or accepted a commit; 0 when neither is due."""
        uncommitted = self._commits.overdue_seconds(now_ms)
        if not self.assigned or self.paused:
            return uncommitted
        polls = [self._connected().last_poll_timestamp(tp) or 0 for tp in self.assigned]
        return max(uncommitted, (now_ms - max(polls)) / 1000) if any(polls) else uncommitted


def _partition_of(record: KafkaRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _offset_range(records: RecordBatch) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """The first offset of each partition in a batch, and the offset after its last one."""
    first: dict[TopicPartition, int] = {}
    after: dict[TopicPartition, int] = {}
    for record in records:
        tp = _partition_of(record)
        first.setdefault(tp, record.offset)
        after[tp] = record.offset + 1
    return first, after
