"""A killed replica's mailboxes go on: at once under its own name, within 15 s in another replica."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.stack import LocalStack
from services.mail_ingest.settings import IngestSettings
from simulator.server import Running
from tests.mail_ingest.world import World, eventually, opened_world, running_service

ANN = "ann@contoso.example"
DEFAULT_LEASE = f"PT{IngestSettings.model_fields['lease'].default.total_seconds():.0f}S"


@pytest.fixture
async def world(
    stack: LocalStack, kafka: str, mongodb_uri: str, graph: Running, tmp_path: Path
) -> AsyncIterator[World]:
    """A tenant with a mail-ingest of its own, whose leases have their default duration."""
    async with (
        running_service(stack, graph, tmp_path, MAIL_INGEST_LEASE=DEFAULT_LEASE) as started,
        opened_world(started) as opened,
    ):
        yield opened


async def kill_in_sync(world: World) -> float:
    """Kills the replica while it holds the mailbox, and returns when, in monotonic seconds."""
    await world.enrol(world.add_user("ann"))
    world.simulator.limits(latency=2.0)
    world.tenant.send("x@fabrikam.com", [ANN], subject="Waits")
    await eventually(world.is_held)
    await asyncio.to_thread(world.ingest.kill)
    world.simulator.limits(latency=0.0)
    return time.monotonic()


async def test_killed_replica_goes_on_at_once_and_its_twin_is_refused(world: World) -> None:
    killed_at = await kill_in_sync(world)
    await asyncio.to_thread(world.ingest.start)
    await eventually(lambda: world.has_subjects("Waits"))
    assert time.monotonic() - killed_at < 10

    twin = world.add_replica()
    twin.environment["INSTANCE"] = world.ingest.environment["INSTANCE"]

    assert await asyncio.to_thread(twin.run_to_end) == 2
    assert "another process runs under INSTANCE" in twin.log.read_text()
    await eventually(lambda: world.ingest.status()["processes refused under this INSTANCE"] == 1)
    assert world.ingest.metric("instance_twins_total") == 1


@pytest.mark.full("restore")
async def test_other_replica_takes_the_mailboxes_of_a_killed_one_within_15_seconds(world: World) -> None:
    other = world.add_replica()
    await asyncio.to_thread(other.start)
    killed_at = await kill_in_sync(world)

    await eventually(lambda: world.has_subjects("Waits"))

    assert time.monotonic() - killed_at < 15
