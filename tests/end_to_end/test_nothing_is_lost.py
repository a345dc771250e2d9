"""Everything arrives, although processes are killed while messages flow.

Three things would find a lost message again: a table that is read from its start, a read of Outlook's window,
and a second notification. So these tests switch reconciliation off, Graph notifies once of each mail, and a
matcher starts at its group's commit; tracking always starts at the positions in its database. Each service
has two replicas.
"""

import asyncio
import contextlib
import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

import pytest

from deploy.local.servers import Server
from deploy.local.stack import LocalStack
from deploy.local.system import Process
from shared.events import ActivityTracked
from shared.keys import ItemKey
from shared.topics import ACTIVITIES, GRAPH_NOTIFICATIONS, MATCHES, TRACKED_ACTIVITIES

from .topics_reader import Pairs
from .waiting import wait_until
from .world import SERVICES, User, World, running_world, suggestion_path

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a busy machine

CARLA, DORA = "carla@fabrikam.example", "dora@fabrikam.example"
DEALS = [f"deal-{number}" for number in range(250)]
"""Carla's deals. A mail with many matches takes long to match and to store: a service that is killed after
the first of several has work in progress."""
RELATED: dict[str, Pairs] = {
    CARLA: {("contact", "carla"), ("account", "fabrikam"), *(("opportunity", deal) for deal in DEALS)},
    DORA: {("contact", "dora"), ("account", "fabrikam")},
}
"""Sender -> the records of each mail."""
STARTED = {"mail-ingest": 1, "matcher": 5, "tracking": 1}
"""Service -> queued items that it has put out when it is killed or stopped, and is at work on the others: the
matcher's first messages are a batch of their own, and tracking stores a whole batch at once."""
MAX_IN_FLIGHT = 80
"""The flow pauses while so many items are in flight."""
IDLE_TIMEOUT = 100.0
"""Seconds until the system is idle: rebalances and back-offs add up on a busy machine, and an idle system
delivers nothing more."""
OUTAGE = 4.0
"""Seconds that a store is away: longer than drivers retry by themselves, so that the services must retry."""
DRAIN_TIMEOUT = 30.0
"""Seconds; 10 are promised, on a machine without other load."""


@dataclass(frozen=True)
class Size:
    """The size of a test.

    Attributes:
        times: a service is killed or stopped so often.
        queued: items of Carla that wait at a service before that.
        sender: of the mails that flow meanwhile.
        pause: seconds between two of them.
    """

    times: int
    queued: int
    sender: str
    pause: float


SMALL, FULL = Size(1, 24, DORA, 0.2), Size(10, 40, CARLA, 0.02)


@dataclass
class Flow:
    """Mail to the sellers.

    Attributes:
        sent: the item of every mail that was sent, and its sender.
    """

    world: World
    sellers: list[User]
    size: Size
    sent: dict[ItemKey, str] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Sends mail until the block ends."""
        stop = asyncio.Event()
        sending = asyncio.create_task(self._send_until(stop))
        try:
            yield
        finally:
            stop.set()
            await sending

    async def _send_until(self, stop: asyncio.Event) -> None:
        for seller in itertools.cycle(self.sellers):
            if stop.is_set():
                return
            await wait_until(
                lambda: len(set(self.sent).difference(OUTPUT["matcher"](self.world))) < MAX_IN_FLIGHT
            )
            await self.send(self.size.sender, seller)
            await asyncio.sleep(self.size.pause)

    async def send(self, sender: str, *sellers: User) -> None:
        """Sends one mail to these sellers."""
        items = await self.world.send_mail(sender, *sellers, subject=f"No. {len(self.sent)}", text="Hello")
        self.sent |= dict.fromkeys(items, sender)

    def in_flight(self, name: str) -> set[ItemKey]:
        """The items that a service has received, or receives next, and has not put out yet."""
        received = set(self.sent)
        if name in INPUT:
            received.intersection_update(INPUT[name](self.world))
        return received.difference(OUTPUT[name](self.world))

    async def check_all_arrived(self, in_flight: int, event: str) -> None:
        """Waits until the system is idle, and checks that every store and topic has exactly what was sent."""
        await self.world.wait_until_idle(IDLE_TIMEOUT)
        await self.world.topics.catch_up()
        summary = f"{event} with {in_flight} items in flight; {len(self.sent)} were sent"
        sys.stdout.write(f"{summary}\n")
        activities = set(self.world.topics.table(ACTIVITIES))
        lost, extra = len(self.sent.keys() - activities), len(activities - self.sent.keys())
        assert activities == self.sent.keys(), f"{summary}, {lost} activities are lost, {extra} are too many"
        expected = {item: RELATED[sender] for item, sender in self.sent.items()}
        for name, found in (
            ("matches", self.world.topics.matches()),
            ("suggestions", self.world.suggestions()),
        ):
            wrong = {item for item in expected.keys() | found.keys() if expected.get(item) != found.get(item)}
            lost = len(expected) - len(found)
            assert not wrong, f"{summary}, {lost} {name} are lost, {len(wrong)} are wrong"
        assert in_flight, f"{summary}: nothing could be lost"


Output = Callable[[World], Iterable[tuple[str, ...]]]

OUTPUT: dict[str, Output] = {
    "mail-ingest": lambda world: world.topics.keys[ACTIVITIES.name],
    "matcher": lambda world: world.topics.keys[MATCHES.name],
    "tracking": World.suggested_items,
}
"""Service -> the items that it has put out."""
INPUT: dict[str, Output] = {"matcher": OUTPUT["mail-ingest"], "tracking": OUTPUT["matcher"]}
"""Service -> the items that the service before it has put out."""


@pytest.fixture(scope="module")
async def flow(
    stack: LocalStack, tmp_path_factory: pytest.TempPathFactory, full_size: bool
) -> AsyncIterator[Flow]:
    folder = tmp_path_factory.mktemp("system")
    env_of = {
        "mail-ingest": {"MAIL_INGEST_RECONCILE": "false", "MAIL_INGEST_LEASE": "PT3S"},
        "matcher": {"MATCHER_RESTORE": "false"},
    }
    async with running_world(
        stack, folder, env={"KAFKA_SESSION_TIMEOUT": "PT3S"}, env_of=env_of, two_of=SERVICES
    ) as world:
        world.simulator.delivery(followed_by_updated=False)
        await world.publish(
            {"type": "account", "id": "fabrikam", "name": "Fabrikam"},
            {"type": "contact", "id": "carla", "emails": [CARLA], "parent_account_id": "fabrikam"},
            {"type": "contact", "id": "dora", "emails": [DORA], "parent_account_id": "fabrikam"},
            *(
                {"type": "opportunity", "id": deal, "name": deal, "stakeholder_ids": ["carla"]}
                for deal in DEALS
            ),
        )
        sellers = await asyncio.gather(
            *(world.add_user(f"{name}@contoso.example") for name in ("ann", "ben", "cleo", "dan"))
        )
        await world.wait_until_idle()
        yield Flow(world, list(sellers), FULL if full_size else SMALL)


End = Callable[[Process], None]


def crash(process: Process) -> None:
    process.kill()


def stop(process: Process) -> None:
    """Sends SIGTERM, and waits until the process has ended by itself."""
    process.signal(signal.SIGTERM)
    deadline = time.monotonic() + DRAIN_TIMEOUT
    while process.running:
        assert time.monotonic() < deadline, (
            f"{process.name} has not ended within {DRAIN_TIMEOUT:.0f} s of SIGTERM"
        )
        time.sleep(0.02)
    assert process.background.exit_code == 0, process.background.tail()


VICTIMS: dict[End, int] = {crash: 0, stop: 1}
"""How a replica ends -> the number of the replica; the other one continues."""


@pytest.mark.sized("loss")
@pytest.mark.parametrize("name", SERVICES)
async def test_service_that_ends_loses_no_message(flow: Flow, name: str) -> None:
    """One replica crashes; when it is back, the other one is stopped."""
    for _ in range(flow.size.times):
        in_flight = []
        async with flow.flowing():
            for end, number in VICTIMS.items():
                victim = flow.world.replicas(name)[number]
                in_flight.append(await queue_items(flow, name))
                await asyncio.to_thread(end, victim)
                await asyncio.to_thread(victim.start)
        await flow.check_all_arrived(min(in_flight), f"{name}: one crashed, and one stopped")


async def queue_items(flow: Flow, name: str) -> int:
    """Lets items queue before a service, and lets it start on them.

    Returns:
        The number of queued items that are still in flight.
    """

    async def queue_and_resume() -> int:
        for process in flow.world.replicas(name):
            process.signal(signal.SIGSTOP)
        for _ in range(flow.size.queued // len(flow.sellers)):
            await flow.send(CARLA, *flow.sellers)
        await wait_until(lambda: len(flow.in_flight(name)) >= flow.size.queued)
        queued = flow.in_flight(name)
        for process in flow.world.replicas(name):
            process.signal(signal.SIGCONT)
        await wait_until(lambda: len(queued - flow.in_flight(name)) >= STARTED[name], pause=0.001)
        return len(queued & flow.in_flight(name))

    in_flight: int = await wait_until(queue_and_resume)  # again, if the service was faster than the count
    return in_flight


@pytest.mark.parametrize("name, service", [("kafka", "matcher"), ("mongod", "tracking")])
async def test_killed_store_loses_no_message(flow: Flow, stack: LocalStack, name: str, service: str) -> None:
    server: Server = getattr(stack, name)
    async with flow.flowing():
        in_flight = await queue_items(flow, service)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(OUTAGE)
        await asyncio.to_thread(server.start)
    await flow.check_all_arrived(in_flight, f"{name}: killed")


async def test_killed_mail_ingest_loses_no_notification(flow: Flow, stack: LocalStack) -> None:
    """MongoDB, where mail-ingest records them, is away: so the notifications are certainly not recorded."""
    world, notifications = flow.world, flow.world.topics.log[GRAPH_NOTIFICATIONS.name]
    # The webhook finds the subscriptions of somebody new in MongoDB now, and for 10 s in its cache.
    to_eve = Flow(world, [await world.add_user("eve@contoso.example")], flow.size, flow.sent)
    async with to_eve.flowing():
        before = len(notifications)
        await wait_until(lambda: len(notifications) > before + 1)
        # On a busy machine the flow could be at its limit: then no more mail would be sent.
        await wait_until(lambda: len(flow.in_flight("mail-ingest")) < MAX_IN_FLIGHT // 2)
        await asyncio.to_thread(stack.mongod.kill)
        recorded = len(notifications)
        await wait_until(lambda: len(notifications) > recorded + 4)
        await asyncio.sleep(0.3)
        in_flight = len(notifications) - recorded
        await world.for_each(Process.kill, world.replicas("mail-ingest"))
        await asyncio.to_thread(stack.mongod.start)
        await world.start(*world.replicas("mail-ingest"))
    await flow.check_all_arrived(in_flight, "mail-ingest: killed with unrecorded notifications")


async def test_tracking_killed_during_track_tracks_once(flow: Flow) -> None:
    world, ann = flow.world, flow.sellers[0]
    mails = [
        await world.send_mail(CARLA, ann, subject=f"Track me {number}", text=f"Text {number}")
        for number in range(6)
    ]
    items = [item for ((*_, item),) in mails]
    flow.sent |= {item: CARLA for (item,) in mails}
    await wait_until(lambda: {item for (item,) in mails} <= world.suggestions().keys())
    for pause, pair in zip((0.0, 0.03, 0.3), zip(items[::2], items[1::2], strict=True), strict=True):
        for item in pair:
            response = await ann.request("POST", suggestion_path("opportunity", DEALS[0], item, "track"))
            assert response.status_code == 202
        await asyncio.sleep(pause)
        await world.for_each(Process.kill, world.replicas("tracking"))
        await world.start(*world.replicas("tracking"))

    async def all_are_tracked() -> bool:
        return len((await ann.tiles("opportunity", DEALS[0]))[1]) == len(items)

    await wait_until(all_are_tracked, IDLE_TIMEOUT)
    await world.wait_until_idle()
    await world.topics.catch_up()
    assert (await ann.tiles("opportunity", DEALS[0]))[1] == [f"Track me {number}" for number in range(6)]
    assert world.database("tracking").tracked_activities.count_documents({}) == len(items)
    table = world.topics.table(TRACKED_ACTIVITIES)
    events = [message.value for message in table.values() if isinstance(message.value, ActivityTracked)]
    assert sorted(str(event.subject) for event in events) == [f"Track me {number}" for number in range(6)]
    assert [[(entry.type, entry.id, entry.by) for entry in event.regarding] for event in events] == [
        [("opportunity", DEALS[0], ann.oid)]
    ] * 6
    assert {(message.key, message.version) for message in world.topics.messages(TRACKED_ACTIVITIES)} == {
        (key, message.version) for key, message in table.items()
    }


async def test_killed_services_lose_no_change_of_a_tracked_item(flow: Flow) -> None:
    world, ann, deal = flow.world, flow.sellers[0], DEALS[1]
    items = []
    for number in range(4):
        (key,) = await world.send_mail(CARLA, ann, subject=f"Follow me {number}", text=f"Follow {number}")
        flow.sent[key] = CARLA
        items.append(key.item)
    await wait_until(lambda: flow.sent.keys() <= world.suggestions().keys(), IDLE_TIMEOUT)
    for item in items:
        await ann.request("POST", suggestion_path("opportunity", deal, item, "track"))
    await wait_for_subjects(ann, deal, [f"Follow me {number}" for number in range(4)])
    await world.wait_until_idle(IDLE_TIMEOUT)
    for run, names in enumerate((["mail-ingest"], ["tracking"], ["mail-ingest", "tracking"])):
        for number, item in enumerate(items):
            await asyncio.to_thread(
                world.tenant.do,
                "/messages/change",
                mailbox=ann.oid,
                id=item,
                subject=f"Changed {run} of {number}",
            )
        await asyncio.sleep(0.1 * run)
        for name in names:
            await world.for_each(Process.kill, world.replicas(name))
        for name in names:
            await world.start(*world.replicas(name))
    expected = [f"Changed 2 of {number}" for number in range(4)]
    await wait_for_subjects(ann, deal, expected)
    await world.wait_until_idle(IDLE_TIMEOUT)
    await world.topics.catch_up()
    latest = [
        message.value
        for message in world.topics.table(TRACKED_ACTIVITIES).values()
        if isinstance(message.value, ActivityTracked) and message.value.regarding[0].id == deal
    ]
    assert sorted(str(event.subject) for event in latest) == expected


async def wait_for_subjects(user: User, deal: str, subjects: list[str]) -> None:
    """Waits until these are the tracked activities of a deal."""

    async def are_shown() -> bool:
        return (await user.tiles("opportunity", deal))[1] == subjects

    await wait_until(are_shown, IDLE_TIMEOUT, lambda: f"not {subjects}")
