"""The topics of a test: only those that its service uses, because each partition takes Kafka's time."""

import asyncio
from datetime import timedelta

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared.connection import admin_client
from shared.provision import UnsafeTopicError, check, topic_specs
from shared.settings import KafkaSettings
from shared.topics import TOPICS

VISIBILITY_TIMEOUT = timedelta(seconds=30)
"""A busy broker shows new topics within this time."""


async def create_topics(settings: KafkaSettings, service: str) -> None:
    """Create the topics that a service writes or reads, and wait until Kafka shows them."""
    topics = [topic for topic in TOPICS if service == topic.writer or service in topic.readers]
    new = [
        NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=spec.configs)
        for spec in topic_specs(settings, topics)
    ]
    async with admin_client(settings) as admin:
        await admin.create_topics(new)
    async with asyncio.timeout(VISIBILITY_TIMEOUT.total_seconds()):
        while True:
            try:
                return await check(settings, topics)
            except UnsafeTopicError:
                await asyncio.sleep(0.05)


async def delete_topics(kafka: str, prefix: str) -> None:
    """Delete all topics whose names begin with a prefix."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics([topic for topic in await admin.list_topics() if topic.startswith(prefix)])
    finally:
        await admin.close()
