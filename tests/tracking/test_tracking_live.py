"""From Track to the event that dashboards read, on the real Kafka and the real MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.tracking.domain.track_request import open_request
from services.tracking.domain.visibility import User
from services.tracking.store.id_ranges import ANY
from shared.events import Activity, ActivityTracked, ActivityUntracked, ContentAnswered, FetchContent
from shared.keys import TrackedActivityKey
from shared.messages import ValueMessage
from shared.topics import CONTENT, CONTENT_REQUESTS, RECORDS, TRACKED_ACTIVITIES

from .authority import Authority
from .bus import Bus, Tracking, a_bus, a_tracking, run_command, until
from .desk import Desk, a_desk, keys_of
from .worlds import ACCOUNT, ANN, BEN, RENEWAL, content, email, regarding

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
ON = "/records/opportunity/renewal"


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
    async with a_tracking(bus.environment, keys_of(authority)) as tracking:
        await tracking.until_quiet()
        async with a_desk(tracking, authority) as desk:
            yield tracking, desk


def mail(owner: User = ANN, item: str = "m-1", **changes: Any) -> Activity:
    return email(owner, item, at=NOW, **changes)


async def events(bus: Bus) -> list[Any]:
    """All values on `tracked-activities`, tombstones as None."""
    return await bus.read_values(TRACKED_ACTIVITIES)


async def fetch_requests(bus: Bus) -> list[FetchContent]:
    """All requests for content on `content-requests`."""
    return [value for value in await bus.read_values(CONTENT_REQUESTS) if isinstance(value, FetchContent)]


async def track_mail_1(bus: Bus, tracking: Tracking, office: Desk) -> str:
    """Ann tracks an e-mail on the opportunity; returns the id of the tracked activity."""
    await bus.match((mail(), [RENEWAL]))
    await tracking.until_quiet()
    await office.track(ANN, "m-1")
    bus.answer_all_requests({"oid-ann/m-1": mail()})
    await tracking.until_quiet()
    return await bus.stored_tracked_id()


async def test_track_fetches_stores_and_publishes_once(bus: Bus, desk: tuple[Tracking, Desk]) -> None:
    tracking, office = desk
    await bus.match((mail(), [RENEWAL]))
    await tracking.until_quiet()
    assert (await office.track(ANN, "m-1")).json()["state"] == "pending"
    bus.answer_all_requests({"oid-ann/m-1": mail()})
    await tracking.until_quiet()

    request, follow = await bus.read_all(CONTENT_REQUESTS)
    assert isinstance(request, ValueMessage)
    assert isinstance(follow, ValueMessage)
    assert (request.key, request.value.item) == (ANN.mailbox_key, "m-1")
    [followed] = follow.value.items
    assert (follow.key, followed.item) == (ANN.mailbox_key, "m-1")
    [answer] = await bus.read_all(CONTENT)
    assert (followed.version, followed.until) == (answer.version, NOW + timedelta(days=3))
    assert await office.tiles(ANN) == ([], [["oid-ann"]])
    assert await office.tiles(BEN) == ([], [["oid-ann"]])
    [event] = await events(bus)
    assert isinstance(event, ActivityTracked)
    assert [(entry.id, entry.name, entry.by, entry.readers) for entry in event.regarding] == [
        ("renewal", "Fleet renewal", "oid-ann", ("*",))
    ]


async def test_two_owners_at_once_share_one_tracked_activity(bus: Bus, desk: tuple[Tracking, Desk]) -> None:
    tracking, office = desk
    await bus.match((mail(ANN, "of-ann"), [RENEWAL]), (mail(BEN, "of-ben"), [RENEWAL]))
    await tracking.until_quiet()
    bus.answer_all_requests({"oid-ann/of-ann": mail(ANN, "of-ann"), "oid-ben/of-ben": mail(BEN, "of-ben")})
    answers = await asyncio.gather(
        *(office.track(user, item) for user, item in ((ANN, "of-ann"), (BEN, "of-ben"), (ANN, "of-ann")))
    )
    assert [answer.json()["state"] for answer in answers] == ["pending"] * 3
    await tracking.until_quiet()

    [document] = await bus.stored("tracked_activities")
    assert sorted(entry["by"] for entry in document["regarding"]) == ["oid-ann", "oid-ben"]
    suggestions, [tile] = await office.tiles(ANN)
    assert (suggestions, sorted(tile)) == ([], ["oid-ann", "oid-ben"])
    published = await events(bus)
    assert len({event.revision for event in published}) == len(published) <= 2, "one event for each change"
    assert sorted(entry.by for entry in published[-1].regarding) == ["oid-ann", "oid-ben"]


async def test_copies_with_other_participants_are_activities_of_their_own(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    edited = mail(BEN, "of-ben", participants=mail().participants[:2])
    await bus.match((mail(ANN, "of-ann"), [RENEWAL]), (edited, [RENEWAL]))
    await tracking.until_quiet()
    # Both requests precede the first answer; later the other item is hidden as tracked by a colleague.
    await asyncio.gather(office.track(ANN, "of-ann"), office.track(BEN, "of-ben"))
    bus.answer_all_requests({"oid-ann/of-ann": mail(ANN, "of-ann"), "oid-ben/of-ben": edited})
    await tracking.until_quiet()
    assert sorted((await office.tiles(ANN))[1]) == [["oid-ann"], ["oid-ben"]]


async def test_failed_request_fails_for_all_its_records_and_can_be_repeated(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    await bus.match((mail(), [RENEWAL, ACCOUNT]))
    await tracking.until_quiet()
    await asyncio.gather(*(office.track(ANN, "m-1", record) for record in (RENEWAL, ACCOUNT, RENEWAL)))
    bus.answer_all_requests({}, unavailable="gone")
    await tracking.until_quiet()
    assert await office.tiles(ANN, RENEWAL) == ([("failed", "gone")], [])
    assert await office.tiles(ANN, ACCOUNT) == ([("failed", "gone")], [])
    assert await events(bus) == []
    assert len(await fetch_requests(bus)) == 1
    assert "activity" not in (await bus.stored("track_requests"))[0], (
        "a closed request keeps nothing of the item"
    )

    assert (await office.track(ANN, "m-1")).json()["state"] == "pending"
    await tracking.until_quiet()
    assert len(await fetch_requests(bus)) == 2


async def test_request_that_mail_ingest_has_lost_is_answered_when_it_comes_again(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    await bus.match((mail(), [RENEWAL]))
    await tracking.until_quiet()
    await office.track(ANN, "m-1")

    async def sent(count: int) -> bool:
        return len(await fetch_requests(bus)) == count

    await until(lambda: sent(1))  # and nobody answers
    overdue = {"repeat_at": datetime.now(UTC) - timedelta(seconds=1)}
    await bus.store.collection("track_requests").update_many(ANY, {"$set": overdue})
    await until(lambda: sent(2))
    first, again = await fetch_requests(bus)
    assert first == again
    bus.answer_all_requests({"oid-ann/m-1": mail()})  # both of them
    await tracking.until_quiet()
    assert await office.tiles(ANN) == ([], [["oid-ann"]])
    assert len(await events(bus)) == 1


async def test_content_for_a_request_that_is_not_open_is_dropped(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, _ = desk
    [entry] = regarding((ANN, RENEWAL), at=NOW - timedelta(hours=1))
    await bus.store.track_requests.insert(open_request("late", mail(), entry, timedelta(minutes=10)), mail())
    for request_id in ("late", "unknown"):
        await bus.answer(
            ANN.mailbox_key, ContentAnswered(request=request_id, item="m-1", content=content(mail()))
        )
    await tracking.until_quiet()
    assert await bus.stored("tracked_activities") == []
    [document] = await bus.stored("track_requests")
    assert (document["state"], document["reason"]) == ("failed", "no_answer")


async def test_content_of_another_item_is_a_dead_letter(bus: Bus, desk: tuple[Tracking, Desk]) -> None:
    tracking, _ = desk
    [entry] = regarding((ANN, RENEWAL), at=datetime.now(UTC))
    await bus.store.track_requests.insert(open_request("r", mail(), entry, timedelta(minutes=10)), mail())
    of_ben = content(mail(BEN, "m-1"))
    other_item = content(mail(ANN, "m-2"))
    for mailbox, item, answered in (
        (BEN.mailbox_key, "m-1", of_ben),  # of another mailbox than the request
        (ANN.mailbox_key, "m-1", of_ben),  # key and body do not agree
        (ANN.mailbox_key, "m-2", other_item),  # of another item than the request
        (ANN.mailbox_key, "m-1", other_item),  # item and content do not agree
    ):
        await bus.answer(mailbox, ContentAnswered(request="r", item=item, content=answered))
    await tracking.until_quiet(except_for=frozenset({"open track requests"}))
    fields = sorted(field for *_, field in await bus.read_dead_letters(CONTENT))
    assert fields == ["content.activity", "content.activity.mailbox", "request", "request"]
    await bus.answer(ANN.mailbox_key, ContentAnswered(request="r", item="m-1", unavailable="gone"))
    await tracking.until_quiet()
    assert await bus.stored("tracked_activities") == []
    assert (await bus.stored("track_requests"))[0]["reason"] == "gone"


async def test_same_answer_twice_changes_nothing_even_after_an_untrack(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    activity = await track_mail_1(bus, tracking, office)
    assert (await office.request(ANN, "DELETE", f"{ON}/tracked/{activity}")).status_code == 204
    await tracking.until_quiet()

    [request] = await fetch_requests(bus)
    again = ContentAnswered(request=request.request, item="m-1", content=content(mail()))
    await bus.answer(ANN.mailbox_key, again)
    await tracking.until_quiet()
    assert await office.tiles(ANN) == ([("untracked", None)], [])


async def test_last_untrack_publishes_ids_only_and_then_a_tombstone(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    activity = await track_mail_1(bus, tracking, office)
    await office.request(ANN, "DELETE", f"{ON}/tracked/{activity}")
    await tracking.until_quiet()

    tracked, untracked, tombstone = await events(bus)
    assert untracked == ActivityUntracked(tenant=ANN.tenant, activity=activity, revision=untracked.revision)
    assert untracked.revision > tracked.revision
    assert tombstone is None
    [left] = await bus.stored("tracked_activities")
    assert left.keys() - {"topic_revision", "topic_generation"} == {
        "_id",
        "tenant",
        "identity",
        "regarding",
        "affected_records",
        "copies",
        "revision",
        "delete_at",
    }
    assert await office.tiles(ANN) == ([("untracked", None)], [])

    await office.track(ANN, "m-1")
    await tracking.until_quiet()
    last = (await bus.tracked_states())[activity]
    assert isinstance(last, ActivityTracked)
    assert last.revision > untracked.revision
    assert "delete_at" not in (await bus.stored("tracked_activities"))[0]


async def test_change_of_a_record_publishes_its_activities_again(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    await track_mail_1(bus, tracking, office)

    async def last() -> tuple[Any, ...]:
        await tracking.until_quiet()
        [event] = (await bus.tracked_states()).values()
        assert isinstance(event, ActivityTracked)
        [entry] = event.regarding
        return entry.name, entry.readers, entry.deleted

    assert await last() == ("Fleet renewal", ("*",), False)
    await bus.record(RENEWAL, name="Renamed", readers=["*"])
    assert await last() == ("Renamed", ("*",), False)
    await bus.record(RENEWAL, name="Renamed", readers=["user:oid-ann"])
    assert await last() == ("Renamed", ("user:oid-ann",), False)
    count = len(await events(bus))
    await bus.record(
        RENEWAL,
        name="Renamed",
        readers=["user:oid-ann"],
        modified_on="2026-11-20T09:12:00Z",
        emails=["a@b.c"],
    )
    assert await last() == ("Renamed", ("user:oid-ann",), False)
    assert len(await events(bus)) == count, "a change that no tile shows is not published"
    await bus.raw(RECORDS, RENEWAL, b"broken")
    assert await last() == (None, ("user:oid-ann",), True)
    await bus.raw(RECORDS, RENEWAL, None)
    assert await last() == (None, ("user:oid-ann",), True)
    await bus.record(RENEWAL, name="Back")
    assert await last() == ("Back", ("*",), False)


async def test_resend_publishes_every_tracked_activity_under_a_new_revision(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    tracking, office = desk
    await track_mail_1(bus, tracking, office)
    await run_command(bus.environment, "resend")
    await tracking.until_quiet()
    first, again = await events(bus)
    assert again.revision > first.revision
    assert again == first.model_copy(update={"revision": again.revision})


async def test_newer_state_is_published_again_after_a_late_acknowledgement(
    bus: Bus, desk: tuple[Tracking, Desk]
) -> None:
    """Two replicas: one leases a state and is paused, the other publishes a newer one; the first resumes."""
    tracking, office = desk
    activity = await track_mail_1(bus, tracking, office)
    old = await bus.store.tracked_activities.find_by_key(TrackedActivityKey(ANN.tenant, activity))
    assert old
    await bus.record(RENEWAL, name="Renamed")
    await tracking.until_quiet()

    await bus.store.tracked_activities.acknowledge([old], datetime.now(UTC))
    await tracking.until_quiet()
    names = [event.regarding[0].name for event in await events(bus)]
    assert names == ["Fleet renewal", "Renamed", "Renamed"]
