"""Sent messages are stored once and in order; one that cannot be sent fails in time and harms no other."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError, NoError, UnknownError
from aiokafka.producer.sender import SendProduceReqHandler

from shared.broker import KafkaClient
from shared.clock import system_clock
from shared.errors import InvalidMessageError, RetryableError
from shared.keys import ItemKey
from shared.leaders import NO_LEADER
from shared.messages import InvalidMessage, OutgoingMessage, decode
from shared.producer import BATCH_THRESHOLD, EncodedMessage, message_size
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, CONTENT, MAX_MESSAGE_BYTES
from tests.support.topics import create_topics

from .examples import EMAIL
from .kafka_world import KafkaObserver, eventually


@pytest.fixture
async def kafka_client(settings: KafkaSettings) -> AsyncIterator[KafkaClient]:
    kafka = KafkaClient(settings, "mail-ingest", system_clock)
    await kafka.start()
    yield kafka
    await kafka.stop()
    if kafka.failed.done():
        kafka.failed.exception()  # retrieved, so that asyncio does not log it


def activity(item: str, version: int = 1) -> OutgoingMessage:
    value = EMAIL.model_copy(update={"item": item})
    return OutgoingMessage(ACTIVITIES, value.key, value, version)


async def test_messages_of_one_key_keep_their_order(
    kafka_client: KafkaClient, observer: KafkaObserver
) -> None:
    await kafka_client.producer.send(*(activity(f"item-{version % 5}", version) for version in range(100)))
    await kafka_client.producer.send(
        OutgoingMessage(ACTIVITIES, ItemKey("contoso", "mia", "item-0"), None, 100)
    )
    found = [decode(ACTIVITIES, record) for record in await observer.read_all(ACTIVITIES)]
    for item in range(5):
        versions = [
            message.version for message in found if message.key and message.key.item == f"item-{item}"
        ]
        assert versions == [*range(item, 100, 5), *([100] if item == 0 else [])]
    assert not any(isinstance(message, InvalidMessage) for message in found)


@pytest.mark.parametrize("count", [1, BATCH_THRESHOLD - 1, BATCH_THRESHOLD, 1000])
async def test_send_returns_partition_and_offset_of_each_message(
    kafka_client: KafkaClient, observer: KafkaObserver, count: int
) -> None:
    """For single sends and batches, also beside other sends at the same time."""
    messages = [activity(f"item-{number % 7}", number + 1) for number in range(count)]
    other = asyncio.create_task(kafka_client.producer.send(*map(activity, "abc")))
    stored = await kafka_client.producer.send(*messages)
    await other
    versions = {
        (record.partition, record.offset): int(dict(record.headers)["ce_version"])
        for record in await observer.read_all(ACTIVITIES)
    }
    assert [versions[each.partition, each.offset] for each in stored] == list(range(1, count + 1))


async def test_large_and_small_messages_keep_their_order(
    kafka_client: KafkaClient, observer: KafkaObserver
) -> None:
    """A batch holds at most 16 kB, except one message that is larger by itself."""
    lengths = [10, 100_000, 20_000, 10, 900_000, 5_000, 5_000, 5_000, 5_000, 10] * 4
    await kafka_client.producer.send_encoded([random_message(observer, length) for length in lengths])
    assert [len(record.value or b"") for record in await observer.read_all(ACTIVITIES)] == lengths


async def test_keys_are_partitioned_as_by_other_clients(
    kafka_client: KafkaClient, observer: KafkaObserver
) -> None:
    """The default partitioner: partition p of `activities` has the same keys as partition p of `matches`."""
    keys = [f"item-{number}" for number in range(BATCH_THRESHOLD + 5)]
    one_by_one = [(await kafka_client.producer.send(activity(key)))[0].partition for key in keys]
    ours = await kafka_client.producer.send(*map(activity, keys))
    await observer.write_activities(*keys, partition=None)
    theirs = {
        record.key: record.partition
        for record in await observer.read_all(ACTIVITIES)
        if "ce_source" not in dict(record.headers)
    }
    assert {
        f"contoso/mia/{key}".encode(): place.partition for key, place in zip(keys, ours, strict=True)
    } == theirs
    assert [place.partition for place in ours] == one_by_one


async def test_the_producer_is_idempotent_with_all_acknowledgements(kafka_client: KafkaClient) -> None:
    """So no message is lost or doubled when a broker dies."""
    producer = kafka_client.producer._producer
    assert producer is not None
    assert producer._txn_manager is not None
    assert producer._sender._acks == -1


# -- too large ------------------------------------------------------------------------------------


def random_message(observer: KafkaObserver, length: int, topic: str = ACTIVITIES.name) -> EncodedMessage:
    return observer.full_name(topic), b"contoso/mia/1", os.urandom(length), []


async def test_a_too_large_message_is_refused_before_anything_is_sent(
    kafka_client: KafkaClient, observer: KafkaObserver
) -> None:
    with pytest.raises(InvalidMessageError, match="larger than"):
        await kafka_client.producer.send_encoded(
            [random_message(observer, 10), random_message(observer, MAX_MESSAGE_BYTES)]
        )
    assert await observer.read_all(ACTIVITIES) == [], "the message that fits is not sent either"
    await kafka_client.producer.send_encoded([random_message(observer, 10)])
    assert not kafka_client.failed.done()


async def test_the_largest_incompressible_message_is_stored(
    kafka_client: KafkaClient, observer: KafkaObserver
) -> None:
    overhead = message_size(b"contoso/mia/1", None, [])
    await kafka_client.producer.send_encoded([random_message(observer, MAX_MESSAGE_BYTES - overhead)])
    with pytest.raises(InvalidMessageError):
        await kafka_client.producer.send_encoded([random_message(observer, MAX_MESSAGE_BYTES - overhead + 1)])
    await kafka_client.producer.send_encoded(
        [random_message(observer, MAX_MESSAGE_BYTES, ACTIVITIES.dead_letters)],
        max_bytes=2 * MAX_MESSAGE_BYTES,
    )


async def test_a_message_that_kafka_refuses_is_fatal(
    kafka_client: KafkaClient, observer: KafkaObserver
) -> None:
    """It breaks the sequence of an idempotent producer; therefore sizes are checked before."""
    with pytest.raises(MessageSizeTooLargeError):
        await kafka_client.producer.send_encoded(
            [random_message(observer, MAX_MESSAGE_BYTES)], max_bytes=2 * MAX_MESSAGE_BYTES
        )
    assert isinstance(kafka_client.failed.exception(), MessageSizeTooLargeError)


async def test_a_message_after_which_kafka_answers_unknown_error_is_stored_once(
    kafka_client: KafkaClient, observer: KafkaObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a broker answers whose disk is full."""
    handle = SendProduceReqHandler.handle_response
    stored: list[Any] = []

    def answer_unknown_error(handler: SendProduceReqHandler, response: Any) -> None:
        [(topic, [(number, error, *rest)])] = response.topics
        if error == NoError.errno:  # not that of a new partition, whose leader is not there yet
            stored.append(response)
            if len(stored) == 1:
                response.topics = [(topic, [(number, UnknownError.errno, *rest)])]
        handle(handler, response)

    monkeypatch.setattr(SendProduceReqHandler, "handle_response", answer_unknown_error)
    await kafka_client.producer.send(activity("one"))
    assert len(stored) == 2
    assert len(await observer.read_all(ACTIVITIES)) == 1


async def test_a_partition_without_a_leader_for_long_breaks_no_sequence(
    kafka_client: KafkaClient, observer: KafkaObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be sent within a producer's time-out is sent later, and so is what follows."""
    await kafka_client.producer.send(activity("one"))
    producer = kafka_client.producer.client
    assert producer is not None
    with monkeypatch.context() as leaderless:
        leaderless.setattr(producer.client.cluster, "leader_for_partition", lambda _: NO_LEADER)
        with pytest.raises(RetryableError):
            await kafka_client.producer.send(activity("one"), deadline=timedelta(seconds=0.5))
        for batches in producer._message_accumulator._batches.values():
            for batch in batches:
                batch._ctime -= 3600
        await asyncio.sleep(0.5)  # the producer looks for leaders ten times a second
    await kafka_client.producer.send(activity("one"))
    assert len(await observer.read_all(ACTIVITIES)) == 3


async def test_content_of_900_kb_fits_with_its_envelope(
    kafka_client: KafkaClient, observer: KafkaObserver
) -> None:
    await create_topics(kafka_client.settings, CONTENT.writer)
    await kafka_client.producer.send_encoded(
        [(observer.full_name(CONTENT), b"contoso/mia", os.urandom(900_000), [("ce_id", b"x" * 1000)])]
    )


# -- not now --------------------------------------------------------------------------------------


async def test_send_before_start_is_retryable(settings: KafkaSettings) -> None:
    with pytest.raises(RetryableError):
        await KafkaClient(settings, "mail-ingest", system_clock).producer.send(activity("1"))


async def test_start_without_kafka_is_retryable_and_can_be_repeated(settings: KafkaSettings) -> None:
    kafka = KafkaClient(
        settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"}), "mail-ingest", system_clock
    )
    for _ in range(2):
        with pytest.raises(RetryableError, match="KAFKA_BOOTSTRAP_SERVERS"):
            await kafka.start()
    assert not await kafka.ping()


async def test_a_missing_topic_is_retryable_within_the_deadline(
    kafka_client: KafkaClient, observer: KafkaObserver
) -> None:
    began = time.monotonic()
    with pytest.raises(RetryableError):
        await kafka_client.producer.send_encoded(
            [random_message(observer, 1, "nowhere")], deadline=timedelta(seconds=0.5)
        )
    assert time.monotonic() - began < 2
    await kafka_client.producer.send_encoded([random_message(observer, 1)])


async def test_a_cancelled_sender_leaves_no_unretrieved_error(
    kafka_client: KafkaClient, observer: KafkaObserver
) -> None:
    """The message of a cancelled request may be sent or not."""
    sending = asyncio.create_task(kafka_client.producer.send_encoded([random_message(observer, 1)]))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await kafka_client.producer.send(activity("1"))
    await eventually(lambda: kafka_client.producer._overdue_bytes == 0)
