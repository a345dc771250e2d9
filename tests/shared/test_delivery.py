"""The three error classes on the real Kafka, and what FastStream's defaults lose."""

import asyncio
import logging
from typing import Any

import pytest
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber

from shared.broker import Batch, KafkaClient
from shared.clock import system_clock
from shared.errors import InvalidMessageError, RetryableError
from shared.lag import ConsumerLag
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, CONTENT, MATCHES, RECORDS, TOPICS
from tests.support.topics import create_topics

from .examples import SUBJECT
from .kafka_world import SERVICE, KafkaObserver, Sink, eventually, member

TEN = [f"item-{number}" for number in range(10)]


# -- retryable errors ------------------------------------------------------------------------------------


class UnavailableStore(Sink):
    """A handler that fails for the first batches."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def __call__(self, batch: Batch[Any, Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise RetryableError("the store is away")
        await super().__call__(batch)


async def test_a_retryable_error_repeats_the_batch_in_order(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    await observer.write_activities(*TEN)
    store = UnavailableStore(failures=3)
    async with member(settings, store, max_records=4):
        await eventually(lambda: len(store.messages) >= 10)
    assert store.items == TEN
    assert await observer.committed() == {0: 10}


async def test_the_default_of_faststream_loses_these_messages(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    """The same ten messages and failures with a subscriber of FastStream's defaults."""
    await observer.write_activities(*TEN)
    broker = KafkaBroker(settings.kafka_bootstrap_servers, logger=None)
    failures, done = 3, list[bytes]()

    @broker.subscriber(
        observer.full_name(ACTIVITIES),
        group_id=observer.full_name("by-default"),
        batch=True,
        max_records=4,
        auto_offset_reset="earliest",
    )
    async def handle(bodies: list[Any]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise RetryableError("the store is away")
        done.extend(bodies)

    async with broker:
        await broker.start()
        await eventually(lambda: not failures)
        await observer.write_activities("after")
        await eventually(lambda: done)
    assert len(done) == 1, "the ten messages are skipped"


async def test_a_retrying_member_commits_nothing_and_keeps_its_partitions(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    await observer.write_activities(*TEN)
    store = UnavailableStore(failures=1000)
    async with member(settings, store) as consumer:
        await eventually(lambda: store.failures <= 996)
        assert await observer.committed() == {}
        assert consumer.assigned
        assert await ConsumerLag(consumer).total() == 10
        store.failures = 0
        await eventually(lambda: len(store.messages) == 10)


# -- invalid messages -------------------------------------------------------------------------------------


async def test_valid_messages_around_invalid_ones_are_processed(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    invalid: list[tuple[bytes | None, bytes | None, list[tuple[str, Any]]]] = [
        (b"contoso/mia/bad", b"{", [("ce_type", b"autocapture.activity.captured")]),
        (b"contoso/mia/bad", b"{}", [("ce_type", b"\xff\xfe")]),
        (b"contoso/mia/bad", b"{}", [("ce_type", None), ("", b"\x00")]),
        (b"\xff", None, []),
    ]
    for number, (key, value, headers) in enumerate(invalid):
        await observer.write_activities(f"before-{number}")
        await observer.write(ACTIVITIES, key, value, headers, partition=0)
    await observer.write_activities("after")
    sink = Sink()
    async with member(settings, sink):
        await eventually(lambda: "after" in sink.items)
    assert sink.items == [*(f"before-{number}" for number in range(len(invalid))), "after"]
    assert [(letter.key, letter.value) for letter in await observer.dead_letters()] == [
        (key, value) for key, value, _ in invalid
    ]
    assert await observer.committed() == {0: len(invalid) * 2 + 1}


async def test_a_message_that_the_store_refuses_with_its_batch_becomes_a_dead_letter(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    await observer.write_activities(*TEN)
    stored: list[str] = []

    async def store_at_once(batch: Batch[Any, Any]) -> None:
        items = [message.key[-1] for message in batch.valid]
        if "item-3" in items:
            raise InvalidMessageError("the database refuses a document")
        stored.extend(items)

    async with member(settings, store_at_once, max_records=5):
        await eventually(lambda: "item-9" in stored)
    assert stored == [item for item in TEN if item != "item-3"]
    [letter] = await observer.dead_letters()
    assert (letter.key or b"").endswith(b"item-3")
    assert await observer.committed() == {0: 10}


async def test_a_message_that_the_handler_refuses_becomes_a_dead_letter(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    await observer.write_activities(*TEN)
    processed: list[str] = []

    async def refuse_some(batch: Batch[Any, Any]) -> None:
        for message in batch.valid:
            if message.key[-1] in {"item-3", "item-7"}:
                batch.dead_letter(message, InvalidMessageError("key and body do not agree", "item"))
            else:
                processed.append(message.key[-1])

    async with member(settings, refuse_some, max_records=3):
        await eventually(lambda: "item-9" in processed)
    assert processed == [item for item in TEN if item not in {"item-3", "item-7"}]
    letters = await observer.dead_letters()
    assert [(letter.key, dict(letter.headers)["dead_letter_error"]) for letter in letters] == [
        (b"contoso/mia/item-3", b"key and body do not agree"),
        (b"contoso/mia/item-7", b"key and body do not agree"),
    ]


async def test_dead_letter_headers_and_log_lines_hold_no_value(
    settings: KafkaSettings, observer: KafkaObserver, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"tenant": "contoso", "subject": "%s", "participants": "%s"}' % (
        SUBJECT.encode(),
        SUBJECT.encode(),
    )
    await observer.write(
        ACTIVITIES, b"contoso/mia/1", body, [("ce_type", b"autocapture.activity.captured")], partition=0
    )
    await observer.write_activities("after")
    sink = Sink()
    with caplog.at_level(logging.DEBUG, "shared"):
        async with member(settings, sink):
            await eventually(lambda: sink.items)
    (letter,) = await observer.dead_letters()
    assert letter.value == body
    assert SUBJECT not in repr(letter.headers) + repr([vars(record) for record in caplog.records])


async def test_a_dead_letter_of_content_has_no_value(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    await create_topics(settings, CONTENT.writer)
    await observer.write(CONTENT, b"contoso/mia", SUBJECT.encode(), partition=0)
    async with member(settings, Sink(), CONTENT) as consumer:
        await eventually(lambda: consumer._last_timestamps_ms)
    (letter,) = await observer.dead_letters(CONTENT)
    assert (letter.key, letter.value) == (b"contoso/mia", None)


async def test_a_records_topic_is_read_for_its_own_tenants_only(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    def body(tenant: str) -> bytes:
        return b'{"tenant": "%s", "type": "account", "id": "a1"}' % tenant.encode()

    settings = settings.model_copy(
        update={"records_topics": {"records": ["contoso"], "matches": ["fabrikam"]}}
    )  # any existing topic
    await observer.write(RECORDS, b"contoso/account/a1", body("contoso"), partition=0)
    await observer.write(RECORDS, b"fabrikam/account/a1", None, partition=0)
    await observer.write("matches", b"contoso/account/a1", body("contoso"), partition=0)
    await observer.write("matches", b"fabrikam/account/a1", body("fabrikam"), partition=0)
    sink = Sink()
    async with member(settings, sink, RECORDS):
        await eventually(lambda: len(sink.messages) == 2)
    assert sorted(message.key for message in sink.messages) == [
        ("contoso", "account", "a1"),
        ("fabrikam", "account", "a1"),
    ]
    assert sorted((letter.key, letter.value) for letter in await observer.dead_letters(RECORDS)) == [
        (b"contoso/account/a1", body("contoso")),
        (b"fabrikam/account/a1", None),
    ]


# -- fatal errors --------------------------------------------------------------------------------


async def test_any_other_error_is_fatal_and_commits_nothing(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    await observer.write_activities(*TEN)
    calls = 0

    async def bug(batch: Batch[Any, Any]) -> None:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError

    async with member(settings, bug, max_records=4) as consumer:
        await eventually(consumer.cluster.failed.done)
        await asyncio.sleep(0.3)
        assert isinstance(consumer.cluster.failed.exception(), ZeroDivisionError)
    assert calls == 1, "no batch starts after it"
    assert await observer.committed() == {}


async def test_an_error_of_the_poll_loop_is_fatal(settings: KafkaSettings) -> None:
    """FastStream repeats the same error for ever, and logs it once."""

    async def poll() -> None:
        raise ZeroDivisionError

    class FailingSubscriber:
        consumer = None

        def __call__(self, _handler: object) -> None:
            self.tasks = [asyncio.create_task(poll())]

    consumer = KafkaClient(settings, SERVICE, system_clock).consumer(ACTIVITIES)
    consumer.handle(Sink())
    consumer.attach(FailingSubscriber())
    consumer.watch()
    await eventually(consumer.cluster.failed.done)
    assert isinstance(consumer.cluster.failed.exception(), ZeroDivisionError)


# -- batches and positions ------------------------------------------------------------------------


async def test_a_batch_is_committed_after_its_work(settings: KafkaSettings, observer: KafkaObserver) -> None:
    await observer.write_activities(*TEN)
    finish = asyncio.Event()
    sizes: list[int] = []

    async def wait(batch: Batch[Any, Any]) -> None:
        sizes.append(len(batch.messages))
        if len(sizes) == 2:
            await finish.wait()

    async with member(settings, wait, max_records=4):
        await eventually(lambda: len(sizes) == 2)
        assert await observer.committed() == {0: 4}
        finish.set()
        await eventually(lambda: sum(sizes) == 10)
    assert sizes == [4, 4, 2]
    assert await observer.committed() == {0: 10}


async def test_reading_starts_at_the_start_offsets(settings: KafkaSettings, observer: KafkaObserver) -> None:
    await observer.write_activities(*TEN)
    async with member(settings, first := Sink()):
        await eventually(lambda: len(first.messages) == 10)
    calls: list[int] = []

    async def start_offsets(assigned: Any) -> Any:
        calls.append(len(assigned))
        await observer.write_activities("during the query")
        if len(calls) == 1:
            raise RetryableError("the store is away")
        return {tp: 7 for tp in assigned if tp.partition == 0}

    sink = Sink()
    async with member(settings, sink, start_offsets=start_offsets) as consumer:
        await eventually(lambda: calls)
        with pytest.raises(RetryableError):
            await ConsumerLag(consumer).total()
        await eventually(lambda: len(sink.messages) == 5)
    assert sink.items == [*TEN[7:], "during the query", "during the query"]
    assert calls == [4, 4]


async def test_lag_includes_the_batch_in_hand_and_total_lag_all_replicas(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    finish = asyncio.Event()

    async def wait(_batch: Batch[Any, Any]) -> None:
        await finish.wait()

    async with member(settings, wait, max_records=5) as one, member(settings, wait, max_records=5) as other:
        await eventually(lambda: len(one.assigned) == len(other.assigned) == 2)
        for partition in range(4):
            await observer.write_activities(*TEN, partition=partition)
        first, second = ConsumerLag(one), ConsumerLag(other)
        assert sum((await first.assigned()).values()) == sum((await second.assigned()).values()) == 20
        assert await first.total() == await second.total() == 40
        finish.set()
        await eventually(lambda: sum(one._next_offsets.values()) + sum(other._next_offsets.values()) == 40)
        assert (await first.total(), await second.total()) == (0, 0)


# -- the factory ----------------------------------------------------------------------------------


async def test_every_subscriber_has_the_safe_options(settings: KafkaSettings) -> None:
    kafka = KafkaClient(settings, SERVICE, system_clock, instance="matcher-0")
    for topic in TOPICS:
        kafka.consumer(topic).handle(Sink())
    subscribers: list[Any] = list(kafka._broker.subscribers)
    assert len(subscribers) == len(TOPICS)
    for subscriber in subscribers:
        assert subscriber.ack_policy is AckPolicy.MANUAL
        assert isinstance(subscriber, BatchSubscriber)
        assert subscriber._connection_args["auto_offset_reset"] == "earliest"
        assert subscriber._connection_args["enable_auto_commit"] is False
        assert subscriber._connection_args["rebalance_timeout_ms"] == 60_000
        assert subscriber._connection_args["group_instance_id"].startswith("matcher-0.")
        assert not subscriber._outer_config.allow_auto_create_topics
    assert len({subscriber.group_id for subscriber in subscribers}) == len(TOPICS), (
        "a rebalance of one topic does not affect the others"
    )


async def test_a_replica_that_returns_under_its_name_causes_no_rebalance(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    """Static membership."""
    await observer.write(MATCHES, b"contoso/mia/1", None, partition=0)
    async with member(settings, Sink(), MATCHES, instance="one") as before:
        await eventually(lambda: before.assigned)
        generation = before._connected()._coordinator.generation
    async with member(settings, Sink(), MATCHES, instance="one") as after:
        await eventually(lambda: after.assigned)
        assert after._connected()._coordinator.generation == generation
