"""Clients that reach no broker while a new one would are replaced; an outage replaces none."""

import asyncio
import contextlib
from typing import Any, cast

from deploy.local.servers import Kafka as LocalKafka
from shared.broker import KafkaClient
from shared.messages import OutgoingMessage
from shared.reconnection import OUT_OF_REACH_AFTER
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES

from .examples import EMAIL
from .kafka_world import KafkaObserver, Sink, eventually, member
from .test_leaders import lose
from .test_outage import broker  # noqa: F401  # a fixture


def lose_all(kafka: KafkaClient) -> set[Any]:
    """Puts every client of a service out of reach, with wrong addresses to bootstrap from."""
    clients = kafka._clients_in_use()
    for client in clients:
        lose(client)
        client._bootstrap_servers = "127.0.0.1:1"
        client._reached_at -= OUT_OF_REACH_AFTER.total_seconds()
    return set(clients)


async def test_clients_out_of_reach_are_replaced(settings: KafkaSettings, observer: KafkaObserver) -> None:
    """The producer, the consumers, the readers of tables, and those that request ends and commits."""
    sink = Sink()
    read: list[str] = []
    await observer.write_activities("first")

    async def follow(kafka: KafkaClient) -> None:
        async for chunk in kafka.read_table(ACTIVITIES, follow=True):
            read.extend(message.key[-1] for message in chunk.messages if message.key)

    async with member(settings, sink) as consumer:
        kafka = cast("KafkaClient", consumer.cluster)
        following = asyncio.create_task(follow(kafka))
        await eventually(lambda: sink.items == read == ["first"])
        lost = lose_all(kafka)
        assert len(lost) == 5, "a producer, a consumer, a table's reader, and two for queries"

        await kafka.check()
        assert not lost & set(kafka._clients_in_use())
        activity = EMAIL.model_copy(update={"item": "second"})
        await kafka.producer.send(OutgoingMessage(ACTIVITIES, activity.key, activity, 1))
        await eventually(lambda: sink.items[-1:] == ["second"] and read == ["first", "second"], 30)
        await kafka.check()
        assert (kafka.lost_seconds(), kafka.failed.done()) == (0, False)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def test_an_outage_replaces_no_client(
    broker: LocalKafka,  # noqa: F811
    settings: KafkaSettings,
) -> None:
    async with member(settings, Sink()) as consumer:
        kafka = cast("KafkaClient", consumer.cluster)
        await asyncio.to_thread(broker.kill)
        for client in (before := kafka._clients_in_use()):
            client._reached_at -= OUT_OF_REACH_AFTER.total_seconds()
        await kafka.check()
        assert kafka._clients_in_use() == before
        assert kafka.seconds_available(3600) < 60, "nothing that waits for Kafka is unalive"
        await asyncio.to_thread(broker.start)
