"""Topics of its own on the real Kafka for each test."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared import provision
from shared.settings import KafkaSettings

from .members import Bus


@pytest.fixture
async def settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    """The real Kafka with all topics, for this test alone."""
    settings = KafkaSettings(
        kafka_bootstrap_servers=kafka,
        kafka_replication=1,
        kafka_partitions=4,
        kafka_session_timeout=timedelta(seconds=3),
        topic_prefix=topic_prefix,
    )
    await provision.create(settings)
    return settings


@pytest.fixture
async def bus(settings: KafkaSettings) -> AsyncIterator[Bus]:
    """Puts messages onto the topics, and looks at them from outside."""
    async with Bus(settings) as bus:
        yield bus
