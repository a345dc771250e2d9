"""Kafka dies and returns: no message is lost, no service restarts, and a sender fails within a second."""

import asyncio
import contextlib
import gc
import itertools
import signal
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from aiokafka.protocol.metadata import MetadataRequest

from deploy.local.servers import Kafka as LocalKafka
from deploy.local.stack import LocalStack
from shared import aiokafka_patches
from shared.aiokafka_patches import patch_aiokafka
from shared.broker import Batch, KafkaClient
from shared.clock import system_clock, to_milliseconds
from shared.cluster import KafkaCluster
from shared.errors import RetryableError
from shared.lag import ConsumerLag
from shared.messages import OutgoingMessage
from shared.settings import KafkaSettings
from shared.tables import table_consumer
from shared.tasks import TaskEndedError
from shared.topics import ACTIVITIES, MATCHES

from .examples import EMAIL, MATCHED
from .kafka_world import KafkaObserver, Sink, eventually, member, process, until_no_lag


@pytest.fixture
def broker(stack: LocalStack, settings: KafkaSettings) -> Iterator[LocalKafka]:
    """The only broker; it runs again after the test, before the test's topics are deleted."""
    yield stack.kafka
    stack.kafka.start()


async def test_no_message_is_lost_or_doubled_when_kafka_dies(
    broker: LocalKafka, settings: KafkaSettings, observer: KafkaObserver
) -> None:
    """A writer, and a reader that forwards what it reads, while the only broker dies and returns."""
    over = asyncio.Event()
    acknowledged: list[int] = []
    seconds: list[float] = []

    async def write(kafka: KafkaClient) -> None:
        for version in itertools.count(1):
            began = time.monotonic()
            with contextlib.suppress(RetryableError):
                activity = EMAIL.model_copy(update={"item": f"item-{version}"})
                message = OutgoingMessage(ACTIVITIES, activity.key, activity, version)
                await kafka.producer.send(message, deadline=timedelta(seconds=1))
                acknowledged.append(version)
            seconds.append(time.monotonic() - began)
            if over.is_set():
                return
            await asyncio.sleep(0.005)

    async def forward(batch: Batch[Any, Any]) -> None:
        matches = [
            OutgoingMessage(MATCHES, message.key, MATCHED, message.version, 1, message.position.offset)
            for message in batch.valid
        ]
        await reader.producer.send(*matches, deadline=timedelta(seconds=1))

    async with member(settings, forward, max_records=20) as consumer:
        assert isinstance(consumer.cluster, KafkaClient)
        reader = consumer.cluster
        writing = asyncio.create_task(write(reader))
        await eventually(lambda: len(acknowledged) >= 50 and consumer._last_timestamps_ms)
        await asyncio.to_thread(broker.kill)

        assert not await reader.ping()
        with pytest.raises(RetryableError):
            await ConsumerLag(consumer).total()
        await asyncio.sleep(1)
        assert not await reader.ping()
        assert reader.idle_seconds(consumer) < 2, "an outage does not make the service unalive"

        await asyncio.to_thread(broker.start)
        so_far = len(acknowledged)
        await eventually(lambda: len(acknowledged) > so_far + 50)
        over.set()
        await writing
        await until_no_lag(consumer)
        assert not reader.failed.done()
    assert max(seconds) < 1 * 3, "the deadline, with three times the slack"
    written = [int(dict(record.headers)["ce_version"]) for record in await observer.read_all(ACTIVITIES)]
    forwarded = [int(dict(record.headers)["ce_version"]) for record in await observer.read_all(MATCHES)]
    assert set(acknowledged) <= set(written), "every acknowledged message is stored"
    assert len(written) == len(set(written)), "each message is stored once"
    assert set(forwarded) == set(written)


async def test_sigterm_ends_a_service_while_kafka_is_away(
    broker: LocalKafka, settings: KafkaSettings, observer: KafkaObserver, tmp_path: Path
) -> None:
    await observer.write_activities(*(f"item-{number}" for number in range(100)))
    async with process(settings, tmp_path / "it", WORK=0.1, MAX_RECORDS=5) as it:
        await eventually(lambda: it.processed.total() >= 10)
        await asyncio.to_thread(broker.kill)
        began = time.monotonic()
        assert await it.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10 * 3
    assert it.has_logged("store closed")


async def test_start_offsets_are_retried_until_the_store_is_back(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    """A consumer that waits for its start offsets is alive; one that receives nothing is not."""
    tries = 0

    async def start_offsets(_assigned: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RetryableError("the store is away")
        return {}

    sink = Sink()
    await observer.write_activities("one")
    async with member(settings, sink, start_offsets=start_offsets) as consumer:
        await eventually(lambda: tries == 2)
        assert consumer.idle_seconds(int(time.time() * 1000) + 120_000) == 0
        await eventually(lambda: sink.items == ["one"])
        assert consumer.idle_seconds(int(time.time() * 1000) + 120_000) > 100


async def test_a_cancelled_query_of_start_offsets_is_fatal(settings: KafkaSettings) -> None:
    """Otherwise the partitions stay paused for ever."""

    async def start_offsets(_assigned: Any) -> Any:
        raise asyncio.CancelledError

    async with member(settings, Sink(), start_offsets=start_offsets) as consumer:
        with pytest.raises(TaskEndedError, match="resume activities was cancelled"):
            await asyncio.wait_for(consumer.cluster.failed, 20)


async def test_an_error_of_start_offsets_that_are_requested_again_is_fatal(settings: KafkaSettings) -> None:
    calls = itertools.count()

    async def start_offsets(_assigned: Any) -> Any:
        return {} if next(calls) == 0 else 1 // 0

    async with member(settings, Sink(), start_offsets=start_offsets) as consumer:
        await eventually(lambda: consumer.assigned and not consumer.paused)
        await consumer.seek_again()
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(consumer.cluster.failed, 20)


async def test_a_table_reader_stops_at_any_time(broker: LocalKafka, settings: KafkaSettings) -> None:
    """By itself aiokafka raises CancelledError here, as if the caller were cancelled, and stays connected."""
    cluster = KafkaCluster(settings, "matcher", system_clock)
    tp = cluster.partition(ACTIVITIES, 0)
    async with table_consumer(cluster) as unused:
        unused.assign([tp])
    async with table_consumer(cluster) as reader:
        reader.assign([tp])
        reader.seek(tp, 0)
        await eventually(lambda: reader._fetcher._in_flight)
        await asyncio.to_thread(broker.kill)
        await eventually(lambda: not any(map(AIOKafkaConnection.connected, reader._client._conns.values())))
    for consumer in (unused, reader):
        assert not any(map(AIOKafkaConnection.connected, consumer._client._conns.values()))


async def test_a_failed_commit_is_repeated(
    settings: KafkaSettings, observer: KafkaObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that cannot commit although Kafka answers is not alive."""

    async def commit(*_: Any) -> None:
        raise KafkaTimeoutError

    sink = Sink()
    async with member(settings, sink) as consumer:
        await eventually(lambda: consumer.assigned)
        with monkeypatch.context() as away:
            away.setattr(consumer._connected(), "commit", commit)
            await observer.write_activities("one")
            await eventually(lambda: sink.items == ["one"] and not consumer._batch_lock.locked())
            began = int(time.time() * 1000)
            await consumer.commit_overdue()
            await asyncio.sleep(0.5)
            assert consumer.idle_seconds(began + 120_000) > 119
            consumer.paused = True
            assert consumer.idle_seconds(began + 120_000) > 119
        await consumer.commit_overdue()
        assert consumer.idle_seconds(began + 120_000) == 0
        committed = await consumer.cluster.committed_offsets(
            consumer.group, await consumer.cluster.partitions(ACTIVITIES)
        )
    assert sum(committed.values()) == 1


async def test_a_commit_that_is_given_up_leaves_no_unretrieved_error(
    settings: KafkaSettings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested, closed = asyncio.Event(), asyncio.Event()

    async def send(*_: Any) -> None:
        requested.set()
        await closed.wait()
        raise KafkaConnectionError

    async with member(settings, Sink()) as consumer:
        await eventually(lambda: consumer.assigned)
        with monkeypatch.context() as away:
            away.setattr(consumer._connected()._coordinator, "_send_req", send)
            commit = asyncio.create_task(consumer._connected().commit({min(consumer.assigned): 0}))
            await requested.wait()
            commit.cancel()
            closed.set()
            await asyncio.wait({commit})
            await asyncio.sleep(0.1)
        del commit
        gc.collect()
    assert "never retrieved" not in caplog.text


def test_a_connection_closed_under_uvloop_is_a_connection_error(kafka: str) -> None:
    """Without the patch uvloop raises RuntimeError, and the metadata is never refreshed again."""

    async def use_a_closed_connection() -> None:
        client = AIOKafkaClient(bootstrap_servers=kafka)
        await client.bootstrap()
        try:
            await client.force_metadata_update()
            for connection in client._conns.values():
                connection._read_task.cancel()  # it would notice the end a moment later
                connection._writer.close()
            await asyncio.sleep(0.1)
            with pytest.raises(KafkaConnectionError):
                connection.send(MetadataRequest([]))
            async with asyncio.timeout(10):
                assert await client.force_metadata_update()
        finally:
            await client.close()

    patch_aiokafka()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use_a_closed_connection())


async def test_a_connection_to_a_broker_that_hangs_is_given_up_soon(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel accepts a connection to a process that is suspended."""
    patch_aiokafka()
    minute = to_milliseconds(timedelta(minutes=1))
    host, port = stack.kafka_bootstrap.split(":")
    connection = await create_conn(host, int(port), request_timeout_ms=minute)
    assert connection._request_timeout == 60
    connection.close()
    monkeypatch.setattr(aiokafka_patches, "CONNECT_TIMEOUT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        async with asyncio.timeout(20):
            with pytest.raises(TimeoutError):
                await create_conn("127.0.0.1", hanging.getsockname()[1], request_timeout_ms=minute)
