"""Nothing is lost when replicas or MongoDB are killed, stopped or paused; counted in the database."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from deploy.local.stack import LocalStack
from shared.events import Activity, ActivityTracked
from shared.topics import TRACKED_ACTIVITIES

from .bus import Bus, a_bus, replicas, until
from .worlds import ACCOUNT, ANN, BEN, RENEWAL, email, tracked

NOW = datetime.now(UTC) - timedelta(hours=1)
MESSAGES = 2000
BATCH = 100
AUTO_COMMIT = 5
"""Seconds between the automatic commits of a consumer with FastStream's default policy."""


@pytest.fixture
async def bus(environment: dict[str, str]) -> AsyncIterator[Bus]:
    async with a_bus(environment) as bus:
        yield bus


def mail(number: int) -> Activity:
    return email(ANN if number % 2 else BEN, f"m-{number}", identity=f"i-{number}", at=NOW)


async def flood(bus: Bus, count: int = MESSAGES, first: int = 0) -> None:
    """Sends so many messages on `matches`, a batch at a time."""
    for number in range(first, first + count, BATCH):
        await bus.match(*((mail(each), [RENEWAL, ACCOUNT]) for each in range(number, number + BATCH)))
        await asyncio.sleep(0.02)


async def start_flood(bus: Bus, count: int = MESSAGES, first: int = 0) -> asyncio.Task[None]:
    """Sends in the background; returns when some of the messages are stored, and most are not."""

    async def stores() -> bool:
        return await bus.store.suggestions.count_live() > first

    sending = asyncio.create_task(flood(bus, count, first))
    await until(stores)
    return sending


async def test_nothing_is_lost_when_a_replica_is_killed_in_mid_flight(bus: Bus) -> None:
    chance = random.Random(7)
    in_flight = []
    async with replicas(bus.environment) as [replica]:
        for first in range(0, MESSAGES, 4 * BATCH):
            sending = await start_flood(bus, 4 * BATCH, first)
            await asyncio.sleep(chance.uniform(0, 0.05))
            in_flight.append(bus.version - await bus.store.suggestions.count_live())
            await replica.kill()
            await replica.start()
            await sending
            await replica.until_quiet()
            stored = await bus.store.suggestions.count_live()
            assert stored == bus.version, f"killed with {in_flight} messages in flight"
    assert any(in_flight), "it was never killed in mid-flight"


async def test_nothing_is_lost_when_a_replica_is_killed_while_mongodb_is_paused(
    bus: Bus, stack: LocalStack
) -> None:
    """The batch in hand is not stored for a while; a policy that commits in the meantime loses it."""
    async with replicas(bus.environment) as [replica]:
        await flood(bus, BATCH)
        await replica.until_quiet()
        stack.mongod.process.signal(signal.SIGSTOP)
        try:
            await flood(bus, BATCH, first=BATCH)
            await asyncio.sleep(AUTO_COMMIT + 2)
            await replica.kill()
        finally:
            await asyncio.to_thread(stack.mongod.kill)  # after SIGCONT it would still do what it was sent
            await asyncio.to_thread(stack.mongod.start)
        assert await bus.store.suggestions.count_live() == BATCH, f"{BATCH} messages were to be in flight"
        await replica.start()
        await replica.until_quiet()
    assert await bus.store.suggestions.count_live() == 2 * BATCH


async def test_sigterm_drains_without_loss(bus: Bus) -> None:
    async with replicas(bus.environment) as [replica]:
        sending = await start_flood(bus)
        status, took = await replica.stop()
        stored = await bus.store.suggestions.count_live()
        await sending
        assert stored < MESSAGES, "it was to be stopped in mid-flight"
        await replica.start()
        await replica.until_quiet()
    assert (status, took < 30) == (0, True)  # the promise is 10 s on an idle machine
    assert await bus.store.suggestions.count_live() == MESSAGES


async def test_nothing_is_lost_when_mongodb_is_killed_and_restarted(bus: Bus, stack: LocalStack) -> None:
    async with replicas(bus.environment) as [replica]:
        sending = await start_flood(bus)
        await asyncio.to_thread(stack.mongod.kill)
        await asyncio.sleep(2)
        assert (await replica.get("/health/ready"))[0] == 503
        assert (await replica.get("/health/live"))[0] == 200
        await asyncio.to_thread(stack.mongod.start)
        await sending
        await replica.until_quiet()
    assert await bus.store.suggestions.count_live() == MESSAGES


async def test_two_replicas_share_the_work_and_one_may_be_killed(bus: Bus) -> None:
    async with replicas(bus.environment, 2) as [first, second]:
        sending = await start_flood(bus)
        await first.kill()
        await sending
        await second.until_quiet()
    assert await bus.store.suggestions.count_live() == MESSAGES


async def test_two_replicas_publish_the_newest_state_last(bus: Bus) -> None:
    count, changes = 200, 5
    now = datetime.now(UTC)
    await bus.record(RENEWAL, name="Fleet renewal 0")
    async with replicas(bus.environment, 2) as [first, second]:
        await second.until_quiet()
        for number in range(count):
            await bus.store.tracked_activities.replace_if_unchanged(
                tracked(mail(number), (ANN, RENEWAL), now=now), None
            )
        for change in range(1, changes + 1):
            await bus.record(RENEWAL, name=f"Fleet renewal {change}")
            await asyncio.sleep(0.3)
            if change == 2:
                await first.kill()
        await second.until_quiet()

    held = await bus.tracked_states()
    assert len(held) == count
    stored = {
        document["_id"].split("/")[1]: document["revision"]
        for document in await bus.stored("tracked_activities")
    }
    for activity, event in held.items():
        assert isinstance(event, ActivityTracked)
        assert event.revision == stored[activity]
        assert event.regarding[0].name == f"Fleet renewal {changes}"
    assert len(await bus.read_all(TRACKED_ACTIVITIES)) <= count * (changes + 3), (
        "replicas leave each other's work alone"
    )
