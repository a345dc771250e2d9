"""Streams: which change reaches which page, and how a stream ends; on the real MongoDB."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from services.tracking.domain.track_request import TrackRequestState
from services.tracking.domain.tracked_activity import remove_regarding
from shared.keys import ItemKey, RecordKey
from tests.tracking.conftest import World
from tests.tracking.streams import open_stream
from tests.tracking.worlds import ACCOUNT, ANN, BEN, NOW, RENEWAL, email, tracked

STREAM = "/records/opportunity/renewal/stream"


@contextlib.asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    """The world with its change loop running; it stops as after SIGTERM, which must not take long."""
    await world.add_record(RENEWAL, "Fleet renewal")
    await world.add_record(ACCOUNT, "Fabrikam")
    for user in (ANN, BEN):
        await world.set_mailbox(user)
    loop = asyncio.create_task(world.service.loops["streams"](world.service.stop_signal))
    try:
        yield world
    finally:
        world.service.stop_signal.set()
        async with asyncio.timeout(3):
            await loop


@pytest.fixture
async def office(world: World) -> AsyncIterator[World]:
    async with running(world):
        yield world


Act = Callable[[World], Awaitable[object]]


async def withdrawn(world: World) -> None:
    await world.suggest(email(), sequence=9)


async def dismissed(world: World) -> None:
    assert (
        await world.request(ANN, "PUT", "/records/opportunity/renewal/suggestions/mail-1/dismissal")
    ).status_code == 204


async def track_requested(world: World) -> None:
    assert (
        await world.request(ANN, "POST", "/records/opportunity/renewal/suggestions/mail-1/track")
    ).status_code == 202


async def failed(world: World) -> None:
    await track_requested(world)
    request = await world.store.track_requests.find_open(ItemKey(ANN.tenant, ANN.oid, "mail-1"))
    assert request
    await asyncio.sleep(0.5)
    await world.store.track_requests.close(request.id, TrackRequestState.FAILED, "gone")


async def shared(world: World) -> None:
    await world.store.tracked_activities.replace_if_unchanged(tracked(email(BEN), (BEN, RENEWAL)), None)


async def untracked(world: World) -> None:
    before = tracked(email(BEN), (BEN, RENEWAL))
    await world.store.tracked_activities.replace_if_unchanged(before, None)
    await asyncio.sleep(0.5)
    after = remove_regarding(before, RENEWAL, BEN.oid, NOW)
    assert after
    await world.store.tracked_activities.replace_if_unchanged(after, before)


async def compared(world: World) -> None:
    before = tracked(email(BEN), (BEN, RENEWAL))
    await world.store.tracked_activities.replace_if_unchanged(before, None)
    await asyncio.sleep(0.5)
    known = replace(before, copies=(replace(before.copies[0], version=7),))
    assert await world.store.tracked_activities.record_copies(known, before)


@pytest.mark.parametrize(
    "act,for_ann,for_ben",
    [
        (lambda world: world.suggest(email(item="new"), RENEWAL), 1, 0),
        (withdrawn, 1, 0),
        (dismissed, 1, 0),
        (track_requested, 1, 0),
        (failed, 2, 0),
        (shared, 1, 1),
        (untracked, 2, 2),
        (compared, 1, 1),
        (lambda world: world.set_mailbox(ANN), 1, 0),
        (lambda world: world.add_record(RENEWAL, "Renamed"), 1, 1),
        (lambda world: world.add_record(ACCOUNT, "Renamed"), 0, 0),
        (
            lambda world: world.suggest(
                email(replace(ANN, tenant="tenant-fabrikam"), item="theirs"),
                RecordKey("tenant-fabrikam", RENEWAL.type, RENEWAL.id),
            ),
            0,
            0,
        ),
    ],
)
async def test_change_reaches_only_the_users_that_it_concerns(
    office: World, act: Act, for_ann: int, for_ben: int
) -> None:
    await office.suggest(email(), RENEWAL)
    async with contextlib.AsyncExitStack() as streams:
        ann = await streams.enter_async_context(open_stream(office, ANN, STREAM))
        await ann.until("ready", "changed")  # the watch has begun: all changes before it count as one
        ben = await streams.enter_async_context(open_stream(office, BEN, STREAM))
        await ben.until("ready")
        await act(office)
        await ann.until("ready", "changed", *["changed"] * for_ann)
        await ben.until("ready", *["changed"] * for_ben)
        await asyncio.sleep(0.3)
        assert len(ann.events) == 2 + for_ann
        assert len(ben.events) == 1 + for_ben
        assert b"Our offer" not in ann.body


async def test_own_stream_reports_own_changes_on_any_record_and_no_others(
    office: World,
) -> None:
    async with contextlib.AsyncExitStack() as streams:
        ann = await streams.enter_async_context(open_stream(office, ANN, "/stream"))
        await ann.until("ready", "changed")
        ben = await streams.enter_async_context(open_stream(office, BEN, "/stream"))
        await ben.until("ready")
        await office.suggest(email(), RENEWAL)
        await ann.until("ready", "changed", "changed")
        await office.suggest(email(item="elsewhere", identity="elsewhere"), ACCOUNT)
        await ann.until("ready", "changed", "changed", "changed")
        await office.suggest(email(BEN, item="of-ben"), RENEWAL)
        await ben.until("ready", "changed")
        await office.add_record(ACCOUNT, "Not readable any more", (f"user:{BEN.oid}",))
        await asyncio.sleep(0.3)
        assert (len(ann.events), len(ben.events)) == (4, 2)
        assert not ann.ended


async def test_change_by_one_replica_reaches_streams_of_another(
    office: World, build: Callable[[], Awaitable[World]]
) -> None:
    other = await build()
    async with open_stream(office, ANN, STREAM) as ann:
        await ann.until("ready", "changed")
        await other.suggest(email(), RENEWAL)
        await ann.until("ready", "changed", "changed")
    await other.store.close()


async def test_hundred_changes_at_once_become_few_events(office: World) -> None:
    async with open_stream(office, ANN, STREAM) as ann:
        await ann.until("ready", "changed")
        await asyncio.gather(*(office.suggest(email(item=f"m-{number}"), RENEWAL) for number in range(100)))
        await asyncio.sleep(0.5)
        assert 3 <= len(ann.events) < 30


async def test_stream_ends_with_gone_when_the_user_may_no_longer_read(
    office: World,
) -> None:
    async with open_stream(office, BEN, STREAM) as ben:
        await ben.until("ready", "changed")
        await office.add_record(RENEWAL, "Fleet renewal", (f"user:{ANN.oid}",))
        await ben.until("ready", "changed", "gone")
        await ben.until_met(lambda received: received.ended, 2)
    assert (await office.request(BEN, "GET", STREAM)).status_code == 404


async def test_stop_signal_ends_every_stream_at_once(world: World) -> None:
    async with running(world), open_stream(world, ANN, STREAM) as ann:
        await ann.until("ready", "changed")
        world.service.stop_signal.set()
        await ann.until_met(lambda received: received.ended, 2)


async def test_disconnected_stream_is_removed(office: World) -> None:
    streams = office.service.health.status["streams"]
    async with open_stream(office, ANN, STREAM) as ann:
        await ann.until("ready", "changed")
        assert await streams() == 1
    assert await streams() == 0
