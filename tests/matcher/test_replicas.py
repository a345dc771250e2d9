"""Matchers in processes of their own: killed, stopped, put to sleep."""

import asyncio
import signal
from datetime import timedelta

from shared.clock import system_clock
from shared.events import Activity

from .bus import Bus, replicas
from .worlds import activity

ANN = "ann@fabrikam.com"


def mail(item: str) -> Activity:
    now = system_clock()
    return activity(("to", ANN), item=item, at=now, visible_from=now, visible_until=now + timedelta(days=3))


def pairs_rise(bus: Bus) -> bool:
    """Does (epoch, count) rise in each partition, message by message?"""
    last: dict[int, tuple[int, int]] = {}
    for message in bus.log:
        if (message.epoch, message.count) <= last.get(message.at.partition, (0, 0)):
            return False
        last[message.at.partition] = message.epoch, message.count
    return True


async def test_a_replica_killed_under_load_loses_nothing_and_nothing_is_said_for_nothing(bus: Bus) -> None:
    await bus.put("contact", "ann", emails=ANN)
    items = [f"m{number:03}" for number in range(300)]
    async with replicas(bus.environment, 2) as (one, other):
        await asyncio.gather(one.until_partitions(2), other.until_partitions(2))
        for number, item in enumerate(items):
            await bus.capture(mail(item))
            if number == 100:
                await bus.put("opportunity", "o", contact_id="ann")
            if number == 150:
                await other.kill()
        in_flight = len(items) - len({message.key for message in bus.log})
        await bus.until({item: ["ann", "o"] for item in items}, 30)
        assert in_flight > 0
        assert pairs_rise(bus)

        before = len(bus.log)
        await one.until_partitions(4)
        assert await one.stop() == 0
        assert len(bus.log) == before


async def test_a_replica_that_slept_past_its_session_and_wakes_changes_nothing_for_long(bus: Bus) -> None:
    await bus.put("contact", "ann", emails=ANN)
    items = [f"m{number:02}" for number in range(40)]
    async with replicas(bus.environment, 2) as (one, other):
        await asyncio.gather(one.until_partitions(2), other.until_partitions(2))
        await bus.capture(*(mail(item) for item in items))
        await bus.until({item: ["ann"] for item in items})

        # It falls asleep with work in hand, and its partitions go to the other one.
        await bus.put("opportunity", "o1", contact_id="ann")
        other.signal(signal.SIGSTOP)
        await one.until_partitions(4)
        await bus.until({item: ["ann", "o1"] for item in items})
        await bus.put("opportunity", "o2", contact_id="ann")
        await bus.delete("opportunity", "o1")
        await bus.until({item: ["ann", "o2"] for item in items})

        # It wakes, and still believes what was true when it fell asleep.
        other.signal(signal.SIGCONT)
        await bus.put("opportunity", "o3", contact_id="ann")
        await asyncio.gather(one.until_partitions(2), other.until_partitions(2))
        await asyncio.sleep(2)  # two rounds of CHECK_EVERY
        await bus.until({item: ["ann", "o2", "o3"] for item in items}, 2)
        assert [await one.stop(), await other.stop()] == [0, 0]


async def test_a_replica_says_of_itself_how_it_is(bus: Bus) -> None:
    await bus.put("contact", "ann", emails=ANN)
    async with replicas(bus.environment, 1) as (one,):
        await one.until_partitions(4)
        await bus.capture(mail("m"))
        await bus.until({"m": ["ann"]})
        statuses: list[dict[str, object]] = []

        async def look() -> None:
            while not statuses or statuses[-1].get("activities lag") != 0 or statuses[-1].get("unsaid") != 0:
                statuses.append((await one.ask("/status"))[1])

        await asyncio.wait_for(look(), 10)
        assert statuses[-1] == {
            "activities lag": 0,
            "live activities": 1,
            "partitions": 4,
            "records": 1,
            "records read": True,
            "records waiting": 0,
            "takeovers": 0,
            "unsaid": 0,
        }
        live, loops = await one.ask("/health/live")
        assert (live, set(loops)) == (200, {"follows records", "reads activities", "says matches"})
        assert await one.stop() == 0
