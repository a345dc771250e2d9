"""Reading a table from its start, to its end or for ever."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from shared.broker import Chunk, Kafka
from shared.clock import system_clock
from shared.errors import Transient
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, RECORDS

from .members import Bus

ITEMS = [f"item-{number}" for number in range(30)]


@pytest.fixture
async def reader(settings: KafkaSettings) -> AsyncIterator[Kafka]:
    kafka = Kafka(settings, "matcher", system_clock)
    await kafka.start()
    yield kafka
    await kafka.stop()


async def read(kafka: Kafka, *partitions: int) -> list[Chunk]:
    return [chunk async for chunk in kafka.read_table(ACTIVITIES, partitions or None)]


async def test_it_ends_where_the_table_ended_and_says_so_once(reader: Kafka, bus: Bus) -> None:
    await bus.put_activities(*ITEMS, partition=None)
    chunks = await read(reader)
    assert sorted(message.key[-1] for chunk in chunks for message in chunk.messages) == sorted(ITEMS)
    assert [chunk.caught_up for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].waiting == 0
    assert {tp.partition for tp in chunks[-1].positions} == {0, 1, 2, 3}
    assert sum(chunks[-1].positions.values()) == len(ITEMS)


async def test_an_empty_table_is_read_at_once(reader: Kafka) -> None:
    (chunk,) = await read(reader)
    assert (chunk.messages, chunk.caught_up) == ([], True)


async def test_only_the_partitions_that_are_asked_for(reader: Kafka, bus: Bus) -> None:
    for partition in range(4):
        await bus.put_activities(f"in-{partition}", partition=partition)
    found = [message.key[-1] for chunk in await read(reader, 1, 3) for message in chunk.messages]
    assert sorted(found) == ["in-1", "in-3"]


async def test_following_goes_on_after_it_has_caught_up(reader: Kafka, bus: Bus) -> None:
    await bus.put_activities("before")
    seen: list[str] = []
    async with contextlib.aclosing(reader.read_table(ACTIVITIES, follow=True)) as table:  # type: ignore[type-var]
        async for chunk in table:
            seen += [message.key[-1] for message in chunk.messages]
            if chunk.caught_up and seen == ["before"]:
                await bus.put_activities("after")
            if seen == ["before", "after"]:
                break


async def test_what_waits_behind_a_chunk_is_counted(reader: Kafka, bus: Bus) -> None:
    await bus.put_activities(*(f"item-{number}" for number in range(1200)))
    first, *_, last = await read(reader)
    assert len(first.messages) + first.waiting == 1200
    assert (first.caught_up, last.waiting, last.caught_up) == (False, 0, True)


async def test_records_are_read_from_all_their_topics_with_what_is_refused_marked(
    settings: KafkaSettings, bus: Bus
) -> None:
    await bus.put("records", b"contoso/account/a1", b'{"tenant": "contoso", "type": "account", "id": "a1"}')
    await bus.put("records", b"contoso/account/a2", b"{")
    await bus.put("mailboxes", b"contoso/account/a3", None)
    settings = settings.model_copy(
        update={"records_topics": {"records": ["*"], "mailboxes": ["*"]}}
    )  # any topic that is there
    kafka = Kafka(settings, "matcher", system_clock)
    await kafka.start()
    try:
        found = {
            message.key[-1]: message
            async for chunk in kafka.read_table(RECORDS)
            for message in chunk.messages
        }
    finally:
        await kafka.stop()
    assert {
        key: (message.value is not None, message.refused is not None) for key, message in found.items()
    } == {
        "a1": (True, False),
        "a2": (False, True),
        "a3": (False, False),
    }


async def test_no_kafka_is_transient(settings: KafkaSettings) -> None:
    kafka = Kafka(
        settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"}), "matcher", system_clock
    )
    with pytest.raises(Transient):
        await read(kafka)
