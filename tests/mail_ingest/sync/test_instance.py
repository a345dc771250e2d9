"""One process at a time runs under an INSTANCE: its successor waits for no lease, and a twin is refused."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.lease import lease_prefix
from services.mail_ingest.sync.instance import ALIVE_EVERY, SILENT_FOR, InstanceClaim
from services.mail_ingest.sync.workers import POLL_INTERVALS
from shared.errors import MisconfiguredError
from shared.service import StopSignal
from tests.mail_ingest.store.stores import ANN, acquire, now, settings
from tests.mail_ingest.world import eventually

NAME = "replica-1"


@pytest.fixture
async def store(mongodb_uri: str, mongodb_database: str) -> AsyncIterator[Store]:
    opened = Store(settings(mongodb_uri, mongodb_database))
    await opened.create_indexes()
    await opened.mailboxes.enrol({ANN: None}, now())
    yield opened
    await opened.close()


async def test_twin_of_a_running_process_is_refused_and_takes_no_lease(store: Store) -> None:
    first, stop = InstanceClaim(store, NAME), StopSignal()
    await first.acquire()
    held = await acquire(store, f"{lease_prefix(NAME)}first.1")
    running = asyncio.create_task(first.run(stop))

    with pytest.raises(MisconfiguredError, match=NAME):
        await InstanceClaim(store, NAME).acquire()

    assert await held.renew_lease()
    await eventually(lambda: first.refused == 1)
    stop.set()
    await running


async def test_successor_of_a_killed_process_takes_its_leases_back(store: Store) -> None:
    killed = InstanceClaim(store, NAME)
    await killed.acquire()
    held = await acquire(store, f"{lease_prefix(NAME)}killed.1")
    began = time.monotonic()

    await InstanceClaim(store, NAME).acquire()

    assert time.monotonic() - began < (SILENT_FOR + ALIVE_EVERY).total_seconds()
    assert not await held.renew_lease()
    await acquire(store, f"{lease_prefix(NAME)}next.1")
    with pytest.raises(MisconfiguredError):  # it only stood still, and goes on
        async with asyncio.timeout(30):
            await killed.run(StopSignal())


async def test_process_keeps_its_name_when_the_database_is_put_back_beneath_it(store: Store) -> None:
    claim, stop = InstanceClaim(store, NAME), StopSignal()
    await claim.acquire()
    running = asyncio.create_task(claim.run(stop))

    await store.instances._collection.delete_many({})

    await eventually(lambda: is_registered(store, claim))
    stop.set()
    await running


async def is_registered(store: Store, claim: InstanceClaim) -> bool:
    return await store.instances.show_alive(NAME, claim._process) is not None


async def test_successor_of_a_stopped_process_does_not_wait(store: Store) -> None:
    async with InstanceClaim(store, NAME).held():
        pass
    began = time.monotonic()

    await InstanceClaim(store, NAME).acquire()

    assert time.monotonic() - began < ALIVE_EVERY.total_seconds()


async def test_replica_without_a_name_claims_none(store: Store) -> None:
    stop = StopSignal()
    stop.set()
    for _ in range(2):
        claim = InstanceClaim(store, None)
        await claim.acquire()
        await claim.run(stop)


def test_another_replica_takes_over_within_15_seconds() -> None:
    """A lease ends this long after its last renewal; then a replica that has nothing to do looks for work."""
    lease: timedelta = IngestSettings.model_fields["lease"].default

    assert lease.total_seconds() + max(POLL_INTERVALS.values()) < 15
