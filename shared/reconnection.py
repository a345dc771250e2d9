"""Kafka clients that reach no broker while a new one would: how they are found, and given up."""

# ruff: noqa: SLF001  # aiokafka has no public names for the parts of its clients

import asyncio
import contextlib
from collections.abc import Collection
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from .connection import client_options
from .leaders import seconds_since_reached
from .settings import KafkaSettings

OUT_OF_REACH_AFTER = timedelta(seconds=15)
"""Longer than the interval of the requests for metadata."""
ATTEMPT_TIMEOUT = timedelta(seconds=5)

CONSUMER_TASKS = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task")


async def is_out_of_reach(client: AIOKafkaClient) -> bool:
    """Whether no broker has answered a client for 15 s, and none does now."""
    if seconds_since_reached(client) < OUT_OF_REACH_AFTER.total_seconds():
        return False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ATTEMPT_TIMEOUT.total_seconds()):
            await client.force_metadata_update()
    return seconds_since_reached(client) >= OUT_OF_REACH_AFTER.total_seconds()


async def is_available(settings: KafkaSettings, topics: Collection[str]) -> bool:
    """Whether a new client finds out who leads each partition of these topics."""
    client = AIOKafkaClient(**client_options(settings))
    try:
        async with asyncio.timeout(ATTEMPT_TIMEOUT.total_seconds()):
            await client.bootstrap()
            client.set_topics(topics)
            return bool(await client.force_metadata_update())
    except (TimeoutError, KafkaError):
        return False
    finally:
        await client.close()


async def give_up_consumer(consumer: AIOKafkaConsumer) -> None:
    """Ends a consumer without a word to Kafka: `stop` waits for brokers that it does not reach."""
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    tasks = [task for name in CONSUMER_TASKS if (task := getattr(coordinator, name, None))]
    tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    consumer._closed = True
    await consumer._client.close()


async def give_up_producer(producer: AIOKafkaProducer) -> None:
    """Ends a producer: what it has not delivered fails, so that no later message is overtaken by it."""
    producer._closed = True
    producer._message_accumulator.fail_all(KafkaConnectionError("the producer is out of reach"))
    producer._sender.sender_task.cancel()
    client = producer.client
    await client.close()
    if client._md_update_fut is not None and not client._md_update_fut.done():
        client._md_update_fut.set_result(False)  # its requests wait for it, and end
