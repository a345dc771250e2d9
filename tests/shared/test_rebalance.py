"""Drain and gate: a rebalance loses no message, and repeats hardly any."""

import asyncio
import itertools
import time
from collections import Counter
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from shared.broker import Batch, KafkaClient
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, MATCHES

from .examples import kafka_record
from .kafka_world import KafkaObserver, Sink, eventually, member, until_no_lag

FLOW_SECONDS = 5


async def flow(observer: KafkaObserver, seconds: float) -> int:
    """Writes a steady flow to all partitions, and returns the count of messages."""
    end = time.monotonic() + seconds
    sent = 0
    while time.monotonic() < end:
        await asyncio.gather(
            *(
                observer.write_activities(f"item-{sent + partition}", partition=partition)
                for partition in range(4)
            )
        )
        sent += 4
        await asyncio.sleep(0.005)
    return sent


async def test_joining_and_leaving_members_lose_nothing_and_repeat_hardly_anything(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    processed: Counter[tuple[int, int]] = Counter()

    async def work(batch: Batch[Any, Any]) -> None:
        await asyncio.sleep(0.02)
        processed.update((message.position.partition, message.position.offset) for message in batch.valid)

    async def join_and_leave(stay: float, rest: float, until: asyncio.Event) -> int:
        for times in itertools.count(1):
            async with member(settings, work):
                await asyncio.sleep(stay)
            if until.is_set():
                return times
            await asyncio.sleep(rest)
        raise AssertionError

    over = asyncio.Event()
    async with member(settings, work) as resident:
        visitors = [
            asyncio.create_task(join_and_leave(*pattern, over)) for pattern in [(0.4, 0.1), (0.7, 0.2)]
        ]
        sent = await flow(observer, FLOW_SECONDS)
        over.set()
        visits = sum(await asyncio.gather(*visitors))
        await eventually(lambda: len(processed) == sent)
        await eventually(lambda: len(resident.assigned) == 4)
        await until_no_lag(resident)
    assert visits >= 6
    assert processed.total() - sent <= 2, "with drain and gate only a lost commit can repeat a batch"
    assert sum((await observer.committed()).values()) == sent


async def test_a_revocation_waits_for_the_batch_in_flight(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    first, second = Sink(), Sink()

    async def slow(batch: Batch[Any, Any]) -> None:
        started.set()
        await finish.wait()
        await first(batch)

    async with member(settings, slow):
        await observer.write_activities("in flight")
        await started.wait()
        joining = asyncio.create_task(_join(settings, second))
        await asyncio.sleep(1)
        assert not joining.done()
        finish.set()
        await joining
        assert await observer.committed() == {0: 1}
    assert (first.items, second.items) == (["in flight"], [])


async def _join(settings: KafkaSettings, sink: Sink) -> None:
    async with member(settings, sink) as other:
        await eventually(lambda: other.assigned)


async def test_a_batch_fetched_before_a_revocation_is_dropped_uncommitted(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    """The gate: `getmany` may return a batch right after an idle drain."""
    sink = Sink()
    async with member(settings, sink) as consumer:
        await eventually(lambda: consumer.assigned)
        fetched = kafka_record(b"contoso/mia/late", None, topic=observer.full_name(ACTIVITIES))
        await consumer.on_partitions_revoked(set(consumer.assigned))
        await consumer._handle((fetched,))
        assert (sink.messages, await observer.committed()) == ([], {})


async def test_a_revocation_cancels_a_retry(settings: KafkaSettings, observer: KafkaObserver) -> None:
    """Otherwise the retry resumes partitions that the next assignment paused for their start offsets."""
    started, finish = asyncio.Event(), asyncio.Event()

    async def away(_batch: Batch[Any, Any]) -> None:
        started.set()
        await finish.wait()
        raise RetryableError("the store is away")

    async with member(settings, away) as consumer:
        await observer.write_activities("in flight")
        await started.wait()
        revoking = asyncio.create_task(consumer.on_partitions_revoked(set(consumer.assigned)))
        await asyncio.sleep(0)
        finish.set()
        await revoking
        assert not consumer.paused
        assert consumer._resume_task is None


async def test_partitions_wait_for_start_offsets_after_every_rebalance(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    """Queries for start offsets never overlap: a cancelled one ends before the next begins."""
    running, most, calls = 0, 0, 0

    async def start_offsets(assigned: Any) -> Any:
        nonlocal running, most, calls
        calls += 1
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0.5)
            return {}
        finally:
            await asyncio.sleep(0)
            running -= 1

    sink = Sink()
    await observer.write_activities("one", "two")
    async with member(settings, sink, start_offsets=start_offsets) as one:
        await eventually(lambda: one.assigned)
        await _join(settings, Sink())  # one rebalance during the query, and another when this member leaves
        await eventually(lambda: len(sink.messages) == 2)
    assert (calls >= 2, most) == (True, 1)


async def test_two_members_with_one_instance_find_each_other_out(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    async with member(settings, Sink(), instance="replica-1") as one:
        await eventually(lambda: one.assigned)
        async with member(settings, Sink(), instance="replica-1") as two:
            await eventually(lambda: one.has_twin and two.has_twin)


async def test_rebalance_is_no_sign_of_a_twin(settings: KafkaSettings, observer: KafkaObserver) -> None:
    async with member(settings, Sink(), instance="replica-1") as one:
        await eventually(lambda: one.assigned)
        async with member(settings, Sink(), instance="replica-2") as two:
            await eventually(lambda: two.assigned)
        assert not one.has_twin


async def test_consumers_of_a_service_join_their_groups_at_the_same_time(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the other members of its group, which may wait for a store."""
    kafka = KafkaClient(settings, "matcher", system_clock)
    consumers = [kafka.consumer(topic) for topic in (ACTIVITIES, MATCHES)]
    all_have_begun = asyncio.Barrier(len(consumers))

    async def start(_: Any) -> None:
        await all_have_begun.wait()

    monkeypatch.setattr(type(consumers[0]._subscriber), "start", start)
    async with asyncio.timeout(20):
        await kafka._broker.start()
    await kafka.stop()


async def test_consumer_that_cannot_start_cancels_the_starts_of_the_others(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = KafkaClient(settings, "matcher", system_clock)
    consumers = [kafka.consumer(topic) for topic in (ACTIVITIES, MATCHES)]
    cancelled = asyncio.Event()

    async def start(subscriber: Any) -> None:
        if subscriber is consumers[0]._subscriber:
            raise KafkaConnectionError
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(type(consumers[0]._subscriber), "start", start)
    async with asyncio.timeout(20):
        with pytest.raises(KafkaConnectionError):
            await kafka._broker.start()
    assert cancelled.is_set()
    await kafka.stop()
