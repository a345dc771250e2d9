"""The three fates of a message on the real Kafka, and why FastStream's defaults are none of ours."""

import asyncio
import logging
from typing import Any

import pytest
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber

from shared.broker import Batch, Kafka
from shared.clock import system_clock
from shared.errors import Rejected, Transient
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, CONTENT, MATCHES, RECORDS, TOPICS

from .examples import SUBJECT
from .members import READER, Bus, Sink, eventually, member

TEN = [f"item-{number}" for number in range(10)]


# -- transient ------------------------------------------------------------------------------------


class StoreThatWasAway(Sink):
    """Fails for the first batches, whatever they hold."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def __call__(self, batch: Batch[Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise Transient("the store is away")
        await super().__call__(batch)


async def test_transient_tries_the_same_messages_again_in_order(settings: KafkaSettings, bus: Bus) -> None:
    await bus.put_activities(*TEN)
    store = StoreThatWasAway(failures=3)
    async with member(settings, store, max_records=4):
        await eventually(lambda: len(store.messages) >= 10)
    assert store.items == TEN
    assert await bus.committed() == {0: 10}


async def test_faststreams_default_would_lose_those_messages(settings: KafkaSettings, bus: Bus) -> None:
    """The same ten messages and the same failures, by a subscriber as FastStream makes it."""
    await bus.put_activities(*TEN)
    broker = KafkaBroker(settings.kafka_bootstrap_servers, logger=None)
    failures, done = 3, list[bytes]()

    @broker.subscriber(
        bus.name(ACTIVITIES),
        group_id=bus.name("by-default"),
        batch=True,
        max_records=4,
        auto_offset_reset="earliest",
    )
    async def handle(bodies: list[Any]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise Transient("the store is away")
        done.extend(bodies)

    async with broker:
        await broker.start()
        await eventually(lambda: not failures)
        await bus.put_activities("after")
        await eventually(lambda: done)
    assert len(done) == 1, "the ten were skipped"


async def test_while_it_waits_nothing_is_committed_and_the_member_stays(
    settings: KafkaSettings, bus: Bus
) -> None:
    await bus.put_activities(*TEN)
    store = StoreThatWasAway(failures=1000)
    async with member(settings, store) as subscription:
        await eventually(lambda: store.failures <= 996)
        assert await bus.committed() == {}
        assert subscription.assigned
        assert await subscription.backlog() == 10
        store.failures = 0
        await eventually(lambda: len(store.messages) == 10)


# -- rejected -------------------------------------------------------------------------------------


async def test_good_messages_around_bad_ones_arrive(settings: KafkaSettings, bus: Bus) -> None:
    bad: list[tuple[bytes | None, bytes | None, list[tuple[str, Any]]]] = [
        (b"contoso/mia/bad", b"{", [("ce_type", b"autocapture.activity.captured")]),
        (b"contoso/mia/bad", b"{}", [("ce_type", b"\xff\xfe")]),
        (b"contoso/mia/bad", b"{}", [("ce_type", None), ("", b"\x00")]),
        (b"\xff", None, []),
    ]
    for number, (key, value, headers) in enumerate(bad):
        await bus.put_activities(f"before-{number}")
        await bus.put(ACTIVITIES, key, value, headers, partition=0)
    await bus.put_activities("after")
    sink = Sink()
    async with member(settings, sink):
        await eventually(lambda: "after" in sink.items)
    assert sink.items == [*(f"before-{number}" for number in range(len(bad))), "after"]
    assert [(letter.key, letter.value) for letter in await bus.dead_letters()] == [
        (key, value) for key, value, _ in bad
    ]
    assert await bus.committed() == {0: len(bad) * 2 + 1}


async def test_what_the_work_rejects_becomes_a_dead_letter_too(settings: KafkaSettings, bus: Bus) -> None:
    await bus.put_activities(*TEN)
    done: list[str] = []

    async def reject_some(batch: Batch[Any]) -> None:
        for message in batch.good:
            if message.key[-1] in {"item-3", "item-7"}:
                batch.reject(message, Rejected("key and body do not agree", "item"))
            else:
                done.append(message.key[-1])

    async with member(settings, reject_some, max_records=3):
        await eventually(lambda: "item-9" in done)
    assert done == [item for item in TEN if item not in {"item-3", "item-7"}]
    letters = await bus.dead_letters()
    assert [(letter.key, dict(letter.headers)["dead_letter_error"]) for letter in letters] == [
        (b"contoso/mia/item-3", b"key and body do not agree"),
        (b"contoso/mia/item-7", b"key and body do not agree"),
    ]


async def test_no_header_of_a_dead_letter_and_no_log_line_holds_a_value(
    settings: KafkaSettings, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"tenant": "contoso", "subject": "%s", "participants": "%s"}' % (
        SUBJECT.encode(),
        SUBJECT.encode(),
    )
    await bus.put(
        ACTIVITIES, b"contoso/mia/1", body, [("ce_type", b"autocapture.activity.captured")], partition=0
    )
    await bus.put_activities("after")
    sink = Sink()
    with caplog.at_level(logging.DEBUG, "shared"):
        async with member(settings, sink):
            await eventually(lambda: sink.items)
    (letter,) = await bus.dead_letters()
    assert letter.value == body
    assert SUBJECT not in repr(letter.headers) + repr([vars(record) for record in caplog.records])


async def test_content_leaves_no_copy_of_itself(settings: KafkaSettings, bus: Bus) -> None:
    await bus.put(CONTENT, b"contoso/mia", SUBJECT.encode(), partition=0)
    async with member(settings, Sink(), CONTENT) as subscription:
        await eventually(lambda: subscription._last)
    (letter,) = await bus.dead_letters(CONTENT)
    assert (letter.key, letter.value) == (b"contoso/mia", None)


async def test_records_come_from_each_publishers_topic_for_its_own_tenants_alone(
    settings: KafkaSettings, bus: Bus
) -> None:
    def body(tenant: str) -> bytes:
        return b'{"tenant": "%s", "type": "account", "id": "a1"}' % tenant.encode()

    settings = settings.model_copy(
        update={"records_topics": {"records": ["contoso"], "mailboxes": ["fabrikam"]}}
    )  # any topic that is there
    await bus.put(RECORDS, b"contoso/account/a1", body("contoso"), partition=0)
    await bus.put(RECORDS, b"fabrikam/account/a1", None, partition=0)
    await bus.put("mailboxes", b"contoso/account/a1", body("contoso"), partition=0)
    await bus.put("mailboxes", b"fabrikam/account/a1", body("fabrikam"), partition=0)
    sink = Sink()
    async with member(settings, sink, RECORDS):
        await eventually(lambda: len(sink.messages) == 2)
    assert sorted(message.key for message in sink.messages) == [
        ("contoso", "account", "a1"),
        ("fabrikam", "account", "a1"),
    ]
    assert sorted((letter.key, letter.value) for letter in await bus.dead_letters(RECORDS)) == [
        (b"contoso/account/a1", body("contoso")),
        (b"fabrikam/account/a1", None),
    ]


# -- anything else --------------------------------------------------------------------------------


async def test_anything_else_stops_uncommitted(settings: KafkaSettings, bus: Bus) -> None:
    await bus.put_activities(*TEN)
    calls = 0

    async def bug(batch: Batch[Any]) -> None:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError

    async with member(settings, bug, max_records=4) as subscription:
        await eventually(subscription.kafka.failed.done)
        await asyncio.sleep(0.3)
        assert isinstance(subscription.kafka.failed.exception(), ZeroDivisionError)
    assert calls == 1, "no batch is begun after it"
    assert await bus.committed() == {}


async def test_what_the_client_itself_cannot_read_stops_the_process_too(
    settings: KafkaSettings, bus: Bus
) -> None:
    """FastStream would try the same again for ever, and say so once."""
    await bus.put_activities("before")
    sink = Sink()
    async with member(settings, sink) as subscription:
        await eventually(lambda: sink.items == ["before"])
        await bus.put_unreadable(ACTIVITIES)
        await eventually(subscription.kafka.failed.done)
        assert isinstance(subscription.kafka.failed.exception(), UnicodeDecodeError)
    assert await bus.committed() == {0: 1}


# -- batches and positions ------------------------------------------------------------------------


async def test_a_batch_is_committed_only_after_its_work(settings: KafkaSettings, bus: Bus) -> None:
    await bus.put_activities(*TEN)
    going_on = asyncio.Event()
    seen: list[int] = []

    async def wait(batch: Batch[Any]) -> None:
        seen.append(len(batch.messages))
        if len(seen) == 2:
            await going_on.wait()

    async with member(settings, wait, max_records=4):
        await eventually(lambda: len(seen) == 2)
        assert await bus.committed() == {0: 4}
        going_on.set()
        await eventually(lambda: sum(seen) == 10)
    assert seen == [4, 4, 2]
    assert await bus.committed() == {0: 10}


async def test_reading_starts_where_the_service_says(settings: KafkaSettings, bus: Bus) -> None:
    await bus.put_activities(*TEN)
    async with member(settings, first := Sink()):
        await eventually(lambda: len(first.messages) == 10)
    asked: list[int] = []

    async def start_at(assigned: Any) -> Any:
        asked.append(len(assigned))
        await bus.put_activities("while it was asked")
        if len(asked) == 1:
            raise Transient("the store is away")
        return {tp: 7 for tp in assigned if tp.partition == 0}

    sink = Sink()
    async with member(settings, sink, start_at=start_at) as subscription:
        await eventually(lambda: asked)
        with pytest.raises(Transient):
            await subscription.backlog()
        await eventually(lambda: len(sink.messages) == 5)
    assert sink.items == [*TEN[7:], "while it was asked", "while it was asked"]
    assert asked == [4, 4]


async def test_lag_is_what_waits_the_batch_in_hand_included_and_backlog_that_of_all_replicas(
    settings: KafkaSettings, bus: Bus
) -> None:
    going_on = asyncio.Event()

    async def wait(_batch: Batch[Any]) -> None:
        await going_on.wait()

    async with member(settings, wait, max_records=5) as one, member(settings, wait, max_records=5) as other:
        await eventually(lambda: len(one.assigned) == len(other.assigned) == 2)
        for partition in range(4):
            await bus.put_activities(*TEN, partition=partition)
        assert sum((await one.lag()).values()) == sum((await other.lag()).values()) == 20
        assert await one.backlog() == await other.backlog() == 40
        going_on.set()
        await eventually(lambda: sum(one._next.values()) + sum(other._next.values()) == 40)
        assert (await one.backlog(), await other.backlog()) == (0, 0)


# -- the factory ----------------------------------------------------------------------------------


async def test_no_subscriber_can_be_weakened(settings: KafkaSettings) -> None:
    kafka = Kafka(settings, READER, system_clock, instance="matcher-0")
    for topic in TOPICS:
        kafka.subscribe(topic, Sink())
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
        "a rebalance of one topic stops no other"
    )


async def test_a_replica_that_comes_back_under_its_name_finds_its_partitions(
    settings: KafkaSettings, bus: Bus
) -> None:
    """Static membership: nobody else notices that it was away."""
    await bus.put(MATCHES, b"contoso/mia/1", None, partition=0)
    async with member(settings, Sink(), MATCHES, instance="one") as before:
        await eventually(lambda: before.assigned)
        generation = before.consumer._coordinator.generation
    async with member(settings, Sink(), MATCHES, instance="one") as after:
        await eventually(lambda: after.assigned)
        assert after.consumer._coordinator.generation == generation
