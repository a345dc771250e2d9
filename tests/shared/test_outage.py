"""Kafka dies and comes back. Nothing is lost, nobody is restarted for it, and who sends knows in a second."""

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from aiokafka.protocol.metadata import MetadataRequest

from deploy.local.servers import Kafka as LocalKafka
from deploy.local.stack import LocalStack
from shared.broker import Batch, Kafka
from shared.bus import Outgoing
from shared.connection import fit_for_uvloop
from shared.errors import Transient
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, MATCHES

from .examples import EMAIL, MATCHED
from .members import Bus, Sink, all_done, eventually, member, process


@pytest.fixture
def broker(stack: LocalStack, settings: KafkaSettings) -> Iterator[LocalKafka]:
    """The process of the only broker; it runs again afterwards, before this test's topics are deleted."""
    yield stack.kafka
    stack.kafka.start()


async def test_kafka_dies_and_comes_back(broker: LocalKafka, settings: KafkaSettings, bus: Bus) -> None:
    """A writer, and a reader that writes on what it reads, over the death of the only broker."""
    over = asyncio.Event()
    confirmed: list[int] = []
    seconds: list[float] = []

    async def write(kafka: Kafka) -> None:
        for version in itertools.count(1):
            began = time.monotonic()
            with contextlib.suppress(Transient):
                await kafka.producer.send(
                    Outgoing(ACTIVITIES, ("contoso", "mia", f"item-{version}"), EMAIL, version),
                    deadline=timedelta(seconds=1),
                )
                confirmed.append(version)
            seconds.append(time.monotonic() - began)
            if over.is_set():
                return
            await asyncio.sleep(0.005)

    async def write_on(batch: Batch[Any]) -> None:
        words = [
            Outgoing(MATCHES, message.key, MATCHED, message.version, 1, message.at.offset)
            for message in batch.good
        ]
        await reader.producer.send(*words, deadline=timedelta(seconds=1))

    async with member(settings, write_on, max_records=20) as subscription:
        assert isinstance(subscription.kafka, Kafka)
        reader = subscription.kafka
        writing = asyncio.create_task(write(reader))
        await eventually(lambda: len(confirmed) >= 50 and subscription._last)
        await asyncio.to_thread(broker.kill)

        assert not await reader.ping()
        with pytest.raises(Transient):
            await subscription.backlog()
        await asyncio.sleep(1)
        assert not await reader.ping()
        assert reader.silent_for(subscription) < 2, "an outage is no reason to restart anybody"

        await asyncio.to_thread(broker.start)
        so_far = len(confirmed)
        await eventually(lambda: len(confirmed) > so_far + 50)
        over.set()
        await writing
        await all_done(subscription)
        assert not reader.failed.done()
    assert max(seconds) < 1 * 3, "a second, and three times that on a busy machine"
    written = [int(dict(record.headers)["ce_version"]) for record in await bus.all(ACTIVITIES)]
    written_on = [int(dict(record.headers)["ce_version"]) for record in await bus.all(MATCHES)]
    assert set(confirmed) <= set(written), "what was confirmed is there; of the rest nobody was told"
    assert len(written) == len(set(written)), "and all of it once"
    assert set(written_on) == set(written)


async def test_sigterm_is_heard_while_kafka_is_away(
    broker: LocalKafka, settings: KafkaSettings, bus: Bus, tmp_path: Path
) -> None:
    await bus.put_activities(*(f"item-{number}" for number in range(100)))
    async with process(settings, tmp_path / "it", WORK=0.1, MAX_RECORDS=5) as it:
        await eventually(lambda: it.done.total() >= 10)
        await asyncio.to_thread(broker.kill)
        began = time.monotonic()
        assert await it.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10 * 3
    assert it.has_said("closed")


async def test_a_store_that_is_away_when_partitions_come_is_waited_for(
    settings: KafkaSettings, bus: Bus
) -> None:
    """Not alive is who hears nothing although he should; who waits for its start is alive."""
    tries = 0

    async def start_at(_assigned: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Transient("the store is away")
        return {}

    sink = Sink()
    await bus.put_activities("one")
    async with member(settings, sink, start_at=start_at) as subscription:
        await eventually(lambda: tries == 2)
        assert subscription.silent_for(int(time.time() * 1000) + 120_000) == 0
        await eventually(lambda: sink.items == ["one"])
        assert subscription.silent_for(int(time.time() * 1000) + 120_000) > 100


async def test_what_could_not_be_committed_is_committed_late(
    settings: KafkaSettings, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who cannot commit although Kafka answers is not alive."""

    async def commit(*_: Any) -> None:
        raise KafkaTimeoutError

    sink = Sink()
    async with member(settings, sink) as subscription:
        await eventually(lambda: subscription.assigned)
        with monkeypatch.context() as away:
            away.setattr(subscription.consumer, "commit", commit)
            await bus.put_activities("one")
            await eventually(lambda: sink.items == ["one"] and not subscription._in_flight.locked())
            began = int(time.time() * 1000)
            await subscription.commit_late()
            await asyncio.sleep(0.5)
            assert subscription.silent_for(began + 120_000) > 119
            subscription.paused = True
            assert subscription.silent_for(began + 120_000) > 119
        await subscription.commit_late()
        assert subscription.silent_for(began + 120_000) == 0
        committed = await subscription.kafka.committed(
            subscription.group, await subscription.kafka.partitions(ACTIVITIES)
        )
    assert sum(committed.values()) == 1


def test_a_connection_that_uvloop_says_is_closed_is_a_broken_one(kafka: str) -> None:
    """With uvloop alone the first of these is a RuntimeError, and nothing refreshes the metadata any more."""

    async def closed_under_its_hands() -> None:
        client = AIOKafkaClient(bootstrap_servers=kafka)
        await client.bootstrap()
        try:
            await client.force_metadata_update()
            for connection in client._conns.values():
                connection._read_task.cancel()  # it would hear of it a moment later
                connection._writer.close()
            await asyncio.sleep(0.1)
            with pytest.raises(KafkaConnectionError):
                connection.send(MetadataRequest([]))
            async with asyncio.timeout(10):
                assert await client.force_metadata_update()
        finally:
            await client.close()

    fit_for_uvloop()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(closed_under_its_hands())
