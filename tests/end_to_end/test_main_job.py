"""The main path: from a mail in Outlook to the event that dashboards read, and every way to undo it.

Ann and Ben work for Contoso. Carla of Fabrikam is the contact of a deal that both may read.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.local.stack import LocalStack
from shared.events import ActivityTracked, ActivityUntracked
from shared.keys import ItemKey
from shared.topics import ACTIVITIES, TRACKED_ACTIVITIES

from .office import CARLA, DEAL, EVE, Office
from .waiting import wait_until
from .world import running_world, suggestion_path

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a busy machine


@pytest.fixture(scope="module")
async def office(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    async with running_world(stack, tmp_path_factory.mktemp("system")) as world:
        ann, ben = (
            await world.add_user("ann@contoso.example", name="Ann"),
            await world.add_user("ben@contoso.example", name="Ben"),
        )
        await world.publish(
            {"type": "contact", "id": "carla", "emails": [CARLA]},
            {"type": "contact", "id": "eve", "emails": [EVE]},
        )
        office = Office(world, ann, ben)
        await office.publish_deal()
        yield office


async def test_mail_is_suggested_tracked_and_published(office: Office) -> None:
    item = await office.send_to_ann("Our numbers", text="Forty vans, delivered in March.")
    tile = await office.ann.wait_for_suggestion(*DEAL, "Our numbers")
    assert (tile["item"], tile["state"], tile["why"]) == (
        item,
        "untracked",
        [f"From: {CARLA} is the contact of this opportunity"],
    )
    assert await office.ben.tiles(*DEAL) == ([], [])

    # mail-ingest is paused, so that the suggestion stays pending.
    ingest = office.world.system["mail-ingest"]
    ingest.signal(signal.SIGSTOP)
    assert await office.track(item) == 202
    assert dict((await office.ann.tiles(*DEAL))[0]) == {"Our numbers": "pending"}
    assert await office.ben.tiles(*DEAL) == ([], []), "only Ann sees that it is pending"
    ingest.signal(signal.SIGCONT)

    tracked = await office.wait_until_tracked("Our numbers")
    assert (await office.ann.tiles(*DEAL))[0] == []
    content = (
        await office.ben.request("GET", f"/records/{DEAL[0]}/{DEAL[1]}/tracked/{tracked['id']}")
    ).json()["content"]
    assert "Forty vans, delivered in March." in content["text"]
    [event] = await office.published(tracked["id"])
    assert isinstance(event, ActivityTracked)
    assert (event.subject, event.owner, event.kind, event.direction) == (
        "Our numbers",
        office.ann.oid,
        "email",
        "incoming",
    )
    [entry] = event.regarding
    assert (entry.type, entry.id, entry.name, entry.by, entry.readers) == (
        *DEAL,
        "Fleet renewal",
        office.ann.oid,
        ("*",),
    )
    assert "Forty vans" not in event.model_dump_json()
    assert CARLA not in event.model_dump_json()


async def test_record_change_adds_and_removes_older_mail(office: Office) -> None:
    await office.send_to_ann("Terms I would require", sender=EVE)
    await wait_until(
        lambda: any(("contact", "eve") in records for records in office.world.suggestions().values())
    )
    assert "Terms I would require" not in dict((await office.ann.tiles(*DEAL))[0])
    await office.publish_deal(stakeholder_ids=["eve"])
    await office.wait_for_state(office.ann, "Terms I would require", "untracked")
    await office.publish_deal()
    await office.wait_for_state(office.ann, "Terms I would require", None)


async def test_untracked_activity_is_a_suggestion_again_and_is_withdrawn(office: Office) -> None:
    item = await office.send_to_ann("Shared too early")
    await office.wait_for_state(office.ann, "Shared too early", "untracked")
    await office.track(item)
    tracked = await office.wait_until_tracked("Shared too early")
    path = f"/records/{DEAL[0]}/{DEAL[1]}/tracked/{tracked['id']}"

    assert (await office.ben.request("DELETE", path)).status_code == 404, "Ann tracked it"
    assert (await office.ann.request("DELETE", path)).status_code == 204

    await office.wait_for_state(office.ann, "Shared too early", "untracked")
    assert "Shared too early" not in (await office.ben.tiles(*DEAL))[1]
    assert (await office.ben.request("GET", path)).status_code == 404
    first, last, tombstone = await office.published(tracked["id"])
    assert isinstance(first, ActivityTracked)
    assert isinstance(last, ActivityUntracked)
    assert tombstone is None
    assert last.revision > first.revision
    assert office.key(tracked["id"]) not in office.world.topics.table(TRACKED_ACTIVITIES)


async def test_dismissed_suggestion_is_hidden_until_restored(office: Office) -> None:
    item = await office.send_to_ann("Not about this")
    await office.wait_for_state(office.ann, "Not about this", "untracked")
    assert (await office.ann.request("PUT", suggestion_path(*DEAL, item, "dismissal"))).status_code == 204
    await office.wait_for_state(office.ann, "Not about this", None)
    await office.publish_deal(stakeholder_ids=["eve"])  # a new match does not show it again
    await office.world.wait_until_idle()
    assert "Not about this" not in dict((await office.ann.tiles(*DEAL))[0])
    assert (await office.ann.request("DELETE", suggestion_path(*DEAL, item, "dismissal"))).status_code == 204
    await office.wait_for_state(office.ann, "Not about this", "untracked")


async def test_only_the_owner_reads_the_text_and_nothing_stores_it(office: Office) -> None:
    text = "Between you and me: the fleet manager leaves in May."
    item = await office.send_to_ann("In confidence", text=text)
    await office.wait_for_state(office.ann, "In confidence", "untracked")
    shown = await office.ann.request("GET", suggestion_path(*DEAL, item, "text"))
    assert shown.status_code == 200
    assert text in shown.json()["text"]
    assert shown.headers["cache-control"] == "no-store"
    assert (await office.ben.request("GET", suggestion_path(*DEAL, item, "text"))).status_code == 404

    await office.world.topics.catch_up()
    assert text.encode() not in b"".join(
        record.value or b"" for log in office.world.topics.log.values() for record in log
    )
    for name in ("mail_ingest", "tracking"):
        database = office.world.database(name)
        assert not any(
            "fleet manager" in str(document)
            for collection in database.list_collection_names()
            for document in database[collection].find()
        )
    for process in office.world.system:
        assert "fleet manager" not in process.background.log.read_text()


async def test_private_item_is_tracked_only_with_confirmation(office: Office) -> None:
    item = await office.send_to_ann("Personal", sensitivity="private")
    await office.wait_for_state(office.ann, "Personal", "untracked")
    assert await office.track(item) == 409
    assert await office.track(item, confirm_private=True) == 202
    await office.wait_until_tracked("Personal")


async def test_item_deleted_in_outlook_is_not_suggested(office: Office) -> None:
    item = await office.send_to_ann("Deleted unread")
    await office.wait_for_state(office.ann, "Deleted unread", "untracked")
    await asyncio.to_thread(office.world.tenant.delete, office.ann.oid, item)
    await office.wait_for_state(office.ann, "Deleted unread", None)
    await wait_until(
        lambda: (
            ItemKey(office.world.tenant.id, office.ann.oid, item) not in office.world.topics.table(ACTIVITIES)
        )
    )
    assert await office.track(item) == 409


async def test_item_deleted_during_track_is_not_shared(office: Office) -> None:
    item = await office.send_to_ann("Gone in between")
    await office.wait_for_state(office.ann, "Gone in between", "untracked")
    await asyncio.to_thread(office.world.tenant.delete, office.ann.oid, item, hard=True)
    status = await office.track(item)
    await office.world.wait_until_idle()
    assert status in {202, 409}
    assert "Gone in between" not in (await office.ben.tiles(*DEAL))[1]


async def test_meeting_is_suggested_changed_tracked_and_withdrawn_when_cancelled(office: Office) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=20)
    booked = await asyncio.to_thread(
        office.world.tenant.book,
        office.ann.recipient,
        [{"name": "Carla", "address": CARLA}],
        start.isoformat(),
        end=(start + timedelta(hours=1)).isoformat(),
        subject="Walk through the offer",
        text="We meet at the depot.",
    )
    tile = await office.ann.wait_for_suggestion(*DEAL, "Walk through the offer")
    assert (tile["activity"]["kind"], tile["activity"]["start"]) == (
        "meeting",
        start.isoformat().replace("+00:00", "Z"),
    )
    assert tile["why"] == [f"Required: {CARLA} is the contact of this opportunity"]

    later = start + timedelta(hours=2)
    await asyncio.to_thread(
        office.world.tenant.change_meeting,
        booked["uid"],
        start=later.isoformat(),
        subject="Walk through the new offer",
    )
    tile = await office.ann.wait_for_suggestion(*DEAL, "Walk through the new offer")
    assert tile["activity"]["start"] == later.isoformat().replace("+00:00", "Z")
    assert "Walk through the offer" not in dict((await office.ann.tiles(*DEAL))[0])

    assert await office.track(tile["item"]) == 202
    tracked = await office.wait_until_tracked("Walk through the new offer")
    [event] = await office.published(tracked["id"])
    assert isinstance(event, ActivityTracked)
    assert (event.kind, event.start) == ("meeting", later)

    other = await asyncio.to_thread(
        office.world.tenant.book,
        office.ann.recipient,
        [{"name": "Carla", "address": CARLA}],
        start.isoformat(),
        subject="It will not take place",
    )
    await office.wait_for_state(office.ann, "It will not take place", "untracked")
    await asyncio.to_thread(office.world.tenant.cancel, other["uid"])
    await office.wait_for_state(office.ann, "It will not take place", None)


async def test_copies_of_one_mail_become_one_tracked_activity(office: Office) -> None:
    await office.world.send_mail(CARLA, office.ann, office.ben, subject="To both of you", text="Hello both")
    of_ann = await office.ann.wait_for_suggestion(*DEAL, "To both of you")
    of_ben = await office.ben.wait_for_suggestion(*DEAL, "To both of you")
    assert of_ann["item"] != of_ben["item"]
    responses = await asyncio.gather(
        *(
            user.request("POST", suggestion_path(*DEAL, tile["item"], "track"))
            for user, tile in ((office.ann, of_ann), (office.ben, of_ben))
        )
    )
    assert [response.status_code for response in responses] == [202, 202]
    tile = await office.wait_until_tracked("To both of you")
    await office.world.wait_until_idle()
    tile = await office.wait_until_tracked("To both of you")
    assert {entry["by"] for entry in tile["regarding"]} == {office.ann.oid, office.ben.oid}
    for user in (office.ann, office.ben):
        assert "To both of you" not in dict((await user.tiles(*DEAL))[0])


async def test_colleague_sees_no_untracked_item(office: Office) -> None:
    subjects = [tile["activity"]["subject"] for tile in (await office.ann.timeline(*DEAL))["suggestions"]]
    assert len(subjects) >= 3
    timeline = await office.ben.timeline(*DEAL)
    assert not timeline["suggestions"]
    assert not {tile["activity"]["subject"] for tile in timeline["tracked"]} & set(subjects)
    counts = {
        record["id"]: record["suggestions"]
        for record in (await office.ben.request("GET", "/records")).json()["records"]
    }
    assert counts[DEAL[1]] == 0


async def published_states(office: Office, activity: str) -> list[tuple[str | None, bool, bool]]:
    """Subject, cancelled and source gone of every state that was published of a tracked activity."""
    events = await office.published(activity)
    states = []
    for event in events:
        assert isinstance(event, ActivityTracked)
        states.append((event.subject, event.cancelled, event.source_gone))
    revisions = [event.revision for event in events if event]
    assert revisions == sorted(set(revisions))
    return states


async def wait_until_shown(office: Office, activity: str, **shown: Any) -> None:
    """Waits until Ben sees this of a tracked activity."""

    async def is_shown() -> bool:
        tiles = {tile["id"]: tile for tile in (await office.ben.timeline(*DEAL))["tracked"]}
        tile = tiles[activity] | tiles[activity]["activity"]
        return {name: tile[name] for name in shown} == shown

    await wait_until(is_shown, failure=lambda: f"{activity} does not show {shown}")
    await office.world.wait_until_idle()


async def test_tracked_meeting_is_changed_cancelled_and_deleted_in_outlook(office: Office) -> None:
    tenant, start = office.world.tenant, datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    booked = await asyncio.to_thread(
        tenant.book, CARLA, [office.ann.address], start.isoformat(), subject="Depot", text="At nine."
    )
    tile = await office.ann.wait_for_suggestion(*DEAL, "Depot")
    assert await office.track(tile["item"]) == 202
    tracked = await office.wait_until_tracked("Depot")
    await office.world.wait_until_idle()

    later = start + timedelta(days=20)
    await asyncio.to_thread(
        tenant.change_meeting, booked["uid"], subject="The depot", start=later.isoformat(), text="At ten."
    )
    await wait_until_shown(
        office, tracked["id"], subject="The depot", start=later.isoformat().replace("+00:00", "Z")
    )
    path = f"/records/{DEAL[0]}/{DEAL[1]}/tracked/{tracked['id']}"
    assert "At ten." in (await office.ben.request("GET", path)).json()["content"]["text"]
    await asyncio.to_thread(tenant.cancel, booked["uid"])
    await wait_until_shown(office, tracked["id"], cancelled=True, source_gone=False)
    await asyncio.to_thread(tenant.delete_event, office.ann.oid, booked["uid"])
    await wait_until_shown(office, tracked["id"], cancelled=True, source_gone=True)

    assert "At ten." in (await office.ben.request("GET", path)).json()["content"]["text"]
    assert await published_states(office, tracked["id"]) == [
        ("Depot", False, False),
        ("The depot", False, False),
        ("Canceled: The depot", True, False),
        ("Canceled: The depot", True, True),
    ]


async def test_tracked_mail_is_moved_read_and_deleted_in_outlook(office: Office) -> None:
    tenant, ann = office.world.tenant, office.ann.oid
    item = await office.send_to_ann("Keep this")
    await office.wait_for_state(office.ann, "Keep this", "untracked")
    await office.track(item)
    tracked = await office.wait_until_tracked("Keep this")
    await office.world.wait_until_idle()
    archive = (await asyncio.to_thread(tenant.do, "/folders", mailbox=ann, name="Kept"))["id"]

    await asyncio.to_thread(tenant.do, "/messages/change", mailbox=ann, id=item, is_read=True)
    await asyncio.to_thread(tenant.move, ann, item, archive)
    await office.world.wait_until_idle()
    assert await published_states(office, tracked["id"]) == [("Keep this", False, False)]
    for folder, is_gone in (("deleteditems", True), (archive, False)):
        await asyncio.to_thread(tenant.move, ann, item, folder)
        await wait_until_shown(office, tracked["id"], source_gone=is_gone)
    await asyncio.to_thread(tenant.delete, ann, item, hard=True)
    await wait_until_shown(office, tracked["id"], source_gone=True)
    assert [gone for _, _, gone in await published_states(office, tracked["id"])] == [
        False,
        True,
        False,
        True,
    ]


async def test_tracked_item_that_becomes_private_shows_nothing_new(office: Office) -> None:
    tenant, start = office.world.tenant, datetime.now(UTC).replace(microsecond=0) + timedelta(hours=4)
    booked = await asyncio.to_thread(
        tenant.book, CARLA, [office.ann.address], start.isoformat(), subject="Open", text="Open."
    )
    tile = await office.ann.wait_for_suggestion(*DEAL, "Open")
    await office.track(tile["item"])
    tracked = await office.wait_until_tracked("Open")
    await office.world.wait_until_idle()
    await asyncio.to_thread(
        tenant.change_meeting, booked["uid"], subject="Secret plan", text="Secret plan", sensitivity="private"
    )
    await wait_until(
        lambda: (
            office.world.topics.table(ACTIVITIES)[
                ItemKey(tenant.id, office.ann.oid, tile["item"])
            ].value.subject
            == "Secret plan"
        )
    )
    assert await published_states(office, tracked["id"]) == [("Open", False, False)]
    assert "Open" in (await office.ben.tiles(*DEAL))[1]
    assert not any(b"Secret plan" in (record.value or b"") for record in office.world.topics.log["content"])
