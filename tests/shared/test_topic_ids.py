"""The ids of topics, on the real Kafka."""

import asyncio

from shared.broker import KafkaClient
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.settings import KafkaSettings
from shared.topics import MAILBOXES, TRACKING
from tests.support.topics import create_topics, delete_topics


async def until_unknown(client: KafkaClient, name: str) -> None:
    """Waits until Kafka does not show a deleted topic any more."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.topic_ids([name])
            except RetryableError:
                return


async def test_topic_that_was_made_anew_has_another_id(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=kafka, topic_prefix=topic_prefix, kafka_replication=1, kafka_partitions=1
    )
    await create_topics(settings, TRACKING)
    client = KafkaClient(settings, "test", system_clock)
    await client.start()
    try:
        name = client.full_name(MAILBOXES)
        first, again = await client.topic_ids([name]), await client.topic_ids([name])
        await delete_topics(kafka, topic_prefix)
        await until_unknown(client, name)
        await create_topics(settings, TRACKING)
        anew = await client.topic_ids([name])
    finally:
        await client.stop()
    assert first == again
    assert first.keys() == anew.keys() == {name}
    assert first != anew
