"""Reading a compacted topic as a table, to its end or for ever."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.broker import KafkaClient, TableChunk
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.messages import InvalidMessage, ReceivedMessage, TombstoneMessage, ValueMessage
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, RECORDS

from .kafka_world import KafkaObserver


def item_of(message: ReceivedMessage[Any, Any]) -> str:
    assert message.key is not None
    return str(message.key[-1])


ITEMS = [f"item-{number}" for number in range(30)]


@pytest.fixture
async def reader(settings: KafkaSettings) -> AsyncIterator[KafkaClient]:
    kafka = KafkaClient(settings, "matcher", system_clock)
    await kafka.start()
    yield kafka
    await kafka.stop()


async def read(kafka: KafkaClient, *partitions: int) -> list[TableChunk[Any, Any]]:
    return [chunk async for chunk in kafka.read_table(ACTIVITIES, partitions or None)]


async def test_reading_ends_where_the_table_ended_at_its_begin(
    reader: KafkaClient, observer: KafkaObserver
) -> None:
    await observer.write_activities(*ITEMS, partition=None)
    chunks = await read(reader)
    assert sorted(item_of(message) for chunk in chunks for message in chunk.messages) == sorted(ITEMS)
    assert [chunk.caught_up for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].waiting == 0
    assert {tp.partition for tp in chunks[-1].positions} == {0, 1, 2, 3}
    assert sum(chunks[-1].positions.values()) == len(ITEMS)


async def test_an_empty_table_is_one_empty_chunk(reader: KafkaClient) -> None:
    (chunk,) = await read(reader)
    assert (chunk.messages, chunk.caught_up) == ([], True)


async def test_only_the_named_partitions_are_read(reader: KafkaClient, observer: KafkaObserver) -> None:
    for partition in range(4):
        await observer.write_activities(f"in-{partition}", partition=partition)
    found = [item_of(message) for chunk in await read(reader, 1, 3) for message in chunk.messages]
    assert sorted(found) == ["in-1", "in-3"]


async def test_following_goes_on_after_catching_up(reader: KafkaClient, observer: KafkaObserver) -> None:
    await observer.write_activities("before")
    items: list[str] = []
    async with contextlib.aclosing(reader.read_table(ACTIVITIES, follow=True)) as table:  # type: ignore[type-var]
        async for chunk in table:
            items += [item_of(message) for message in chunk.messages]
            if chunk.caught_up and items == ["before"]:
                await observer.write_activities("after")
            if items == ["before", "after"]:
                break


async def test_a_chunk_counts_the_messages_behind_it(reader: KafkaClient, observer: KafkaObserver) -> None:
    await observer.write_activities(*(f"item-{number}" for number in range(1200)))
    first, *_, last = await read(reader)
    assert len(first.messages) + first.waiting == 1200
    assert (first.caught_up, last.waiting, last.caught_up) == (False, 0, True)


async def test_records_are_read_from_all_their_topics(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    await observer.write(
        "records", b"contoso/account/a1", b'{"tenant": "contoso", "type": "account", "id": "a1"}'
    )
    await observer.write("records", b"contoso/account/a2", b"{")
    await observer.write("matches", b"contoso/account/a3", None)
    settings = settings.model_copy(
        update={"records_topics": {"records": ["*"], "matches": ["*"]}}
    )  # any existing topic
    kafka = KafkaClient(settings, "matcher", system_clock)
    await kafka.start()
    try:
        found = {
            item_of(message): message
            async for chunk in kafka.read_table(RECORDS)
            for message in chunk.messages
        }
    finally:
        await kafka.stop()
    assert {key: type(message) for key, message in found.items()} == {
        "a1": ValueMessage,
        "a2": InvalidMessage,
        "a3": TombstoneMessage,
    }


async def test_an_unreachable_kafka_is_retryable(settings: KafkaSettings) -> None:
    kafka = KafkaClient(
        settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"}), "matcher", system_clock
    )
    with pytest.raises(RetryableError):
        await read(kafka)
