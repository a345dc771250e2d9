"""Streams: what wakes a page, whom it wakes, and how a stream ends. On the real MongoDB; two replicas share it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from services.tracking.domain.activity import ClaimState, untrack

from .conftest import World
from .streams import listening
from .worlds import ACCOUNT, ANN, BEN, NOW, RENEWAL, email, tracked

STREAM = "/records/opportunity/renewal/stream"


@contextlib.asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    """The world with its loop of changes running; stopped as by SIGTERM, which must not take long."""
    await world.record(RENEWAL, "Fleet renewal")
    await world.record(ACCOUNT, "Fabrikam")
    for user in (ANN, BEN):
        await world.mailbox(user)
    loop = asyncio.create_task(world.service.loops["live"](world.service.stopping))
    try:
        yield world
    finally:
        world.service.stopping.set()
        async with asyncio.timeout(3):
            await loop


@pytest.fixture
async def office(world: World) -> AsyncIterator[World]:
    async with running(world):
        yield world


Act = Callable[[World], Awaitable[object]]


async def withdrawn(world: World) -> None:
    await world.suggest(email(), count=9)


async def dismissed(world: World) -> None:
    assert (
        await world.ask(ANN, "PUT", "/records/opportunity/renewal/suggestions/mail-1/dismissal")
    ).status_code == 204


async def asked_to_track(world: World) -> None:
    assert (
        await world.ask(ANN, "POST", "/records/opportunity/renewal/suggestions/mail-1/track")
    ).status_code == 202


async def failed(world: World) -> None:
    await asked_to_track(world)
    claim = await world.store.claims.open_on((ANN.tenant, ANN.oid, "mail-1"))
    assert claim
    await asyncio.sleep(0.5)
    await world.store.claims.settle(claim.id, ClaimState.FAILED, "gone")


async def shared(world: World) -> None:
    await world.store.tracked.put(tracked(email(BEN), (BEN, RENEWAL)), None)


async def untracked(world: World) -> None:
    before = tracked(email(BEN), (BEN, RENEWAL))
    await world.store.tracked.put(before, None)
    await asyncio.sleep(0.5)
    after = untrack(before, RENEWAL, BEN.oid, NOW)
    assert after
    await world.store.tracked.put(after, before)


@pytest.mark.parametrize(
    "act,hers,his",
    [
        (lambda world: world.suggest(email(item="new"), RENEWAL), 1, 0),
        (withdrawn, 1, 0),
        (dismissed, 1, 0),
        (asked_to_track, 1, 0),
        (failed, 2, 0),
        (shared, 1, 1),
        (untracked, 2, 2),
        (lambda world: world.mailbox(ANN), 1, 0),
        (lambda world: world.record(RENEWAL, "Renamed"), 1, 1),
        (lambda world: world.record(ACCOUNT, "Renamed"), 0, 0),
        (
            lambda world: world.suggest(
                email(replace(ANN, tenant="tenant-fabrikam"), item="theirs"),
                ("tenant-fabrikam", *RENEWAL[1:]),
            ),
            0,
            0,
        ),
    ],
)
async def test_a_change_wakes_whom_it_concerns_and_nobody_else(
    office: World, act: Act, hers: int, his: int
) -> None:
    await office.suggest(email(), RENEWAL)
    async with contextlib.AsyncExitStack() as streams:
        ann = await streams.enter_async_context(listening(office, ANN, STREAM))
        await ann.until("ready", "changed")  # watching has begun: whatever was before it is read again
        ben = await streams.enter_async_context(listening(office, BEN, STREAM))
        await ben.until("ready")
        await act(office)
        await ann.until("ready", "changed", *["changed"] * hers)
        await ben.until("ready", *["changed"] * his)
        await asyncio.sleep(0.3)
        assert len(ann.events) == 2 + hers
        assert len(ben.events) == 1 + his
        assert b"Our offer" not in ann.body


async def test_her_own_stream_tells_of_her_own_things_on_whatever_record_and_of_nobody_else_s(
    office: World,
) -> None:
    async with contextlib.AsyncExitStack() as streams:
        ann = await streams.enter_async_context(listening(office, ANN, "/stream"))
        await ann.until("ready", "changed")
        ben = await streams.enter_async_context(listening(office, BEN, "/stream"))
        await ben.until("ready")
        await office.suggest(email(), RENEWAL)
        await ann.until("ready", "changed", "changed")
        await office.suggest(email(item="elsewhere", identity="elsewhere"), ACCOUNT)
        await ann.until("ready", "changed", "changed", "changed")
        await office.suggest(email(BEN, item="his"), RENEWAL)
        await ben.until("ready", "changed")
        await office.record(ACCOUNT, "Hers to read no longer", (f"user:{BEN.oid}",))
        await asyncio.sleep(0.3)
        assert (len(ann.events), len(ben.events)) == (4, 2)
        assert not ann.ended


async def test_a_replica_hears_what_another_one_did(
    office: World, build: Callable[[], Awaitable[World]]
) -> None:
    other = await build()
    async with listening(office, ANN, STREAM) as ann:
        await ann.until("ready", "changed")
        await other.suggest(email(), RENEWAL)
        await ann.until("ready", "changed", "changed")
    other.store.close()


async def test_a_hundred_changes_at_once_are_told_as_few(office: World) -> None:
    async with listening(office, ANN, STREAM) as ann:
        await ann.until("ready", "changed")
        await asyncio.gather(*(office.suggest(email(item=f"m-{number}"), RENEWAL) for number in range(100)))
        await asyncio.sleep(0.5)
        assert 3 <= len(ann.events) < 30


async def test_a_reader_who_is_no_longer_one_is_told_that_there_is_nothing_and_the_stream_ends(
    office: World,
) -> None:
    async with listening(office, BEN, STREAM) as ben:
        await ben.until("ready", "changed")
        await office.record(RENEWAL, "Fleet renewal", (f"user:{ANN.oid}",))
        await ben.until("ready", "changed", "gone")
        await ben.until_met(lambda heard: heard.ended, 2)
    assert (await office.ask(BEN, "GET", STREAM)).status_code == 404


async def test_a_stop_ends_every_stream_at_once(world: World) -> None:
    async with running(world), listening(world, ANN, STREAM) as ann:
        await ann.until("ready", "changed")
        world.service.stopping.set()
        await ann.until_met(lambda heard: heard.ended, 2)


async def test_whoever_hangs_up_is_forgotten(office: World) -> None:
    streams = office.service.health.status["streams"]
    async with listening(office, ANN, STREAM) as ann:
        await ann.until("ready", "changed")
        assert await streams() == 1
    assert await streams() == 0


async def test_the_page_is_served_with_a_policy_that_allows_no_inline_script(world: World) -> None:
    answer = await world.client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self' https://authority.example;" in policy
    assert "unsafe" not in policy
    assert "<script>" not in answer.text
    assert "style=" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = await world.client.get("/", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert (await world.client.get("/page/app.py")).status_code == 404
    assert (await world.client.get("/page/..%2Fapp.py")).status_code == 404


async def test_the_page_knows_where_to_sign_in_and_names_no_tenant_where_there_are_several(
    world: World,
) -> None:
    assert (await world.client.get("/config.json")).json() == {
        "authority": "https://authority.example",
        "tenant": "organizations",
        "client_id": "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a02",
        "scope": "api://5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a02/Timeline.ReadWrite openid profile offline_access",
    }
