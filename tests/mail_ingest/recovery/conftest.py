"""A database and topics for each test."""

from collections.abc import AsyncIterator

import pytest

from .kafka_and_store import Bench, opened_bench


@pytest.fixture
async def bench(
    kafka: str, mongodb_uri: str, mongodb_database: str, topic_prefix: str
) -> AsyncIterator[Bench]:
    async with opened_bench(kafka, mongodb_uri, mongodb_database, topic_prefix) as opened:
        yield opened
