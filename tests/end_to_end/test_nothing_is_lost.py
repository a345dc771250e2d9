"""Whatever is killed while messages flow, everything arrives.

What reads a table from its start, or Outlook's window whole, would find a lost message again, and so would
a second hint. So for these counts the reconciler is off, Graph names each mail once, and a matcher begins
at its group's commit; tracking goes on from the positions in its database anyway. Two replicas of each
service are there at once.
"""

import asyncio
import contextlib
import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

import pytest

from deploy.local.servers import Server
from deploy.local.stack import LocalStack
from deploy.local.system import Process
from shared.events import ActivityTracked
from shared.topics import ACTIVITIES, GRAPH_NOTIFICATIONS, MATCHES, TRACKED_ACTIVITIES

from .world import SERVICES, Item, Pairs, User, World, a_world, on, until

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a machine that may be busy

CARLA = "carla@fabrikam.example"
DEALS = [f"deal-{number}" for number in range(250)]
"""Dense mail is slow to match and to store, so that there is always some in hand."""
RELATED: Pairs = {("contact", "carla"), ("account", "fabrikam"), *(("opportunity", deal) for deal in DEALS)}
HELD_UP = 40
"""Items that have piled up before a service is ended."""
MOST_IN_FLIGHT = 80
"""Carla waits when so many are under way."""
PATIENT = 100.0
"""Seconds for all to come to rest: rebalances and back-offs add up on a busy machine, and at rest a loss is a loss."""
AWAY = 4.0
"""Seconds that a store is away: longer than drivers try again by themselves, so that services must."""
LEAVES_WITHIN = 30.0
"""Seconds; 10 are promised, on a machine that has nothing else to do."""


@dataclass
class Flow:
    """Carla, who writes all the time.

    Attributes:
        sent: every mail of hers, by what it is in a mailbox.
    """

    world: World
    sellers: list[User]
    sent: set[Item] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Mail flows while the block lasts."""
        enough = asyncio.Event()
        writing = asyncio.create_task(self._write(enough))
        try:
            yield
        finally:
            enough.set()
            await writing

    async def _write(self, enough: asyncio.Event) -> None:
        for seller in itertools.cycle(self.sellers):
            if enough.is_set():
                return
            await until(lambda: len(self.in_flight(ARRIVED["matcher"])) < MOST_IN_FLIGHT)
            self.sent.update(
                await self.world.send(CARLA, seller, subject=f"No. {len(self.sent)}", text="Hello")
            )
            await asyncio.sleep(0.02)

    def in_flight(self, arrived: "Arrived") -> set[Item]:
        """What is sent and has not arrived there."""
        return self.sent.difference(arrived(self.world))

    async def all_arrives(self, in_flight: int, what: str) -> None:
        """Once everything is at rest: exactly what was sent, at each station."""
        await self.world.at_rest(PATIENT)
        await self.world.bus.read_up()
        told = f"{what} with {in_flight} items in flight; {len(self.sent)} were sent"
        sys.stdout.write(f"{told}\n")
        expected = dict.fromkeys(self.sent, RELATED)
        activities = {key for key, _ in self.world.bus.live(ACTIVITIES).items()}
        assert activities == self.sent, (
            f"{told}, {len(self.sent - activities)} activities are lost, {len(activities - self.sent)} are too many"
        )
        for name, found in (("matches", self.world.bus.matches()), ("suggestions", self.world.suggestions())):
            wrong = {item for item in expected.keys() | found.keys() if expected.get(item) != found.get(item)}
            assert not wrong, f"{told}, {len(expected) - len(found)} {name} are lost, {len(wrong)} are wrong"
        assert in_flight, f"{told}: nothing could be lost"


Arrived = Callable[[World], Collection[tuple[str, ...]]]

ARRIVED: dict[str, Arrived] = {
    "mail-ingest": lambda world: world.bus.keys[ACTIVITIES.name],
    "matcher": lambda world: world.bus.keys[MATCHES.name],
    "tracking": World.suggested,
}
"""What has come out of a service."""


@pytest.fixture(scope="module")
async def flow(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Flow]:
    folder = tmp_path_factory.mktemp("system")
    env_of = {"mail-ingest": {"RECONCILE": "false", "LEASE": "PT3S"}, "matcher": {"TAKEOVER": "false"}}
    async with a_world(
        stack, folder, env={"KAFKA_SESSION_TIMEOUT": "PT3S"}, env_of=env_of, two_of=SERVICES
    ) as world:
        world.simulator.delivery(followed_by_updated=False)
        await world.publish(
            {"type": "account", "id": "fabrikam", "name": "Fabrikam"},
            {"type": "contact", "id": "carla", "emails": [CARLA], "parent_account_id": "fabrikam"},
            *(
                {"type": "opportunity", "id": deal, "name": deal, "stakeholder_ids": ["carla"]}
                for deal in DEALS
            ),
        )
        sellers = await asyncio.gather(
            *(world.user(f"{name}@contoso.example") for name in ("ann", "ben", "cleo", "dan"))
        )
        await world.at_rest()
        yield Flow(world, list(sellers))


End = Callable[[Process], None]


def crash(process: Process) -> None:
    process.kill()


def stop(process: Process) -> None:
    """SIGTERM, after which it leaves by itself."""
    process.signal(signal.SIGTERM)
    deadline = time.monotonic() + LEAVES_WITHIN
    while process.running:
        assert time.monotonic() < deadline, (
            f"{process.name} has not left within {LEAVES_WITHIN:.0f} s of SIGTERM"
        )
        time.sleep(0.02)
    assert process.background.exit_code == 0, process.background.tail()


VICTIMS: dict[End, int] = {crash: 0, stop: 1}
"""How a replica ends, and which of the two it is; the other one goes on."""


@pytest.mark.sized("loss")
@pytest.mark.parametrize("end", VICTIMS)
@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_that_ends_while_messages_flow_loses_none(
    flow: Flow, name: str, end: End, full_size: bool
) -> None:
    victim, arrived = flow.world.replicas(name)[VICTIMS[end]], ARRIVED[name]
    for _ in range(10 if full_size else 1):
        async with flow.flowing():
            in_flight = await hold_up(flow, name, arrived)
            await asyncio.to_thread(end, victim)
            await asyncio.to_thread(victim.start)
        await flow.all_arrives(in_flight, f"{name}: {end.__name__} of {victim.name}")


async def hold_up(flow: Flow, name: str, arrived: Arrived) -> int:
    """Lets items pile up before a service, and returns how many still wait when it has just begun to work them off."""

    async def caught_at_work() -> int:
        for process in flow.world.replicas(name):
            process.signal(signal.SIGSTOP)
        await until(lambda: len(flow.in_flight(arrived)) >= HELD_UP)
        waiting = flow.in_flight(arrived)
        for process in flow.world.replicas(name):
            process.signal(signal.SIGCONT)
        await until(lambda: waiting.intersection(arrived(flow.world)))
        return len(flow.in_flight(arrived))

    in_flight: int = await until(caught_at_work)  # it may have done them all by the time that we look
    return in_flight


@pytest.mark.parametrize("name, station", [("kafka", "matcher"), ("mongod", "tracking")])
async def test_a_store_that_is_killed_while_messages_flow_loses_none(
    flow: Flow, stack: LocalStack, name: str, station: str
) -> None:
    server: Server = getattr(stack, name)
    async with flow.flowing():
        in_flight = await hold_up(flow, station, ARRIVED[station])
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(server.start)
    await flow.all_arrives(in_flight, f"{name}: killed")


async def test_mail_ingest_that_is_killed_with_hints_in_hand_loses_none(
    flow: Flow, stack: LocalStack
) -> None:
    """MongoDB, where they are to be noted, is away meanwhile: so they are in hand for certain."""
    world, hints = flow.world, flow.world.bus.log[GRAPH_NOTIFICATIONS.name]
    async with flow.flowing():
        begun = len(hints)
        await until(
            lambda: len(hints) > begun + 2 * len(flow.sellers)
        )  # the webhook knows their subscriptions by heart now
        await asyncio.to_thread(stack.mongod.kill)
        taken = len(hints)
        await until(lambda: len(hints) > taken + len(flow.sellers))
        await asyncio.sleep(0.3)
        in_flight = len(hints) - taken
        await world.each(Process.kill, world.replicas("mail-ingest"))
        await asyncio.to_thread(stack.mongod.start)
        await world.start(*world.replicas("mail-ingest"))
    await flow.all_arrives(in_flight, "mail-ingest: killed with hints in hand")


async def test_tracking_that_is_killed_between_track_and_tracked_tracks_once(flow: Flow) -> None:
    world, ann = flow.world, flow.sellers[0]
    mails = [
        await world.send(CARLA, ann, subject=f"Track me {number}", text=f"Text {number}")
        for number in range(6)
    ]
    items = [item for ((*_, item),) in mails]
    flow.sent.update(item for (item,) in mails)
    await until(lambda: {item for (item,) in mails} <= world.suggestions().keys())
    for pause, pair in zip((0.0, 0.03, 0.3), zip(items[::2], items[1::2], strict=True), strict=True):
        for item in pair:
            assert (await ann.ask("POST", on("opportunity", DEALS[0], item, "track"))).status_code == 202
        await asyncio.sleep(pause)
        await world.each(Process.kill, world.replicas("tracking"))
        await world.start(*world.replicas("tracking"))

    async def all_tracked() -> bool:
        return len((await ann.sees("opportunity", DEALS[0]))[1]) == len(items)

    await until(all_tracked, PATIENT)
    await world.at_rest()
    await world.bus.read_up()
    assert (await ann.sees("opportunity", DEALS[0]))[1] == [f"Track me {number}" for number in range(6)]
    assert world.database("tracking").tracked.count_documents({}) == len(items)
    live = world.bus.live(TRACKED_ACTIVITIES)
    events = [message.value for message in live.values() if isinstance(message.value, ActivityTracked)]
    assert sorted(str(event.subject) for event in events) == [f"Track me {number}" for number in range(6)]
    assert [[(entry.type, entry.id, entry.by) for entry in event.regarding] for event in events] == [
        [("opportunity", DEALS[0], ann.oid)]
    ] * 6
    assert {(message.key, message.version) for message in world.bus.said(TRACKED_ACTIVITIES)} == {
        (key, message.version) for key, message in live.items()
    }
