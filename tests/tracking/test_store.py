"""What the conditions of the store keep out, and where reading starts, on the real MongoDB."""

import traceback
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
    register,
)

from services.tracking.positions import Positions
from services.tracking.store import record_document
from services.tracking.store.connection import Connection, WriteRefused
from shared.broker import Batch, Subscription
from shared.bus import Position, Received
from shared.errors import Rejected
from shared.records import Custom
from shared.settings import MongoSettings
from shared.topics import RECORDS

from .conftest import World
from .worlds import CONTOSO, RENEWAL, email

KEY = (CONTOSO, "project", "apollo")


def said(
    name: str | None, *, topic: str = "records", partition: int = 0, offset: int = 0, refused: bool = False
) -> Any:
    """A message on records: a name, a deletion (None), or one that is refused."""
    value = (
        Custom.model_validate({"tenant": CONTOSO, "type": "project", "id": "apollo", "name": name})
        if name
        else None
    )
    why = Rejected("broken") if refused else None
    return Received(RECORDS, Position(topic, partition, offset), KEY, value, 1, 0, 0, why, None)


A, B = said("A", offset=5), said("B", offset=6)
HIGH = said("high", partition=3)
OTHER = said("other", topic="records-contoso")


@pytest.mark.parametrize(
    "messages,held",
    [
        ([A, B], "B"),
        ([B, A], "B"),
        ([A, HIGH], "A"),
        ([HIGH, A], "A"),
        ([HIGH, OTHER], "high"),
        ([OTHER, HIGH], "high"),
        ([A, said(None, partition=3, offset=9)], "A"),
        ([HIGH, said(None, offset=9)], "high"),
        ([A, said(None, offset=9), HIGH], "high"),
        ([HIGH, said(None, offset=9, refused=True)], None),
        ([A, said(None, offset=9, refused=True), HIGH], None),
    ],
)
async def test_the_last_word_of_the_lowest_partition_that_has_the_record_counts(
    world: World, messages: list[Any], held: str | None
) -> None:
    for message in messages:
        await world.store.records.put([record_document(message, taken=1)])
    record = await world.store.records.one(KEY)
    assert record
    assert record.name == held


SUBJECT = "Between us"


async def test_what_mongodb_refuses_is_told_by_its_code_and_never_with_what_stood_there(
    world: World, mongodb_uri: str, mongodb_database: str
) -> None:
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        client[mongodb_database].command("collMod", "suggestions", validator={"never": True})
    with pytest.raises(WriteRefused, match=r"\[121\]") as refused:
        await world.suggest(email(subject=SUBJECT), RENEWAL)
    assert SUBJECT not in "".join(traceback.format_exception(refused.value))


class Commits(CommandListener):
    """What transactions ask for when they commit."""

    def __init__(self) -> None:
        self.concerns: list[Any] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "commitTransaction":
            self.concerns.append(event.command["writeConcern"]["w"])

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


async def test_a_transaction_asks_for_the_majority_whatever_the_uri_says(
    mongodb_uri: str, mongodb_database: str
) -> None:
    commits = Commits()
    register(commits)  # with clients that are made from now on
    connection = Connection(MongoSettings(mongodb_uri=SecretStr(f"{mongodb_uri}&w=1")), mongodb_database)
    async with connection.transaction() as session:
        await connection.collection("any").insert_one({}, session=session)
    connection.close()
    assert commits.concerns == ["majority"]


async def test_offsets_count_anew_in_a_topic_that_was_lost_and_made_again(world: World) -> None:
    await world.store.records.put([record_document(said("before", offset=1000), 1)])
    await world.store.records.put([record_document(said("after", offset=0), 2)])
    record = await world.store.records.one(KEY)
    assert record
    assert record.name == "after"


# -- positions ------------------------------------------------------------------------------------

PARTITION = TopicPartition("records", 0)


class Reading:
    """A subscription whose partitions all end at one offset."""

    def __init__(self, end: int) -> None:
        self.consumer = self
        self._end = end

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self._end)


async def started(world: World, end: int) -> tuple[Positions, int]:
    """The positions as a replica finds them, and where it starts to read."""
    positions = Positions(world.store, world.time)
    start = await positions.start_at(lambda: cast("Subscription", Reading(end)))([PARTITION])
    return positions, start[PARTITION]


async def test_reading_starts_after_the_last_batch_that_is_stored(world: World) -> None:
    positions, start = await started(world, end=10)
    assert (start, positions.known) == (0, True)
    await positions.done(Batch([said("A", offset=0), said("B", offset=4)]))
    assert (await started(world, end=10))[1] == 5


async def test_a_refused_message_is_not_passed_before_the_next_batch_since_its_dead_letter_comes_after(
    world: World,
) -> None:
    positions, _ = await started(world, end=10)
    batch = Batch(
        [said("A", offset=0), said("B", offset=1), said(None, offset=2, refused=True), said("D", offset=3)]
    )
    await positions.done(batch)
    assert (await started(world, end=10))[1] == 2
    batch.reject(batch.messages[1], Rejected("a handler's own"))
    await positions.done(batch)
    assert (await started(world, end=10))[1] == 1
    await positions.done(Batch([said("E", offset=4)]))
    assert (await started(world, end=10))[1] == 5


async def test_a_topic_that_ends_before_the_position_was_made_anew_and_is_read_from_its_start(
    world: World,
) -> None:
    positions, _ = await started(world, end=10)
    await positions.done(Batch([said("A", offset=9)]))
    again, start = await started(world, end=3)
    assert start == 0
    assert again.taken(PARTITION) > positions.taken(PARTITION)
