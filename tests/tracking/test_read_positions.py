"""Where reading starts, on the real MongoDB with both drivers."""

from typing import Any, cast

from services.tracking.read_positions import ReadPositions
from services.tracking.store import Store
from shared.broker import Batch, KafkaClient, TopicPartition
from shared.errors import InvalidMessageError
from shared.keys import RecordKey
from shared.messages import ReceivedMessage
from shared.records import CustomRecord
from shared.topics import RECORDS

from .conftest import SettableClock, invalid_message, valid_message
from .worlds import CONTOSO

PARTITION, OTHER_PARTITION = TopicPartition("records", 0), TopicPartition("records", 1)
KEY = RecordKey(CONTOSO, "project", "apollo")
VALUE = CustomRecord(tenant=CONTOSO, type="project", id="apollo")


class FakeKafka:
    """A Kafka whose partitions all end at one offset."""

    def __init__(self, end: int) -> None:
        self._end = end

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self._end)


def batch_of(*messages: ReceivedMessage[RecordKey, Any]) -> Batch[RecordKey, Any]:
    return Batch(list(messages))


def good(offset: int, partition: int = 0) -> ReceivedMessage[RecordKey, Any]:
    return valid_message(RECORDS, KEY, VALUE, offset=offset, partition=partition)


def bad(offset: int) -> ReceivedMessage[RecordKey, Any]:
    return invalid_message(RECORDS, KEY, offset=offset)


async def started(store: Store, end: int) -> tuple[ReadPositions, int | None]:
    """The positions as a replica finds them, and the offset where it starts to read partition 0."""
    positions = ReadPositions(store, cast("KafkaClient", FakeKafka(end)), SettableClock())
    known_before = positions.known
    start = await positions.start_offsets([PARTITION, OTHER_PARTITION])
    assert (known_before, positions.known) == (False, True)
    return positions, start.get(PARTITION)


async def test_reading_starts_after_the_last_stored_batch(store: Store) -> None:
    positions, start = await started(store, end=10)
    assert start == 0
    await positions.advance(batch_of(good(0), good(4)))
    assert (await started(store, end=10))[1] == 5


async def test_position_does_not_pass_a_message_whose_dead_letter_is_not_written_yet(store: Store) -> None:
    positions, _ = await started(store, end=10)
    batch = batch_of(good(0), good(1), bad(2), good(3))
    await positions.advance(batch)
    assert (await started(store, end=10))[1] == 2
    batch.dead_letter(batch.messages[1], InvalidMessageError("found by the handler"))
    await positions.advance(batch)
    assert (await started(store, end=10))[1] == 1
    await positions.advance(batch_of(good(4)))
    assert (await started(store, end=10))[1] == 5


async def test_refused_message_holds_up_its_own_partition_alone(store: Store) -> None:
    positions, _ = await started(store, end=10)
    await positions.advance(batch_of(bad(0), good(0, partition=1), good(5, partition=1)))
    again = ReadPositions(store, cast("KafkaClient", FakeKafka(10)), SettableClock())
    start = await again.start_offsets([PARTITION, OTHER_PARTITION])
    assert start == {PARTITION: 0, OTHER_PARTITION: 6}


async def test_greatest_epoch_is_stored_with_the_position(store: Store) -> None:
    positions, _ = await started(store, end=10)
    await positions.advance(batch_of(good(0)), {PARTITION: 7})
    await positions.advance(batch_of(good(1)))
    again, start = await started(store, end=10)
    assert (start, again.max_epochs()) == (2, {PARTITION: 7, OTHER_PARTITION: 0})


async def test_topic_that_ends_before_the_position_is_read_from_its_start(store: Store) -> None:
    positions, _ = await started(store, end=10)
    await positions.advance(batch_of(good(9)), {PARTITION: 7})
    again, start = await started(store, end=3)
    assert (start, again.max_epochs()) == (0, {PARTITION: 7, OTHER_PARTITION: 0})
    assert again.generation(PARTITION) > positions.generation(PARTITION)
