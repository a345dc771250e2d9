"""A full disk of Kafka or MongoDB, for real: it ends no service, and nothing is lost."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local.servers import Kafka, Mongod
from deploy.local.stack import LocalStack
from shared.errors import RetryableError
from tests.support.small_disks import SmallDisk, small_disk

from .bus import Bus, a_bus, replicas, until
from .worlds import ANN, RENEWAL, email

pytestmark = pytest.mark.full("disks")

NOW = datetime.now(UTC) - timedelta(hours=1)
BATCH, BATCHES = 50, 20
LONGEST_OUTAGE = 45
"""Seconds; a service without progress for a minute is not alive."""

LONGEST_RECOVERY = 300
"""Seconds, on a busy machine."""


class World:
    """A stack one of whose servers has a small disk."""

    def __init__(self, stack: LocalStack, server: Kafka | Mongod, disk: SmallDisk) -> None:
        self.stack = stack
        self.server = server
        self.disk = disk


@pytest.fixture(params=["kafka", "mongod"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with small_disk(tmp_path / "data" / request.param) as disk:
        with LocalStack(tmp_path, environ={}, tied=True, usual_ports=False) as stack:
            yield World(stack, getattr(stack, request.param), disk)
        stack.erase()


@pytest.fixture
async def bus(world: World, own_prefix: str) -> AsyncIterator[Bus]:
    environment = {
        **world.stack.environment,
        "KAFKA_PARTITIONS": "2",
        "TOPIC_PREFIX": own_prefix,
        "TRACKING_MONGODB_DATABASE": f"{own_prefix}store",
    }
    async with a_bus(environment) as bus:
        yield bus


async def send(bus: Bus, numbers: range) -> None:
    """Sends messages on `matches`, each batch until Kafka has it."""
    for start in numbers[::BATCH]:
        batch = [
            email(ANN, f"m-{number}", identity=f"i-{number}", at=NOW)
            for number in range(start, start + BATCH)
        ]
        while True:
            try:
                await bus.match(*((mail, [RENEWAL]) for mail in batch))
                break
            except RetryableError:
                await asyncio.sleep(0.5)
        await asyncio.sleep(0.1)


def write_until_it_ends(world: World) -> None:
    """Writes to MongoDB until it ends: a small batch of its own may still fit into its files.

    It refuses writes for a while first, when it is its data and not its journal that do not fit.
    """
    end = time.monotonic() + LONGEST_OUTAGE
    with MongoClient[dict[str, Any]](world.stack.mongodb_uri, serverSelectionTimeoutMS=1000) as client:
        while world.server.running and time.monotonic() < end:
            with contextlib.suppress(PyMongoError):
                client["ballast"]["ballast"].insert_one({"bytes": os.urandom(100_000)})


async def test_full_disk_ends_no_service_and_loses_nothing(world: World, bus: Bus) -> None:
    async def is_stopped() -> bool:
        return not world.server.running

    async with replicas(bus.environment) as [replica]:
        await send(bus, range(BATCH))
        await replica.until_quiet()
        world.disk.fill()
        sending = asyncio.create_task(send(bus, range(BATCH, BATCH * BATCHES)))
        if isinstance(world.server, Mongod):
            await asyncio.to_thread(write_until_it_ends, world)
        await until(is_stopped, LONGEST_OUTAGE, "the server was to stop")
        await asyncio.sleep(5)  # the outage is one that the service's loops and consumers notice
        assert (await replica.get("/health/live"))[0] == 200
        assert (await replica.get("/health/ready"))[0] == 503

        world.disk.free()
        await asyncio.to_thread(world.server.start)

        await sending
        await replica.until_quiet(LONGEST_RECOVERY)
        assert await bus.store.suggestions.count_live() == BATCH * BATCHES
        assert (await replica.get("/health/ready"))[0] == 200
