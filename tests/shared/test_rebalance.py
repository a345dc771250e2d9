"""Drain and gate: a rebalance loses nothing, and does next to nothing twice."""

import asyncio
import itertools
import time
from collections import Counter
from typing import Any

from shared.broker import Batch
from shared.errors import Transient
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES

from .examples import kafka_record
from .members import Bus, Sink, all_done, eventually, member

FLOW_SECONDS = 5


async def flow(bus: Bus, seconds: float) -> int:
    """A steady flow on all partitions; answers how many messages it was."""
    end = time.monotonic() + seconds
    sent = 0
    while time.monotonic() < end:
        await asyncio.gather(
            *(bus.put_activities(f"item-{sent + partition}", partition=partition) for partition in range(4))
        )
        sent += 4
        await asyncio.sleep(0.005)
    return sent


async def test_members_that_come_and_go_lose_nothing_and_do_next_to_nothing_twice(
    settings: KafkaSettings, bus: Bus
) -> None:
    done: Counter[tuple[int, int]] = Counter()

    async def work(batch: Batch[Any]) -> None:
        await asyncio.sleep(0.02)
        done.update((message.at.partition, message.at.offset) for message in batch.good)

    async def come_and_go(stay: float, rest: float, until: asyncio.Event) -> int:
        for times in itertools.count(1):
            async with member(settings, work):
                await asyncio.sleep(stay)
            if until.is_set():
                return times
            await asyncio.sleep(rest)
        raise AssertionError

    over = asyncio.Event()
    async with member(settings, work) as stays:
        guests = [asyncio.create_task(come_and_go(*pattern, over)) for pattern in [(0.4, 0.1), (0.7, 0.2)]]
        sent = await flow(bus, FLOW_SECONDS)
        over.set()
        stays_taken = sum(await asyncio.gather(*guests))
        await eventually(lambda: len(done) == sent)
        await eventually(lambda: len(stays.assigned) == 4)
        await all_done(stays)
    assert stays_taken >= 6
    assert done.total() - sent <= 2, "with drain and gate only a lost commit could repeat a batch"
    assert sum((await bus.committed()).values()) == sent


async def test_a_revocation_waits_for_the_batch_in_flight(settings: KafkaSettings, bus: Bus) -> None:
    working, going_on = asyncio.Event(), asyncio.Event()
    first, second = Sink(), Sink()

    async def slow(batch: Batch[Any]) -> None:
        working.set()
        await going_on.wait()
        await first(batch)

    async with member(settings, slow):
        await bus.put_activities("in flight")
        await working.wait()
        joining = asyncio.create_task(_join(settings, second))
        await asyncio.sleep(1)
        assert not joining.done()
        going_on.set()
        await joining
        assert await bus.committed() == {0: 1}
    assert (first.items, second.items) == (["in flight"], [])


async def _join(settings: KafkaSettings, sink: Sink) -> None:
    async with member(settings, sink) as other:
        await eventually(lambda: other.assigned)


async def test_what_was_fetched_before_a_revocation_is_dropped_uncommitted_after_it(
    settings: KafkaSettings, bus: Bus
) -> None:
    """The gate: `getmany` may hand over a batch right after the (idle) drain."""
    sink = Sink()
    async with member(settings, sink) as subscription:
        await eventually(lambda: subscription.assigned)
        fetched = kafka_record(b"contoso/mia/late", None, topic=bus.name(ACTIVITIES))
        await subscription.on_partitions_revoked(set(subscription.assigned))
        await subscription._handle((fetched,))
        assert (sink.messages, await bus.committed()) == ([], {})


async def test_a_retry_that_a_revocation_overtook_wakes_no_partition(
    settings: KafkaSettings, bus: Bus
) -> None:
    """Else it would resume, at the wrong place, what the next assignment has paused to ask where to start."""
    working, going_on = asyncio.Event(), asyncio.Event()

    async def away(_batch: Batch[Any]) -> None:
        working.set()
        await going_on.wait()
        raise Transient("the store is away")

    async with member(settings, away) as subscription:
        await bus.put_activities("in flight")
        await working.wait()
        revoking = asyncio.create_task(subscription.on_partitions_revoked(set(subscription.assigned)))
        await asyncio.sleep(0)
        going_on.set()
        await revoking
        assert not subscription.paused
        assert subscription._waking is None


async def test_partitions_wait_for_the_start_after_every_rebalance(settings: KafkaSettings, bus: Bus) -> None:
    """Each takeover is asked for, one at a time, and a cancelled one is over before the next begins."""
    under_way, most, asked = 0, 0, 0

    async def start_at(assigned: Any) -> Any:
        nonlocal under_way, most, asked
        asked += 1
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(0.5)
            return {}
        finally:
            await asyncio.sleep(0)
            under_way -= 1

    sink = Sink()
    await bus.put_activities("one", "two")
    async with member(settings, sink, start_at=start_at) as one:
        await eventually(lambda: one.assigned)
        await _join(settings, Sink())  # a rebalance while it is being asked, and another when that one leaves
        await eventually(lambda: len(sink.messages) == 2)
    assert (asked >= 2, most) == (True, 1)
