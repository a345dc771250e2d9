"""A replica that was paused while another one did its work changes nothing lasting when it resumes.

Sessions, leases and the interval of the search for foreign writes are short here, so that seconds are enough
for what may take a minute elsewhere.
"""

import asyncio
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from deploy.local.stack import LocalStack
from deploy.local.system import Process
from shared.keys import ItemKey
from shared.topics import ACTIVITIES, MATCHES

from .topics_reader import Pairs
from .waiting import wait_until
from .world import PARTITIONS, User, World, read_status, running_world

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a busy machine

CARLA, EVE = "carla@fabrikam.example", "eve@adatum.example"
SESSION, CHECK, LEASE = timedelta(seconds=3), timedelta(seconds=1), timedelta(seconds=2)
NO_DELAY = {"MATCHER_RECORD_QUIET_PERIOD": "PT0S", "MATCHER_RECORD_MAX_DELAY": "PT0S"}
"""Matches are published at once after a record change.

So a resumed matcher publishes before it observes that its session has expired, if nothing prevents it.
"""
CORRECTION_TIME = 3 * CHECK.total_seconds()
"""Seconds after which a foreign write is certainly detected and corrected."""


@pytest.fixture(scope="module")
async def world(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    env = {"KAFKA_SESSION_TIMEOUT": _iso(SESSION)}
    env_of = {
        "mail-ingest": {
            "MAIL_INGEST_RECONCILE": "false",
            "MAIL_INGEST_LEASE": _iso(LEASE),
            "MAIL_INGEST_WORKERS": "1",
        },
        "matcher": {"MATCHER_FOREIGN_WRITE_CHECK_EVERY": _iso(CHECK), **NO_DELAY},
    }
    async with running_world(
        stack, tmp_path_factory.mktemp("system"), env=env, env_of=env_of, two_of=["matcher", "mail-ingest"]
    ) as world:
        yield world


def _iso(time: timedelta) -> str:
    return f"PT{time.total_seconds():.0f}S"


@pytest.fixture(scope="module")
async def sellers(world: World) -> list[User]:
    names = ("ann", "ben", "cleo", "dan", "ed", "flo")
    return list(await asyncio.gather(*(world.add_user(f"{name}@contoso.example") for name in names)))


async def restored_partitions(matcher: Process) -> int:
    """The number of partitions that a matcher owns; 0 while it restores one."""
    counts = await asyncio.to_thread(read_status, matcher)
    return 0 if counts.get("partitions restoring", 1) else int(counts["partitions"])


def writes_of_previous_owners(world: World) -> list[tuple[int, int]]:
    """(partition, offset) of each message on `matches` that follows one of the partition's next owner."""
    greatest: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    late = []
    for message in world.topics.messages(MATCHES):
        pair, partition = (message.epoch, message.sequence), message.position.partition
        if pair <= greatest[partition]:
            late.append((partition, message.position.offset))
        greatest[partition] = max(greatest[partition], pair)
    return late


async def test_matcher_paused_beyond_its_session_changes_nothing(world: World, sellers: list[User]) -> None:
    await world.publish(
        {"type": "contact", "id": "carla", "emails": [CARLA]},
        {"type": "contact", "id": "eve", "emails": [EVE]},
    )
    items = [
        item
        for number in range(24)
        for item in await world.send_mail(CARLA, sellers[number % 6], subject=f"No. {number}")
    ]
    items_of_eve = await world.send_mail(EVE, *sellers, subject="From Eve")

    async def wait_for_deals(*deals: str) -> None:
        """Waits until `matches` and tracking's suggestions both have these deals for Carla's mail."""
        carlas: Pairs = {("contact", "carla"), *(("opportunity", deal) for deal in deals)}
        expected: dict[ItemKey, Pairs] = {
            **dict.fromkeys(items, carlas),
            **{item: {("contact", "eve")} for item in items_of_eve},
        }

        def is_expected() -> bool:
            return world.topics.matches() == world.suggestions() == expected

        await wait_until(is_expected, failure=lambda: f"{deals} expected, but {differences(world, expected)}")

    await wait_for_deals()
    running, paused = world.replicas("matcher")
    await world.publish({"type": "opportunity", "id": "old", "contact_id": "carla"})
    await wait_for_deals("old")
    assert await restored_partitions(paused) == PARTITIONS / 2

    paused.signal(signal.SIGSTOP)
    await world.publish({"type": "opportunity", "id": "meanwhile", "contact_id": "carla"})

    async def owns_all() -> bool:
        return await restored_partitions(running) == PARTITIONS

    await wait_until(owns_all)
    await wait_for_deals("old", "meanwhile")
    await world.upstream.delete([{"tenant": world.tenant.id, "type": "opportunity", "id": "old"}])
    await wait_for_deals("meanwhile")

    # The paused matcher resumes: its memory is out of date, it takes the partitions for its own, and it
    # receives all record changes of the pause at once.
    paused.signal(signal.SIGCONT)
    await world.publish({"type": "opportunity", "id": "new", "contact_id": "carla"})
    await wait_for_deals("meanwhile", "new")
    await asyncio.sleep(CORRECTION_TIME)
    await world.wait_until_idle()
    await wait_for_deals("meanwhile", "new")
    assert writes_of_previous_owners(world) == [], "it published after the next owner"

    # A computation from the start has the same result.
    for process in (running, paused):
        await asyncio.to_thread(process.stop)
    published = len(world.topics.log[MATCHES.name])
    await world.start(running, paused)
    await world.wait_until_idle()
    await world.topics.catch_up()
    assert len(world.topics.log[MATCHES.name]) == published, "a computation from the start differs"


def differences(world: World, expected: dict[ItemKey, Pairs]) -> list[str]:
    """The first items whose records are not the expected ones."""
    found = {"matches": world.topics.matches(), "suggestions": world.suggestions()}
    return [
        f"{name}: {item} {table.get(item)}"
        for name, table in found.items()
        for item in expected
        if table.get(item) != expected[item]
    ][:4]


async def test_ingest_worker_paused_beyond_its_lease_changes_nothing(
    world: World, sellers: list[User]
) -> None:
    paused = world.replicas("mail-ingest")[1]
    mailboxes = world.database("mail_ingest").mailboxes

    def live() -> set[ItemKey]:
        table = world.topics.table(ACTIVITIES)
        return {item for item in mails if item in table}

    # Graph is slow, so that each of the two replicas holds a mailbox and waits for its mail; at most 20 s.
    await asyncio.to_thread(world.simulator.limits, latency=3.0)
    sending = (
        world.send_mail(CARLA, seller, subject="Forget this", text="Sent in haste") for seller in sellers[:2]
    )
    mails = [item for sent in await asyncio.gather(*sending) for item in sent]
    await wait_until(lambda: mailboxes.count_documents({"lease": {"$ne": None}}) == 2)
    await asyncio.sleep(0.5)  # both have sent their requests to Graph
    paused.signal(signal.SIGSTOP)
    assert not live(), "it had published the activities already"
    await asyncio.to_thread(world.simulator.limits, latency=0.005)

    # The other replica gets the lease, and publishes first the activities, then their tombstones.
    await wait_until(lambda: len(live()) == len(mails))
    for _, mailbox, item in mails:
        await asyncio.to_thread(world.tenant.delete, mailbox, item)
    await wait_until(lambda: not live())

    # The paused replica resumes with Graph's old responses.
    paused.signal(signal.SIGCONT)
    await asyncio.sleep(CORRECTION_TIME)
    await world.wait_until_idle()
    await world.topics.catch_up()
    for key in mails:
        values = world.topics.values(ACTIVITIES, key)
        assert not any(values[values.index(None) :]), f"it published the deleted item {key} again"
    assert not live()
    assert not world.suggestions().keys() & set(mails)
