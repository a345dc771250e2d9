"""Nothing is lost: killed, stopped, suspended, doubled, and without Kafka. No window reading hides a loss."""

import asyncio
import signal
import time

from deploy.local.stack import LocalStack
from shared.topics import ACTIVITIES
from tests.mail_ingest.world import World, eventually, value_of

ANN = "ann@contoso.example"
DRAIN_LIMIT = 30
"""Seconds; design.md promises 10 on a machine that has nothing else to do."""


async def send_many(world: World, names: list[str], count: int) -> list[str]:
    """Sends e-mails to all, and returns the subjects that must arrive, one for each copy."""
    addresses = [f"{name}@contoso.example" for name in names]
    for number in range(count):
        await asyncio.to_thread(world.tenant.send, "x@fabrikam.com", addresses, subject=f"{number}")
    return [f"{number}" for number in range(count) for _ in addresses]


async def test_kill_loses_nothing(own_world: World) -> None:
    world, names = own_world, ["ann", "bo", "cy"]
    await world.enrol(*[world.add_user(name) for name in names])
    world.simulator.limits(latency=0.02)
    try:
        sending = asyncio.create_task(send_many(world, names, 60))
        for _ in range(3):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(world.ingest.kill)
            await asyncio.to_thread(world.ingest.start)
        subjects = await sending
        await eventually(lambda: world.has_subjects(*subjects), 60)
    finally:
        world.simulator.limits(latency=0.0)

    await eventually(lambda: not world.documents("items", publish_pending=True))


async def test_stop_drains_in_time_and_loses_nothing(own_world: World) -> None:
    world = own_world
    await world.enrol(world.add_user("ann"))
    sending = asyncio.create_task(send_many(world, ["ann"], 60))
    await eventually(world.subjects)

    started = time.monotonic()
    status = await asyncio.to_thread(world.ingest.stop)
    seconds = time.monotonic() - started
    await asyncio.to_thread(world.ingest.start)
    subjects = await sending
    await eventually(lambda: world.has_subjects(*subjects), 60)

    assert status == 0
    assert seconds < DRAIN_LIMIT


async def test_two_replicas_share_the_mailboxes_and_publish_each_item_once(own_world: World) -> None:
    world, names = own_world, ["ann", "bo", "cy", "di"]
    other = world.add_replica()
    await asyncio.to_thread(other.start)
    await world.enrol(*[world.add_user(name) for name in names])

    subjects = await send_many(world, names, 40)
    await eventually(lambda: world.has_subjects(*subjects), 60)
    await eventually(world.ingest.is_idle)

    assert len(await world.read(ACTIVITIES)) == len(subjects)
    published = [each.metric("activities_captured_total") for each in (world.ingest, other)]
    assert sum(published) == len(subjects)


async def test_replica_that_resumes_after_its_lease_changes_nothing(own_world: World) -> None:
    """The first replica is suspended while it fetches; the second one observes a later change."""
    world = own_world
    ann = world.add_user("ann")
    await world.enrol(ann)
    other = world.add_replica()
    item = world.tenant.send("x@fabrikam.com", [ANN], subject="Before")["copies"][0]["id"]
    await eventually(lambda: world.has_subjects("Before"))
    await eventually(world.ingest.is_idle)

    world.simulator.limits(latency=0.5)
    try:
        world.tenant.do("/messages/change", mailbox=ann, id=item, subject="While it fetched")
        await eventually(world.is_held)
        await asyncio.sleep(0.2)
        world.ingest.signal(signal.SIGSTOP)
        await asyncio.sleep(1)  # Graph's response, with the subject of that time, waits for the first replica
        world.simulator.limits(latency=0.0)
        world.tenant.do("/messages/change", mailbox=ann, id=item, subject="After")
        await asyncio.to_thread(other.start)
        await eventually(lambda: world.has_subjects("After"), 60)
    finally:
        world.simulator.limits(latency=0.0)
        world.ingest.signal(signal.SIGCONT)
    await asyncio.sleep(2)
    await eventually(other.is_idle, 60)

    messages = await world.published(item)
    subjects = [value.subject for message in messages if (value := value_of(message))]
    assert set(subjects[subjects.index("After") :]) == {"After"}, (
        "the resumed replica has published what it fetched before it was suspended"
    )
    assert [message.version for message in messages] == sorted({message.version for message in messages})


async def test_without_kafka_graph_gets_503_within_a_second_and_nothing_is_lost(
    own_world: World, stack: LocalStack
) -> None:
    world = own_world
    await world.enrol(world.add_user("ann"))
    stack.kafka.kill()
    try:
        for subject in "abc":
            world.tenant.send("x@fabrikam.com", [ANN], subject=subject)
        statuses, slowest = await world.post(
            *[[world.notification(item=f"i{number}")] for number in range(3)]
        )
    finally:
        await asyncio.to_thread(stack.kafka.start)

    assert statuses == [503, 503, 503]
    assert slowest < 3
    await eventually(lambda: world.has_subjects("a", "b", "c"), 60)
