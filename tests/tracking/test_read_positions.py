"""Where reading starts, on the real MongoDB with both drivers."""

from dataclasses import replace
from typing import Any

import pytest

from services.tracking.read_positions import ReadPositions
from services.tracking.store import Store, StoredPosition
from shared.broker import Batch, TopicPartition
from shared.errors import InvalidMessageError, RetryableError
from shared.keys import RecordKey
from shared.messages import ReceivedMessage
from shared.records import CustomRecord
from shared.topics import RECORDS

from .conftest import invalid_message, put_positions, read_positions, valid_message
from .worlds import CONTOSO

PARTITION, OTHER_PARTITION = TopicPartition("records", 0), TopicPartition("records", 1)
KEY = RecordKey(CONTOSO, "project", "apollo")
VALUE = CustomRecord(tenant=CONTOSO, type="project", id="apollo")


def batch_of(*messages: ReceivedMessage[RecordKey, Any]) -> Batch[RecordKey, Any]:
    return Batch(list(messages))


def good(offset: int, partition: int = 0) -> ReceivedMessage[RecordKey, Any]:
    return valid_message(RECORDS, KEY, VALUE, offset=offset, partition=partition)


def bad(offset: int) -> ReceivedMessage[RecordKey, Any]:
    return invalid_message(RECORDS, KEY, offset=offset)


async def started(store: Store, end: int) -> tuple[ReadPositions, int | None]:
    """The positions as a replica finds them, and the offset where it starts to read partition 0."""
    positions = read_positions(store, end)
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
    again = read_positions(store, 10)
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


async def test_topic_with_another_id_is_read_from_its_start_although_it_is_longer(store: Store) -> None:
    positions, _ = await started(store, end=10)
    await positions.advance(batch_of(good(9)), {PARTITION: 7})
    anew = read_positions(store, 50, "another id")
    assert (await anew.start_offsets([PARTITION, OTHER_PARTITION]))[PARTITION] == 0
    assert anew.generation(PARTITION) > positions.generation(PARTITION)
    assert (await started(store, end=50))[1] == 0


async def test_store_that_is_behind_its_writer_is_reported(store: Store) -> None:
    reports: list[None] = []
    positions = read_positions(store, 10, on_store_behind=lambda: reports.append(None))
    await positions.start_offsets([PARTITION])
    await positions.advance(batch_of(good(0)))
    copy = await store.read_positions.find_by_partition(["records/0"])
    await positions.advance(batch_of(good(1)))
    await put_positions(store, copy)
    with pytest.raises(RetryableError):
        await positions.advance(batch_of(good(2)))
    assert len(reports) == 1
    assert await store.read_positions.find_by_partition(["records/0"]) == copy


async def test_replica_that_was_paused_takes_back_no_position(store: Store) -> None:
    paused, owner = read_positions(store, 10), read_positions(store, 10)
    await paused.start_offsets([PARTITION])
    await owner.start_offsets([PARTITION])
    await owner.advance(batch_of(good(5)), {PARTITION: 7})
    await paused.advance(batch_of(good(2)), {PARTITION: 6})
    await owner.advance(batch_of(good(6)), {PARTITION: 7})
    stored = (await store.read_positions.find_by_partition(["records/0"]))["records/0"]
    assert (stored.next_offset, stored.read_to, stored.max_epoch) == (7, 7, 7)


async def test_late_start_of_a_replica_that_lost_the_partition_changes_nothing(store: Store) -> None:
    """Or the records that the owner has stored would be later than all that comes after the next start."""
    owner, _ = await started(store, end=10)
    late = StoredPosition(0, 0, 0, 1, "id")
    await store.read_positions.start({"records/0": (None, late)})
    await owner.advance(batch_of(good(5)))
    await store.read_positions.start({"records/0": (replace(late, generation=0), late)})
    again, start = await started(store, end=10)
    assert (start, again.generation(PARTITION)) == (6, owner.generation(PARTITION))


async def test_a_start_that_another_replica_has_decided_otherwise_is_decided_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_positions(store, 10)
    start_positions = store.read_positions.start

    async def start_after_another(changes: Any) -> None:
        monkeypatch.undo()
        await start_positions({"records/0": (None, StoredPosition(0, 0, 0, 7, "id"))})
        await start_positions(changes)

    monkeypatch.setattr(store.read_positions, "start", start_after_another)
    with pytest.raises(RetryableError):
        await first.start_offsets([PARTITION])
    assert await first.start_offsets([PARTITION]) == {PARTITION: 0}
    assert first.generation(PARTITION) == 7
