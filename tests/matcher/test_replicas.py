"""Matchers in processes of their own: killed, paused, stopped."""

import asyncio
import signal
from datetime import timedelta

from shared.clock import system_clock
from shared.events import Activity
from shared.version import VERSION

from .peers import Peers, running_replicas
from .worlds import activity

ANN = "ann@fabrikam.com"


def mail(item: str) -> Activity:
    now = system_clock()
    return activity(("to", ANN), item=item, at=now, visible_from=now, visible_until=now + timedelta(days=3))


def epochs_and_sequences_rise(peers: Peers) -> bool:
    """True when (epoch, sequence) rises with each message of each partition."""
    last: dict[int, tuple[int, int]] = {}
    for message in peers.matches:
        if (message.epoch, message.sequence) <= last.get(message.position.partition, (0, 0)):
            return False
        last[message.position.partition] = message.epoch, message.sequence
    return True


async def test_killed_replica_loses_nothing_and_restore_publishes_nothing_needless(peers: Peers) -> None:
    await peers.publish_record("contact", "ann", emails=ANN)
    items = [f"m{number:03}" for number in range(300)]
    async with running_replicas(peers.environment, 2) as (one, other):
        await asyncio.gather(one.wait_for_partitions(1), other.wait_for_partitions(1))
        for number, item in enumerate(items):
            await peers.capture(mail(item))
            if number == 100:
                await peers.publish_record("opportunity", "o", contact_id="ann")
            if number == 150:
                await other.kill()
        in_flight = len(items) - len({message.key for message in peers.matches})
        await peers.wait_for_matches({item: ["ann", "o"] for item in items}, 30)
        assert in_flight > 0
        assert epochs_and_sequences_rise(peers)

        before = len(peers.matches)
        await one.wait_for_partitions(2)
        assert await one.stop() == 0
        assert len(peers.matches) == before


async def test_paused_replica_that_resumes_is_overruled(peers: Peers) -> None:
    await peers.publish_record("contact", "ann", emails=ANN)
    items = [f"m{number:02}" for number in range(40)]
    async with running_replicas(peers.environment, 2) as (one, other):
        await asyncio.gather(one.wait_for_partitions(1), other.wait_for_partitions(1))
        await peers.capture(*(mail(item) for item in items))
        await peers.wait_for_matches({item: ["ann"] for item in items})

        # It is paused with work in flight, and its partitions go to the other replica.
        await peers.publish_record("opportunity", "o1", contact_id="ann")
        other.send_signal(signal.SIGSTOP)
        await one.wait_for_partitions(2)
        await peers.wait_for_matches({item: ["ann", "o1"] for item in items})
        await peers.publish_record("opportunity", "o2", contact_id="ann")
        await peers.delete_record("opportunity", "o1")
        await peers.wait_for_matches({item: ["ann", "o2"] for item in items})

        # It resumes with the state of the time of its pause.
        other.send_signal(signal.SIGCONT)
        await peers.publish_record("opportunity", "o3", contact_id="ann")
        await asyncio.gather(one.wait_for_partitions(1), other.wait_for_partitions(1))
        await asyncio.sleep(1)  # two checks for foreign writes
        await peers.wait_for_matches({item: ["ann", "o2", "o3"] for item in items}, 2)
        assert [await one.stop(), await other.stop()] == [0, 0]


async def test_status_and_liveness_of_a_replica(peers: Peers) -> None:
    await peers.publish_record("contact", "ann", emails=ANN)
    async with running_replicas(peers.environment, 1) as (one,):
        await one.wait_for_partitions(2)
        await peers.capture(mail("m"))
        await peers.wait_for_matches({"m": ["ann"]})
        statuses: list[dict[str, object]] = []

        async def poll() -> None:
            while (
                not statuses
                or statuses[-1].get("activities lag") != 0
                or statuses[-1].get("matches pending") != 0
            ):
                statuses.append((await one.get_json("/status"))[1])

        await asyncio.wait_for(poll(), 10)
        assert statuses[-1] == {
            "activities lag": 0,
            "live activities": 1,
            "matches pending": 0,
            "partitions": 2,
            "records": 1,
            "records caught up": True,
            "records waiting": 0,
            "partitions restoring": 0,
            "version": VERSION,
        }
        live, loops = await one.get_json("/health/live")
        assert (live, set(loops)) == (
            200,
            {"follows records", "consumes activities", "publishes matches", "reaches Kafka"},
        )
        assert await one.stop() == 0
