"""The window is the truth: what hints miss is found, counted and said."""

import asyncio
from datetime import UTC, datetime, timedelta

from scenarios.verification import WINDOW_READS

from .world import World, eventually


def soon(hours: float = 2) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


async def test_what_was_there_before_enrolment_is_captured_and_not_counted_as_missed(
    reconciling: World,
) -> None:
    world, ann = reconciling, reconciling.user("ann")
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Yesterday")
    world.tenant.book("ann@contoso.example", [], soon(), subject="Tomorrow")

    world.ingest.call("POST", "/mailboxes", tenant=world.tenant.id, mailbox="ann@contoso.example")

    await eventually(lambda: world.has("Tomorrow", "Yesterday"))
    await eventually(lambda: world.state(ann)["missed_by_hints"] == 0)
    first = next(said for said in await world.mailbox_said(ann) if said.complete_as_of)
    assert first.missed_by_hints is None


async def test_lost_hints_are_found_and_counted(reconciling: World) -> None:
    world, ann = reconciling, reconciling.user("ann")
    world.simulator.delivery(followed_by_updated=False)
    await world.enrol(ann)
    gone = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Goes")["copies"][0]["id"]
    await eventually(lambda: world.has("Goes"))
    world.simulator.delivery(loss=1.0, followed_by_updated=False)

    world.tenant.delete(ann, gone, hard=True)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Unheard")
    world.tenant.book("ann@contoso.example", [], soon(), subject="Unseen")

    await eventually(lambda: world.has("Unheard", "Unseen"))

    async def counted() -> bool:
        return sum(said.missed_by_hints or 0 for said in await world.mailbox_said(ann)) == 3

    await eventually(counted)
    assert world.ingest.metric("missed_by_hints_sum") == 3


async def test_what_a_reading_found_that_was_cut_short_is_counted_by_the_next(reconciling: World) -> None:
    world, ann = reconciling, reconciling.user("ann")
    world.simulator.delivery(followed_by_updated=False)
    await world.enrol(ann)
    gone = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Goes")["copies"][0]["id"]
    await eventually(lambda: world.has("Goes"))
    world.simulator.delivery(loss=1.0, followed_by_updated=False)
    world.simulator.fault(
        503, mailbox=ann, kind="message.by_id"
    )  # the reading itself works, what it asks for by id does not

    world.tenant.delete(ann, gone, hard=True)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Unheard")
    await eventually(lambda: world.has("Goes", "Unheard"))
    await eventually(lambda: world.simulator.counters()["requests"].get("message.by_id", 0) > 1)
    world.simulator.clear_faults()

    await eventually(lambda: world.has("Unheard"))

    async def counted() -> list[int]:
        return [said.missed_by_hints for said in await world.mailbox_said(ann) if said.missed_by_hints]

    assert await eventually(counted) == [2]


async def test_a_meeting_that_a_view_lacks_and_that_is_not_found_is_gone(reconciling: World) -> None:
    world, ann = reconciling, reconciling.user("ann")
    world.simulator.delivery(followed_by_updated=False)
    await world.enrol(ann)
    uid = world.tenant.book("ann@contoso.example", [], soon(), subject="Lunch")["uid"]
    await eventually(lambda: world.has("Lunch"))
    world.simulator.delivery(loss=1.0, followed_by_updated=False)

    world.tenant.delete_event(ann, uid)

    await eventually(world.has)
    (item,) = world.documents("items")
    assert item["gone"] is not None


async def test_a_hint_of_a_series_brings_its_occurrences_and_takes_them(seldom: World) -> None:
    world, ann = seldom, seldom.user("ann")
    await world.enrol(ann)

    uid = world.tenant.book(
        "ann@contoso.example", ["x@fabrikam.com"], soon(1), rule="FREQ=DAILY;COUNT=10", subject="Daily"
    )["uid"]
    await eventually(lambda: world.has("Daily", "Daily", "Daily"))
    activities = sorted((await world.activities()).values(), key=lambda each: each.at)
    assert len({activity.identity for activity in activities}) == 3
    world.tenant.delete_event(ann, uid, original_start=activities[1].at.isoformat())
    await eventually(lambda: world.has("Daily", "Daily"))
    world.tenant.delete_event(ann, uid)

    await eventually(world.has)
    assert [said.missed_by_hints for said in await world.mailbox_said(ann) if said.complete_as_of][:2] == [
        None,
        0,
    ]


async def test_more_hints_than_can_wait_are_one_reading_of_the_window(seldom: World) -> None:
    world, ann = seldom, seldom.user("ann")
    await world.enrol(ann)
    world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/pause")
    item = world.tenant.put(
        ann, **{"from": "x@fabrikam.com"}, to=["ann@contoso.example"], subject="One of many"
    )["id"]
    await eventually(lambda: world.state(ann)["hints_waiting"] == 1)

    statuses, _ = await world.post([world.notification(item=f"{item}-{number}") for number in range(250)])
    await eventually(lambda: world.state(ann)["window_due"])
    assert world.state(ann)["hints_waiting"] < 200
    world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/resume")

    await eventually(lambda: world.has("One of many"))
    assert statuses == [202]


async def test_a_folder_moved_into_deleted_items_takes_its_messages_along(reconciling: World) -> None:
    world, ann = reconciling, reconciling.user("ann")
    await world.enrol(ann)
    folder = world.tenant.do("/folders", mailbox=ann, name="Projects")["id"]
    item = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Filed")["copies"][0]["id"]
    world.tenant.move(ann, item, folder)
    await eventually(lambda: world.has("Filed"))

    world.tenant.do("/folders/move", mailbox=ann, folder=folder, parent="deleteditems")

    await eventually(world.has)


async def test_a_subscription_that_graph_removed_is_made_again(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    before = {each["id"] for each in world.simulator.subscriptions()}
    world.simulator.lifecycle("subscriptionRemoved", mailbox=ann)

    await eventually(
        lambda: (
            world.subscribed(ann) and not before & {each["id"] for each in world.simulator.subscriptions()}
        )
    )
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Still heard")

    await eventually(lambda: world.has("Still heard"))


async def test_missed_reads_the_window_at_once_and_reauthorisation_renews(seldom: World) -> None:
    world, ann = seldom, seldom.user("ann")
    await world.enrol(ann)
    await eventually(lambda: world.state(ann)["complete_as_of"])
    expires = {each["expirationDateTime"] for each in world.simulator.subscriptions()}
    views = world.simulator.counters()["requests"].get("calendar_view", 0)
    await asyncio.sleep(
        1
    )  # ends are asked for in whole seconds: a renewal in the second of the first would not show

    world.simulator.lifecycle("missed", mailbox=ann)
    world.simulator.lifecycle("reauthorizationRequired", mailbox=ann)

    await eventually(lambda: world.simulator.counters()["requests"].get("calendar_view", 0) > views)
    await eventually(
        lambda: not expires & {each["expirationDateTime"] for each in world.simulator.subscriptions()}
    )


async def test_with_reconcile_off_no_window_is_ever_read(world: World) -> None:
    ann = world.user("ann")
    world.simulator.reset_counters()
    await world.enrol(ann)
    world.simulator.lifecycle("missed", mailbox=ann)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="One")
    await eventually(lambda: world.has("One"))
    await eventually(world.ingest.idle)

    assert not set(WINDOW_READS) & set(world.simulator.counters()["requests"])
