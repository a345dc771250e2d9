"""Nothing is lost: killed, stopped, asleep, doubled, and with Kafka away. No window read could hide a loss."""

import asyncio
import signal

from deploy.local.stack import LocalStack

from .world import World, eventually


async def flood(world: World, mailboxes: list[str], count: int) -> list[str]:
    """Sends mail to all; answers the subjects that must arrive, one for each copy."""
    addresses = [f"{name}@contoso.example" for name in mailboxes]
    for number in range(count):
        await asyncio.to_thread(world.tenant.send, "x@fabrikam.com", addresses, subject=f"{number}")
    return [f"{number}" for number in range(count) for _ in addresses]


async def test_killed_in_mid_flight_nothing_is_lost(world: World) -> None:
    names = ["ann", "bo", "cy"]
    await world.enrol(*[world.user(name) for name in names])
    world.simulator.limits(latency=0.02)
    try:
        sending = asyncio.create_task(flood(world, names, 60))
        for _ in range(3):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(world.ingest.kill)
            await asyncio.to_thread(world.ingest.start)
        subjects = await sending
        await eventually(lambda: world.has(*subjects), 60)
    finally:
        world.simulator.limits(latency=0.0)

    await eventually(lambda: not world.documents("items", unsent=True))


async def test_told_to_stop_it_drains_within_ten_seconds_and_loses_nothing(world: World) -> None:
    await world.enrol(world.user("ann"))
    sending = asyncio.create_task(flood(world, ["ann"], 60))
    await asyncio.sleep(0.3)

    started = asyncio.get_running_loop().time()
    status = await asyncio.to_thread(world.ingest.stop)
    took = asyncio.get_running_loop().time() - started
    await asyncio.to_thread(world.ingest.start)
    subjects = await sending
    await eventually(lambda: world.has(*subjects), 60)

    assert status == 0
    assert took < 30  # 10 are promised, on a machine that has nothing else to do


async def test_two_replicas_share_the_mailboxes_and_say_each_thing_once(world: World) -> None:
    names = ["ann", "bo", "cy", "di"]
    other = world.replica()
    await asyncio.to_thread(other.start)
    await world.enrol(*[world.user(name) for name in names])

    subjects = await flood(world, names, 40)
    await eventually(lambda: world.has(*subjects), 60)
    await eventually(world.ingest.idle)

    assert len(await world.everything_said()) == len(subjects)
    assert world.ingest.metric("activities_captured_total") + other.metric(
        "activities_captured_total"
    ) == len(subjects)


async def test_a_replica_that_sleeps_past_its_lease_changes_nothing_when_it_wakes(world: World) -> None:
    """The first sleeps while it fetches; the second does its work, and sees the item change meanwhile."""
    ann = world.user("ann")
    await world.enrol(ann)
    await eventually(world.ingest.idle)
    other = world.replica()
    item = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Before")["copies"][0]["id"]
    await eventually(lambda: world.has("Before"))
    await eventually(world.ingest.idle)

    world.simulator.limits(latency=0.5)
    try:
        world.tenant.do("/messages/change", mailbox=ann, id=item, subject="While it fetched")
        await eventually(world.held)
        await asyncio.sleep(0.2)
        world.ingest.signal(signal.SIGSTOP)
        await asyncio.sleep(1)  # Graph's answer waits for it, with the subject of then
        world.simulator.limits(latency=0.0)
        world.tenant.do("/messages/change", mailbox=ann, id=item, subject="After")
        await asyncio.to_thread(other.start)
        await eventually(lambda: world.has("After"), 60)
    finally:
        world.simulator.limits(latency=0.0)
        world.ingest.signal(signal.SIGCONT)
    await asyncio.sleep(2)
    await eventually(other.idle, 60)

    said = await world.said(item)
    subjects = [message.value.subject for message in said if message.value]
    assert set(subjects[subjects.index("After") :]) == {"After"}, (
        "what it had fetched before it slept was said when it woke"
    )
    assert [message.version for message in said] == sorted({message.version for message in said})


async def test_with_kafka_away_graph_is_told_to_come_again_within_a_second_and_nothing_is_lost(
    world: World, stack: LocalStack
) -> None:
    await world.enrol(world.user("ann"))
    stack.kafka.kill()
    try:
        for subject in "abc":
            world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject=subject)
        statuses, slowest = await world.post(
            *[[world.notification(item=f"i{number}")] for number in range(3)]
        )
    finally:
        await asyncio.to_thread(stack.kafka.start)

    assert statuses == [503, 503, 503]
    assert slowest < 3
    await eventually(lambda: world.has("a", "b", "c"), 60)
