"""Each test has topics of its own on the real Kafka."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.settings import KafkaSettings
from tests.support.topics import create_topics

from .kafka_world import SERVICE, KafkaObserver


@pytest.fixture
async def settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    """The real Kafka with the topics of a matcher, for this test alone."""
    settings = KafkaSettings(
        kafka_bootstrap_servers=kafka,
        kafka_replication=1,
        kafka_partitions=4,
        kafka_session_timeout=timedelta(seconds=3),
        topic_prefix=topic_prefix,
    )
    await create_topics(settings, SERVICE)
    return settings


@pytest.fixture
async def observer(settings: KafkaSettings) -> AsyncIterator[KafkaObserver]:
    """Writes and reads the topics by plain clients."""
    async with KafkaObserver(settings) as running:
        yield running
