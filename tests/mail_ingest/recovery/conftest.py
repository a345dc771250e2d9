"""A database and topics for each test, with and without a service."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.stack import LocalStack
from simulator.server import Running
from tests.mail_ingest.world import RECONCILE_ON_DEMAND, World, opened_world, running_service

from .kafka_and_store import Bench, opened_bench


@pytest.fixture
async def bench(
    kafka: str, mongodb_uri: str, mongodb_database: str, topic_prefix: str
) -> AsyncIterator[Bench]:
    async with opened_bench(kafka, mongodb_uri, mongodb_database, topic_prefix) as opened:
        yield opened


@pytest.fixture
async def world(
    stack: LocalStack, kafka: str, mongodb_uri: str, graph: Running, tmp_path: Path
) -> AsyncIterator[World]:
    """A tenant with a mail-ingest of its own, which reads a window only when something requests it."""
    async with (
        running_service(stack, graph, tmp_path, **RECONCILE_ON_DEMAND) as started,
        opened_world(started) as opened,
    ):
        yield opened
