"""A replica that slept while another did its work, and wakes, changes nothing for long.

Sessions, leases and the matcher's look at its partitions' ends are short here: what may take a minute
elsewhere has seconds.
"""

import asyncio
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from deploy.local.stack import LocalStack
from deploy.local.system import Process
from shared.topics import ACTIVITIES, MATCHES

from .world import PARTITIONS, Item, Pairs, User, World, a_world, status, until

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a machine that may be busy

CARLA, EVE = "carla@fabrikam.example", "eve@adatum.example"
SESSION, LOOK, LEASE = timedelta(seconds=3), timedelta(seconds=1), timedelta(seconds=2)
AT_ONCE = {"QUIET": "PT0S", "AT_MOST": "PT0S"}
"""What a record changes is said at once: a matcher that wakes speaks before it hears that it was asleep, if nothing stops it."""
SOON = 3 * LOOK.total_seconds()


@pytest.fixture(scope="module")
async def world(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    env = {"KAFKA_SESSION_TIMEOUT": _iso(SESSION)}
    env_of = {
        "mail-ingest": {"RECONCILE": "false", "LEASE": _iso(LEASE), "WORKERS": "1"},
        "matcher": {"CHECK_EVERY": _iso(LOOK), **AT_ONCE},
    }
    async with a_world(
        stack, tmp_path_factory.mktemp("system"), env=env, env_of=env_of, two_of=["matcher", "mail-ingest"]
    ) as world:
        yield world


def _iso(time: timedelta) -> str:
    return f"PT{time.total_seconds():.0f}S"


@pytest.fixture(scope="module")
async def sellers(world: World) -> list[User]:
    return list(
        await asyncio.gather(
            *(world.user(f"{name}@contoso.example") for name in ("ann", "ben", "cleo", "dan", "ed", "flo"))
        )
    )


async def partitions_of(matcher: Process) -> int:
    """How many it has taken over."""
    counts = await asyncio.to_thread(status, matcher)
    return 0 if counts.get("takeovers", 1) else int(counts["partitions"])


def words_of_the_past(world: World) -> list[tuple[int, int]]:
    """(partition, offset) of each word on `matches` that was said after the partition's next owner had begun to speak."""
    greatest: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    late = []
    for message in world.bus.said(MATCHES):
        pair = message.epoch, message.count
        if pair <= greatest[message.at.partition]:
            late.append((message.at.partition, message.at.offset))
        greatest[message.at.partition] = max(greatest[message.at.partition], pair)
    return late


async def test_a_matcher_that_slept_past_its_session_changes_nothing(
    world: World, sellers: list[User]
) -> None:
    await world.publish(
        {"type": "contact", "id": "carla", "emails": [CARLA]},
        {"type": "contact", "id": "eve", "emails": [EVE]},
    )
    items = [
        item
        for number in range(24)
        for item in await world.send(CARLA, sellers[number % 6], subject=f"No. {number}")
    ]
    theirs = await world.send(EVE, *sellers, subject="From Eve")

    async def show(*deals: str) -> None:
        """Both what stands on `matches` and what tracking holds."""
        carlas: Pairs = {("contact", "carla"), *(("opportunity", deal) for deal in deals)}
        expected: dict[Item, Pairs] = {
            **dict.fromkeys(items, carlas),
            **{item: {("contact", "eve")} for item in theirs},
        }

        def so() -> bool:
            return world.bus.matches() == world.suggestions() == expected

        await until(so, otherwise=lambda: f"{deals} expected, but {differences(world, expected)}")

    await show()
    awake, sleeper = world.replicas("matcher")
    await world.publish({"type": "opportunity", "id": "old", "contact_id": "carla"})
    await show("old")
    assert await partitions_of(sleeper) == PARTITIONS / 2

    sleeper.signal(signal.SIGSTOP)
    await world.publish({"type": "opportunity", "id": "meanwhile", "contact_id": "carla"})

    async def alone() -> bool:
        return await partitions_of(awake) == PARTITIONS

    await until(alone)
    await show("old", "meanwhile")
    await world.upstream.delete([{"tenant": world.tenant.id, "type": "opportunity", "id": "old"}])
    await show("meanwhile")

    # It wakes: what it has in memory is of the past, it still believes that the partitions are its own,
    # and all record changes that it has slept through come to it at once.
    sleeper.signal(signal.SIGCONT)
    await world.publish({"type": "opportunity", "id": "new", "contact_id": "carla"})
    await show("meanwhile", "new")
    await asyncio.sleep(SOON)
    await world.at_rest()
    await show("meanwhile", "new")
    assert words_of_the_past(world) == [], "it spoke where others had spoken since"

    # Nothing of it is left in what anybody computes afresh.
    for process in (awake, sleeper):
        await asyncio.to_thread(process.stop)
    said = len(world.bus.log[MATCHES.name])
    await world.start(awake, sleeper)
    await world.at_rest()
    await world.bus.read_up()
    assert len(world.bus.log[MATCHES.name]) == said, "a fresh computation differs"


def differences(world: World, expected: dict[Item, Pairs]) -> list[str]:
    """What is not as expected, the first of it."""
    found = {"matches": world.bus.matches(), "suggestions": world.suggestions()}
    return [
        f"{name}: {item} {table.get(item)}"
        for name, table in found.items()
        for item in expected
        if table.get(item) != expected[item]
    ][:4]


async def test_an_ingest_worker_that_slept_past_its_lease_changes_nothing(
    world: World, sellers: list[User]
) -> None:
    sleeper = world.replicas("mail-ingest")[1]
    mailboxes = world.database("mail_ingest").mailboxes

    def there() -> set[Item]:
        live = world.bus.live(ACTIVITIES)
        return {item for item in mails if item in live}

    # Graph takes its time, so that each of the two holds a mailbox and waits for its mail; they wait 20 s at most.
    await asyncio.to_thread(world.simulator.limits, latency=1.0)
    mails = [
        item
        for seller in sellers[:2]
        for item in await world.send(CARLA, seller, subject="Forget this", text="Sent in haste")
    ]
    await until(lambda: mailboxes.count_documents({"lease": {"$ne": None}}) == 2)
    await asyncio.sleep(0.5)  # both have asked
    sleeper.signal(signal.SIGSTOP)
    assert not there(), "it had said them already"
    await asyncio.to_thread(world.simulator.limits, latency=0.005)

    # The other one takes its mailbox, and says first that the mail is there, then that it is gone.
    await until(lambda: len(there()) == len(mails))
    for _, mailbox, item in mails:
        await asyncio.to_thread(world.tenant.delete, mailbox, item)
    await until(lambda: not there())

    # It wakes with Graph's old answers in its hands.
    sleeper.signal(signal.SIGCONT)
    await asyncio.sleep(SOON)
    await world.at_rest()
    await world.bus.read_up()
    words = [(message.key, message.value) for message in world.bus.said(ACTIVITIES) if message.key in mails]
    gone = {key: words.index((key, None)) for key in mails}
    assert not [key for at, (key, value) in enumerate(words) if value and at > gone[key]], (
        "it brought back what was gone"
    )
    assert not there()
    assert not world.suggestions().keys() & set(mails)
