"""From Track to the event that dashboards read, on the real Kafka and the real MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from services.tracking.domain.activity import Ask, claim
from services.tracking.domain.visibility import User
from services.tracking.signin import AuthorityKeys
from shared.clock import system_clock
from shared.events import Activity, ActivityTracked, ActivityUntracked, ContentAnswered, FetchContent
from shared.records import RecordKey
from shared.topics import CONTENT_REQUESTS, TRACKED_ACTIVITIES

from .authority import URL, Authority
from .bus import Bus, Tracking, a_bus, a_tracking, command
from .worlds import ACCOUNT, ANN, BEN, RENEWAL, content, email

NOW = datetime.now(UTC) - timedelta(hours=1)
ON = "/records/opportunity/renewal"


class Desk:
    """Users in front of a running tracking."""

    def __init__(self, client: httpx2.AsyncClient, authority: Authority) -> None:
        self._client = client
        self._authority = authority

    async def ask(self, user: User, method: str, path: str) -> httpx2.Response:
        now = int(datetime.now(UTC).timestamp())
        headers = self._authority.bearer(user, nbf=now - 10, exp=now + 3600)
        return await self._client.request(method, f"/api/v1{path}", headers=headers)

    async def track(self, user: User, item: str, record: RecordKey = RENEWAL) -> httpx2.Response:
        return await self.ask(user, "POST", f"/records/{record[1]}/{record[2]}/suggestions/{item}/track")

    async def tiles(self, user: User, record: RecordKey = RENEWAL) -> tuple[list[Any], list[Any]]:
        """(state, reason) of her suggestions, and who is on each tracked tile."""
        timeline = (await self.ask(user, "GET", f"/records/{record[1]}/{record[2]}/timeline")).json()
        return [(tile["state"], tile["reason"]) for tile in timeline["suggestions"]], [
            [entry["by"] for entry in tile["regarding"]] for tile in timeline["tracked"]
        ]


@pytest.fixture
async def bus(environment: dict[str, str]) -> AsyncIterator[Bus]:
    async with a_bus(environment) as bus:
        await bus.record(RENEWAL, name="Fleet renewal", readers=["*"])
        await bus.record(ACCOUNT, name="Fabrikam")
        await bus.mailbox(ANN.oid)
        await bus.mailbox(BEN.oid)
        yield bus


@pytest.fixture
async def desk(bus: Bus) -> AsyncIterator[tuple[Tracking, Desk]]:
    authority = Authority()
    keys = AuthorityKeys(URL, system_clock, transport=authority.transport)
    async with a_tracking(bus.environment, keys) as tracking:
        await tracking.until_quiet()
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(tracking.service.http[0][2]), base_url="http://tracking"
        ) as client:
            yield tracking, Desk(client, authority)


def mail(owner: User = ANN, item: str = "m-1", **changes: Any) -> Activity:
    return email(owner, item, at=NOW, **changes)


async def events(bus: Bus) -> list[Any]:
    """Every value that was said of tracked activities, tombstones as None."""
    return [message.value for message in await bus.said(TRACKED_ACTIVITIES)]


async def test_track_is_asked_of_mail_ingest_stored_and_announced_once(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    await bus.match((mail(), [RENEWAL]))
    await tracking.until_quiet()
    assert (await office.track(ANN, "m-1")).json()["state"] == "pending"
    bus.be_mail_ingest({"oid-ann/m-1": mail()})
    await tracking.until_quiet()

    [request] = await bus.said(CONTENT_REQUESTS)
    assert isinstance(request.value, FetchContent)
    assert (request.key, request.value.item) == ((ANN.tenant, ANN.oid), "m-1")
    assert await office.tiles(ANN) == ([], [["oid-ann"]])
    assert await office.tiles(BEN) == ([], [["oid-ann"]])
    [event] = await events(bus)
    assert isinstance(event, ActivityTracked)
    assert [(entry.id, entry.name, entry.by, entry.readers) for entry in event.regarding] == [
        ("renewal", "Fleet renewal", "oid-ann", ("*",))
    ]


async def test_two_owners_at_once_are_one_tracked_activity(bus: Bus, desk: tuple[Tracking, Desk]) -> None:
    tracking, office = desk
    await bus.match((mail(ANN, "of-ann"), [RENEWAL]), (mail(BEN, "of-ben"), [RENEWAL]))
    await tracking.until_quiet()
    bus.be_mail_ingest({"oid-ann/of-ann": mail(ANN, "of-ann"), "oid-ben/of-ben": mail(BEN, "of-ben")})
    answers = await asyncio.gather(
        *(office.track(user, item) for user, item in ((ANN, "of-ann"), (BEN, "of-ben"), (ANN, "of-ann")))
    )
    assert [answer.json()["state"] for answer in answers] == ["pending"] * 3
    await tracking.until_quiet()

    [document] = await bus.stored("tracked")
    assert sorted(entry["by"] for entry in document["regarding"]) == ["oid-ann", "oid-ben"]
    suggestions, [tile] = await office.tiles(ANN)
    assert (suggestions, sorted(tile)) == ([], ["oid-ann", "oid-ben"])
    said = await events(bus)
    assert len({event.revision for event in said}) == len(said) <= 2, "one event for each change"
    assert sorted(entry.by for entry in said[-1].regarding) == ["oid-ann", "oid-ben"]


async def test_copies_of_other_text_are_activities_of_their_own(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    edited = mail(BEN, "of-ben", participants=mail().participants[:2])
    await bus.match((mail(ANN, "of-ann"), [RENEWAL]), (edited, [RENEWAL]))
    await tracking.until_quiet()
    # Both ask before either is tracked; afterwards the other's is hidden as tracked by a colleague.
    await asyncio.gather(office.track(ANN, "of-ann"), office.track(BEN, "of-ben"))
    bus.be_mail_ingest({"oid-ann/of-ann": mail(ANN, "of-ann"), "oid-ben/of-ben": edited})
    await tracking.until_quiet()
    assert sorted((await office.tiles(ANN))[1]) == [["oid-ann"], ["oid-ben"]]


async def test_a_failed_claim_fails_for_all_who_joined_and_can_be_tried_again(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    await bus.match((mail(), [RENEWAL, ACCOUNT]))
    await tracking.until_quiet()
    await asyncio.gather(*(office.track(ANN, "m-1", record) for record in (RENEWAL, ACCOUNT, RENEWAL)))
    bus.be_mail_ingest({}, unavailable="gone")
    await tracking.until_quiet()
    assert await office.tiles(ANN, RENEWAL) == ([("failed", "gone")], [])
    assert await office.tiles(ANN, ACCOUNT) == ([("failed", "gone")], [])
    assert await events(bus) == []
    assert len(await bus.said(CONTENT_REQUESTS)) == 1
    assert "activity" not in (await bus.stored("claims"))[0], "nothing of the item stays on a settled claim"

    assert (await office.track(ANN, "m-1")).json()["state"] == "pending"
    await tracking.until_quiet()
    assert len(await bus.said(CONTENT_REQUESTS)) == 2


async def test_content_for_a_claim_that_is_no_longer_open_is_dropped(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, _ = desk
    late = claim("late", mail(), Ask(RENEWAL, ANN.oid, NOW - timedelta(hours=1)), timedelta(minutes=10))
    await bus.store.claims.put(late, mail())
    for claim_id in ("late", "never-heard-of"):
        await bus.answer(
            (ANN.tenant, ANN.oid),
            ContentAnswered(claim=claim_id, item="m-1", content=content(mail()), unavailable=None),
        )
    await tracking.until_quiet()
    assert await bus.stored("tracked") == []
    [document] = await bus.stored("claims")
    assert (document["state"], document["reason"]) == ("failed", "no_answer")


async def test_content_of_another_s_item_is_refused(bus: Bus, desk: tuple[Tracking, Desk]) -> None:
    tracking, _ = desk
    hers = claim("hers", mail(), Ask(RENEWAL, ANN.oid, datetime.now(UTC)), timedelta(minutes=10))
    await bus.store.claims.put(hers, mail())
    bens = ContentAnswered(claim="hers", item="m-1", content=content(mail(BEN, "m-1")), unavailable=None)
    await bus.answer((ANN.tenant, BEN.oid), bens)
    await bus.answer((ANN.tenant, ANN.oid), bens)
    await bus.answer(
        (ANN.tenant, ANN.oid), ContentAnswered(claim="hers", item="m-1", content=None, unavailable="gone")
    )
    await tracking.until_quiet()
    assert await bus.stored("tracked") == []
    assert (await bus.stored("claims"))[0]["reason"] == "gone"


async def test_the_same_answer_twice_changes_nothing_even_after_an_untrack(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    await bus.match((mail(), [RENEWAL]))
    await tracking.until_quiet()
    await office.track(ANN, "m-1")
    bus.be_mail_ingest({"oid-ann/m-1": mail()})
    await tracking.until_quiet()
    [document] = await bus.stored("tracked")
    assert (
        await office.ask(ANN, "DELETE", f"{ON}/tracked/{document['_id'].split('/')[1]}")
    ).status_code == 204
    await tracking.until_quiet()

    [request] = await bus.said(CONTENT_REQUESTS)
    assert isinstance(request.value, FetchContent)
    again = ContentAnswered(claim=request.value.claim, item="m-1", content=content(mail()), unavailable=None)
    await bus.answer((ANN.tenant, ANN.oid), again)
    await tracking.until_quiet()
    assert await office.tiles(ANN) == ([("untracked", None)], [])


async def test_the_last_untrack_is_said_with_ids_only_and_then_a_tombstone(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    await bus.match((mail(), [RENEWAL]))
    await tracking.until_quiet()
    await office.track(ANN, "m-1")
    bus.be_mail_ingest({"oid-ann/m-1": mail()})
    await tracking.until_quiet()
    [document] = await bus.stored("tracked")
    activity = document["_id"].split("/")[1]
    await office.ask(ANN, "DELETE", f"{ON}/tracked/{activity}")
    await tracking.until_quiet()

    tracked, untracked, tombstone = await events(bus)
    assert untracked == ActivityUntracked(tenant=ANN.tenant, activity=activity, revision=untracked.revision)
    assert untracked.revision > tracked.revision
    assert tombstone is None
    [left] = await bus.stored("tracked")
    assert left.keys() == {"_id", "tenant", "identity", "regarding", "touched", "revision", "delete_at"}
    assert await office.tiles(ANN) == ([("untracked", None)], [])

    await office.track(ANN, "m-1")
    await tracking.until_quiet()
    last = (await bus.announced())[activity]
    assert isinstance(last, ActivityTracked)
    assert last.revision > untracked.revision
    assert "delete_at" not in (await bus.stored("tracked"))[0]


async def test_when_a_record_s_name_or_readers_change_or_it_goes_its_activities_are_announced_again(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    await bus.match((mail(), [RENEWAL]))
    await tracking.until_quiet()
    await office.track(ANN, "m-1")
    bus.be_mail_ingest({"oid-ann/m-1": mail()})
    await tracking.until_quiet()

    async def last() -> tuple[Any, ...]:
        await tracking.until_quiet()
        [event] = (await bus.announced()).values()
        assert isinstance(event, ActivityTracked)
        [entry] = event.regarding
        return entry.name, entry.readers, entry.deleted

    assert await last() == ("Fleet renewal", ("*",), False)
    await bus.record(RENEWAL, name="Renamed", readers=["*"])
    assert await last() == ("Renamed", ("*",), False)
    await bus.record(RENEWAL, name="Renamed", readers=["user:oid-ann"])
    assert await last() == ("Renamed", ("user:oid-ann",), False)
    said = len(await events(bus))
    await bus.record(
        RENEWAL,
        name="Renamed",
        readers=["user:oid-ann"],
        modified_on="2026-11-20T09:12:00Z",
        emails=["a@b.c"],
    )
    assert await last() == ("Renamed", ("user:oid-ann",), False)
    assert len(await events(bus)) == said, "what nobody can see on a tile is not announced"
    await bus.raw_record(RENEWAL, b"broken")
    assert await last() == (None, ("user:oid-ann",), True)
    await bus.raw_record(RENEWAL, None)
    assert await last() == (None, ("user:oid-ann",), True)
    await bus.record(RENEWAL, name="Back")
    assert await last() == ("Back", ("*",), False)


async def test_resend_says_every_tracked_activity_again(bus: Bus, desk: tuple[Tracking, Desk]) -> None:
    tracking, office = desk
    await bus.match((mail(), [RENEWAL]))
    await tracking.until_quiet()
    await office.track(ANN, "m-1")
    bus.be_mail_ingest({"oid-ann/m-1": mail()})
    await tracking.until_quiet()
    await command(bus.environment, "resend")
    await tracking.until_quiet()
    first, again = await events(bus)
    assert first == again


async def test_what_changed_while_it_was_said_is_said_again(bus: Bus, desk: tuple[Tracking, Desk]) -> None:
    """Two replicas: one takes a state and sleeps, the other says a newer one; the sleeper's word is corrected."""
    tracking, office = desk
    await bus.match((mail(), [RENEWAL]))
    await tracking.until_quiet()
    await office.track(ANN, "m-1")
    bus.be_mail_ingest({"oid-ann/m-1": mail()})
    await tracking.until_quiet()
    [document] = await bus.stored("tracked")
    old = await bus.store.tracked.one(ANN.tenant, document["_id"].split("/")[1])
    assert old
    await bus.record(RENEWAL, name="Renamed")
    await tracking.until_quiet()

    await bus.store.tracked.confirm([old], datetime.now(UTC))
    await tracking.until_quiet()
    said = await events(bus)
    assert [event.regarding[0].name for event in said] == ["Fleet renewal", "Renamed", "Renamed"]
