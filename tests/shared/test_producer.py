"""What is sent is there, once, in order; what cannot be sent says so in time and harms nothing else."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from shared.broker import Kafka
from shared.bus import Outgoing, decode
from shared.clock import system_clock
from shared.errors import Rejected, Transient
from shared.producer import MANY, Raw, size
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, CONTENT, GRAPH_NOTIFICATIONS, MAX_MESSAGE_BYTES

from .examples import EMAIL
from .members import Bus, eventually


@pytest.fixture
async def kafka_client(settings: KafkaSettings) -> AsyncIterator[Kafka]:
    kafka = Kafka(settings, "mail-ingest", system_clock)
    await kafka.start()
    yield kafka
    await kafka.stop()
    if kafka.failed.done():
        kafka.failed.exception()  # the test has seen it


def activity(item: str, version: int = 1) -> Outgoing:
    return Outgoing(ACTIVITIES, ("contoso", "mia", item), EMAIL.model_copy(update={"item": item}), version)


async def test_what_is_sent_stands_there_in_order_for_each_key(kafka_client: Kafka, bus: Bus) -> None:
    await kafka_client.producer.send(*(activity(f"item-{version % 5}", version) for version in range(100)))
    await kafka_client.producer.send(Outgoing(ACTIVITIES, ("contoso", "mia", "item-0"), None, 100))
    found = [decode(ACTIVITIES, record) for record in await bus.all(ACTIVITIES)]
    for item in range(5):
        versions = [message.version for message in found if message.key[-1] == f"item-{item}"]
        assert versions == [*range(item, 100, 5), *([100] if item == 0 else [])]
    assert all(message.refused is None for message in found)


@pytest.mark.parametrize("count", [1, MANY - 1, MANY, 1000])
async def test_the_answer_says_where_each_message_stands(kafka_client: Kafka, bus: Bus, count: int) -> None:
    """One by one or in batches of our own, and among others' messages that are sent at the same time."""
    messages = [activity(f"item-{number % 7}", number + 1) for number in range(count)]
    sending = asyncio.create_task(kafka_client.producer.send(*map(activity, "abc")))
    places = await kafka_client.producer.send(*messages)
    await sending
    stands = {
        (record.partition, record.offset): int(dict(record.headers)["ce_version"])
        for record in await bus.all(ACTIVITIES)
    }
    assert [stands[place.partition, place.offset] for place in places] == list(range(1, count + 1))


async def test_large_and_small_messages_together_keep_their_order(kafka_client: Kafka, bus: Bus) -> None:
    """A batch of ours takes no more than 16 kB, except for one message that is larger by itself."""
    lengths = [10, 100_000, 20_000, 10, 900_000, 5_000, 5_000, 5_000, 5_000, 10] * 4
    await kafka_client.producer.send_raw([raw(bus, length) for length in lengths])
    assert [len(record.value or b"") for record in await bus.all(ACTIVITIES)] == lengths


async def test_a_key_always_goes_where_other_clients_put_it(kafka_client: Kafka, bus: Bus) -> None:
    """The default partitioner: a partition of `activities` belongs to that of `matches` with the same keys."""
    keys = [f"item-{number}" for number in range(MANY + 5)]
    one_by_one = [(await kafka_client.producer.send(activity(key)))[0].partition for key in keys]
    ours = await kafka_client.producer.send(*map(activity, keys))
    await bus.put_activities(*keys, partition=None)
    theirs = {
        record.key: record.partition
        for record in await bus.all(ACTIVITIES)
        if "ce_source" not in dict(record.headers)
    }
    assert {
        f"contoso/mia/{key}".encode(): place.partition for key, place in zip(keys, ours, strict=True)
    } == theirs
    assert [place.partition for place in ours] == one_by_one


async def test_no_producer_can_be_weakened(kafka_client: Kafka) -> None:
    """Idempotent, and confirmed by all replicas: neither lost nor doubled when a broker dies."""
    producer = kafka_client.producer._producer
    assert producer is not None
    assert producer._txn_manager is not None
    assert producer._sender._acks == -1


# -- too large ------------------------------------------------------------------------------------


def raw(bus: Bus, length: int, topic: str = ACTIVITIES.name) -> Raw:
    return bus.name(topic), b"contoso/mia/1", os.urandom(length), []


async def test_a_message_that_is_too_large_is_rejected_before_kafka_sees_it_and_harms_nothing(
    kafka_client: Kafka, bus: Bus
) -> None:
    with pytest.raises(Rejected, match="larger than"):
        await kafka_client.producer.send_raw([raw(bus, 10), raw(bus, MAX_MESSAGE_BYTES)])
    assert await bus.all(ACTIVITIES) == [], "not even what would have fitted"
    await kafka_client.producer.send_raw([raw(bus, 10)])
    assert not kafka_client.failed.done()


async def test_the_largest_message_that_is_let_through_is_taken_though_it_does_not_compress(
    kafka_client: Kafka, bus: Bus
) -> None:
    overhead = size(b"contoso/mia/1", None, [])
    await kafka_client.producer.send_raw([raw(bus, MAX_MESSAGE_BYTES - overhead)])
    with pytest.raises(Rejected):
        await kafka_client.producer.send_raw([raw(bus, MAX_MESSAGE_BYTES - overhead + 1)])
    await kafka_client.producer.send_raw(
        [raw(bus, MAX_MESSAGE_BYTES, ACTIVITIES.dead_letters)], limit=2 * MAX_MESSAGE_BYTES
    )


async def test_what_kafka_refuses_all_the_same_stops_the_process(kafka_client: Kafka, bus: Bus) -> None:
    """It breaks the sequence of an idempotent producer: this is what the check of sizes is for."""
    with pytest.raises(MessageSizeTooLargeError):
        await kafka_client.producer.send_raw([raw(bus, MAX_MESSAGE_BYTES)], limit=2 * MAX_MESSAGE_BYTES)
    assert isinstance(kafka_client.failed.exception(), MessageSizeTooLargeError)


async def test_content_of_900_kb_fits_with_its_envelope(kafka_client: Kafka, bus: Bus) -> None:
    await kafka_client.producer.send_raw(
        [(bus.name(CONTENT), b"contoso/mia", os.urandom(900_000), [("ce_id", b"x" * 1000)])]
    )


# -- not now --------------------------------------------------------------------------------------


async def test_nothing_is_sent_before_it_is_connected(settings: KafkaSettings) -> None:
    with pytest.raises(Transient):
        await Kafka(settings, "mail-ingest", system_clock).producer.send(activity("1"))


async def test_no_kafka_at_start_is_transient_and_start_can_be_called_again(settings: KafkaSettings) -> None:
    kafka = Kafka(
        settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"}), "mail-ingest", system_clock
    )
    for _ in range(2):
        with pytest.raises(Transient, match="KAFKA_BOOTSTRAP_SERVERS"):
            await kafka.start()
    assert not await kafka.ping()


async def test_a_topic_that_is_not_there_is_transient_within_the_deadline(
    kafka_client: Kafka, bus: Bus
) -> None:
    began = time.monotonic()
    with pytest.raises(Transient):
        await kafka_client.producer.send_raw([raw(bus, 1, "nowhere")], deadline=timedelta(seconds=0.5))
    assert time.monotonic() - began < 2
    await kafka_client.producer.send_raw([raw(bus, 1)])


async def test_who_gives_up_waiting_leaves_nothing_behind(kafka_client: Kafka, bus: Bus) -> None:
    """A request that is cancelled: its message may be sent or not, and nobody is told of it."""
    sending = asyncio.create_task(kafka_client.producer.send_raw([raw(bus, 1)]))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await kafka_client.producer.send(Outgoing(GRAPH_NOTIFICATIONS, ("contoso", "mia"), None, 1))
    await eventually(lambda: kafka_client.producer._overdue == 0)
