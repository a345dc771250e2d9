"""A client of three brokers while one of them is killed, hangs, or is cut off from its peers alone."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest

from deploy.local.cluster import Cluster, KafkaNode
from shared.broker import Batch, KafkaClient, TopicConsumer
from shared.errors import RetryableError
from shared.freshness import TopicFreshness
from shared.lag import ConsumerLag
from shared.messages import OutgoingMessage
from shared.provision import create
from shared.service import StopSignal
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES

from .examples import EMAIL
from .kafka_world import eventually, member

log = logging.getLogger(__name__)

RECOVERY_SECONDS = 20
"""A fault of one broker is over within this time."""
SLACK = 2
"""Of recovery, on a busy machine."""
STALE_SECONDS = 15
"""What a service must read before it answers, it has read within this time, or knows that it has not."""
FLOW_INTERVAL = 0.1

pytestmark = [pytest.mark.full("cluster"), pytest.mark.timeout(600)]


@dataclass
class World:
    """A writer and a reader of one topic, and what they observe.

    Attributes:
        acknowledged: version -> monotonic time at which Kafka had acknowledged it.
        received: version -> monotonic time at which it was read.
        broken: the invariants that did not hold.
    """

    consumer: TopicConsumer[Any, Any]
    freshness: TopicFreshness
    acknowledged: dict[int, float] = field(default_factory=dict)
    received: dict[int, float] = field(default_factory=dict)
    table: set[int] = field(default_factory=set)
    not_ready: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def kafka(self) -> KafkaClient:
        return cast("KafkaClient", self.consumer.cluster)

    async def write(self) -> None:
        """Writes a message after another, to all partitions."""
        for version in range(1, 1_000_000):
            activity = EMAIL.model_copy(update={"item": f"item-{version}"})
            with contextlib.suppress(RetryableError):
                message = OutgoingMessage(ACTIVITIES, activity.key, activity, version)
                await self.kafka.producer.send(message, deadline=timedelta(seconds=1))
                self.acknowledged[version] = time.monotonic()
            await asyncio.sleep(FLOW_INTERVAL)

    async def follow_table(self) -> None:
        async for chunk in self.kafka.read_table(ACTIVITIES, follow=True):
            self.table |= {message.version for message in chunk.messages}

    async def observe_freshness(self) -> None:
        """What is unread is younger than the age that is shown for the reading."""
        while True:
            age, now = self.freshness.age_seconds(), time.monotonic()
            unread = [at for version, at in self.acknowledged.items() if version not in self.received]
            if unread and now - min(unread) > age + 0.1:
                self.broken.append(f"unread for {now - min(unread):.1f} s, but fresh as of {age:.1f} s ago")
            await asyncio.sleep(0.05)

    async def observe_lag(self) -> None:
        """Where the lag is 0, all that was acknowledged before the query is read."""
        lag = ConsumerLag(self.consumer)
        while True:
            before = set(self.acknowledged)
            with contextlib.suppress(RetryableError):
                if await lag.total() == 0 and (unread := before - self.received.keys()):
                    self.broken.append(f"a lag of 0 with {len(unread)} unread messages")
            await asyncio.sleep(0.2)

    async def observe_readiness(self) -> None:
        """The service checks its clients, and answers whether it is ready."""
        while True:
            if not await self.kafka.ping():
                self.not_ready.append(time.monotonic())
            await asyncio.sleep(0.5)

    async def check(self) -> None:
        """As `shared/service.py` does."""
        while True:
            await self.kafka.check()
            await asyncio.sleep(5)

    def longest_silence(self, since: float) -> float:
        """The longest time without a received message of one partition after another, in seconds."""
        times = sorted(at for at in self.received.values() if at >= since)
        return max(
            (b - a for a, b in zip([since, *times], [*times, time.monotonic()], strict=True)), default=0
        )

    def slowest(self, since: float) -> float:
        """The longest time from the acknowledgement of a message to its receipt."""
        return max(
            self.received.get(version, time.monotonic()) - at
            for version, at in self.acknowledged.items()
            if at >= since
        )


@pytest.fixture
async def world(cluster: Cluster, own_prefix: str) -> AsyncIterator[World]:
    settings = KafkaSettings(
        kafka_bootstrap_servers=cluster.bootstrap_servers,
        kafka_replication=3,
        kafka_partitions=3,
        topic_prefix=own_prefix,
    )
    await create(settings)
    received: dict[int, float] = {}

    async def receive(batch: Batch[Any, Any]) -> None:
        received.update((message.version, time.monotonic()) for message in batch.valid)

    async with member(settings, receive) as consumer:
        stop_signal = StopSignal()
        it = World(consumer, TopicFreshness(consumer), received=received)
        loops = [
            asyncio.create_task(loop)
            for loop in (
                it.write(),
                it.follow_table(),
                it.observe_freshness(),
                it.observe_lag(),
                it.observe_readiness(),
                it.check(),
                it.freshness.follow(stop_signal),
            )
        ]
        await eventually(lambda: len(received) > 20 and it.freshness.age_seconds() < STALE_SECONDS, 60)
        yield it
        assert not [loop for loop in loops if loop.done()], "no loop ends"
        stop_signal.set()
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


async def survives(world: World, cluster: Cluster, fault: Callable[[KafkaNode], None], name: str) -> None:
    """The flow goes on after a fault of a leader, and what the client knew of it was true."""
    leader = await asyncio.to_thread(cluster.leader_of, world.kafka.full_name(ACTIVITIES), 0)
    world.not_ready.clear()
    began = time.monotonic()
    await asyncio.to_thread(fault, leader)
    try:
        await asyncio.sleep(RECOVERY_SECONDS * SLACK)
        recovered = time.monotonic()
        await asyncio.sleep(5)
        log.info(
            "%s: silent for %.1f s, a message took %.1f s at most, not ready %d times",
            name,
            world.longest_silence(began),
            world.slowest(began),
            len(world.not_ready),
        )
        assert world.broken == []
        assert world.slowest(began) < STALE_SECONDS * SLACK
        assert world.longest_silence(recovered) < 5, "all is over"
        assert not [at for at in world.not_ready if at > recovered]
        assert world.freshness.age_seconds() < STALE_SECONDS
        ages = [at for version, at in world.acknowledged.items() if version not in world.table]
        assert len(ages) < 20, "the reader of the table goes on, too"
        assert not world.kafka.failed.done()
    finally:
        await asyncio.to_thread(cluster.mend)


async def test_a_leader_that_is_cut_off_from_its_peers_alone_is_left(world: World, cluster: Cluster) -> None:
    await survives(world, cluster, KafkaNode.cut_off, "cut off")


async def test_a_leader_that_hangs_is_left(world: World, cluster: Cluster) -> None:
    await survives(world, cluster, KafkaNode.hang, "hung")


async def test_a_leader_that_is_killed_is_left(world: World, cluster: Cluster) -> None:
    await survives(world, cluster, KafkaNode.kill, "killed")


async def test_the_loss_of_the_broker_that_alone_was_left_is_survived(world: World, cluster: Cluster) -> None:
    """Two go and come back, then the third one goes: it was the only one that was known."""
    *others, last = cluster.brokers
    for broker in others:
        await asyncio.to_thread(broker.kill)
    client = world.kafka._offsets._client  # type: ignore[union-attr]
    await eventually(lambda: [each.nodeId for each in client.cluster.brokers()] == [last.number], 60)
    for broker in others:
        await asyncio.to_thread(broker.start)
    await asyncio.to_thread(cluster.until_in_sync)
    await asyncio.to_thread(last.kill)
    began = time.monotonic()
    await eventually(lambda: any(at > began + 10 for at in world.received.values()), 60)
    log.info("the last: silent for %.1f s", world.longest_silence(began))
    assert world.longest_silence(began) < RECOVERY_SECONDS * SLACK
    assert world.broken == []
