"""An item that Graph does not return is set aside; the rest of its mailbox goes on."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.mail_ingest.world import World, eventually

ANN = "ann@contoso.example"


def stuck_items(world: World) -> list[dict[str, Any]]:
    page = world.ingest.call("GET", f"/stuck-items?tenant={world.tenant.id}").json()
    listed: list[dict[str, Any]] = page["items"]
    return listed


def change(world: World, action: str, mailbox: str, **item: str) -> int:
    """Retries or drops stuck items, and returns how many."""
    path = f"/stuck-items/{action}"
    return int(
        world.ingest.call("POST", path, tenant=world.tenant.id, mailbox=mailbox, **item).json()["items"]
    )


def postpone_retries(world: World) -> None:
    world.change_documents("stuck_items", {}, {"retry_at": datetime.now(UTC) + timedelta(days=1)})


def receive_email(world: World, subject: str) -> str:
    return str(world.tenant.send("x@fabrikam.com", [ANN], subject=subject)["copies"][0]["id"])


async def test_stuck_item_harms_no_other_and_is_captured_when_it_is_retried(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    mailbox = f"/mailboxes/{world.tenant.id}/{ann}"
    world.ingest.call("POST", f"{mailbox}/pause")
    bad = receive_email(world, "Broken")
    world.simulator.fault(410, item=bad, code="ErrorGone")
    receive_email(world, "Whole")
    world.ingest.call("POST", f"{mailbox}/resume")

    await eventually(lambda: world.has_subjects("Whole"))
    (stuck,) = await eventually(lambda: stuck_items(world))
    assert (stuck["mailbox"], stuck["item"], stuck["reason"]) == (ann, bad, "graph_410")
    assert world.mailbox(ann)["status"] == "enrolled"
    assert world.ingest.work()["stuck items: graph_410"] == 1
    postpone_retries(world)
    world.simulator.clear_faults()

    assert change(world, "retry", ann, item=bad) == 1

    await eventually(lambda: world.has_subjects("Broken", "Whole"))
    await eventually(lambda: not stuck_items(world))
    (audited,) = world.documents("audit", action="retry stuck items")
    assert (audited["mailbox"], audited["item"], audited["by"]) == (ann, bad, "api")


async def test_hidden_item_that_cannot_be_fetched_is_not_gone_and_the_reading_is_complete(
    on_demand: World,
) -> None:
    world, ann = on_demand, on_demand.add_user("ann")
    world.simulator.delivery(followed_by_updated=False)
    await world.enrol(ann)
    hidden = receive_email(world, "Hidden")
    await eventually(lambda: world.has_subjects("Hidden"))
    await eventually(lambda: world.mailbox(ann)["complete_as_of"] and world.ingest.is_idle())
    before = world.mailbox(ann)["complete_as_of"]
    world.simulator.delivery(loss=1.0, followed_by_updated=False)
    world.simulator.fault(400, item=hidden, code="ErrorInvalidIdMalformed")
    world.tenant.delete(ann, hidden, hard=True)
    world.simulator.delivery(loss=0.0)

    world.simulator.lifecycle("missed", mailbox=ann)

    await eventually(lambda: world.mailbox(ann)["complete_as_of"] > before)
    assert await world.has_subjects("Hidden")
    (stuck,) = stuck_items(world)
    assert stuck["reason"] == "graph_400"
    postpone_retries(world)
    before = world.mailbox(ann)["complete_as_of"]
    world.simulator.lifecycle("missed", mailbox=ann)
    await eventually(lambda: world.mailbox(ann)["complete_as_of"] > before)
    assert stuck_items(world)[0]["failures"] == stuck["failures"], "its own retry time alone counts"
    world.simulator.clear_faults()
    change(world, "retry", ann)

    await eventually(world.has_subjects)
    await eventually(lambda: not stuck_items(world))


async def test_dropped_item_is_fetched_no_more_and_stays_as_it_is(world: World) -> None:
    world.simulator.delivery(followed_by_updated=False)  # a later notification has it fetched again
    ann = world.add_user("ann")
    await world.enrol(ann)
    item = receive_email(world, "Stays")
    await eventually(lambda: world.has_subjects("Stays"))
    await eventually(world.ingest.is_idle)
    world.simulator.fault(403, item=item, code="ErrorAccessDenied")
    await world.post([world.notification(item=item)])
    await eventually(lambda: stuck_items(world) and world.ingest.is_idle())

    assert change(world, "drop", ann) == 1

    assert (stuck_items(world), change(world, "drop", ann)) == ([], 0)
    assert await world.has_subjects("Stays")
    assert world.mailbox(ann)["status"] == "enrolled"


async def capture_and_refuse(world: World, subject: str) -> tuple[str, str]:
    """Captures an e-mail, and has Graph refuse it from now on; returns its mailbox and item."""
    world.simulator.delivery(followed_by_updated=False)
    ann = world.add_user("ann")
    await world.enrol(ann)
    item = receive_email(world, subject)
    await eventually(lambda: world.has_subjects(subject))
    await eventually(world.ingest.is_idle)
    world.simulator.fault(400, item=item, code="ErrorInvalidIdMalformed")
    return ann, item


def make_pending_items_due(world: World) -> None:
    due = dict.fromkeys(("pending_items_due", "due_at"), datetime.now(UTC))
    world.change_documents("mailboxes", {}, due)


async def test_pending_item_that_is_stuck_is_not_fetched_in_each_pass(world: World) -> None:
    await capture_and_refuse(world, "Pending")
    world.change_documents("items", {}, {"publish_pending": True})
    make_pending_items_due(world)
    await eventually(lambda: stuck_items(world))
    postpone_retries(world)
    (stuck,) = stuck_items(world)

    make_pending_items_due(world)

    await eventually(lambda: world.documents("mailboxes")[0]["pending_items_due"] is None, seconds=15)
    assert [each["failures"] for each in stuck_items(world)] == [stuck["failures"]]


async def test_meeting_that_is_set_aside_counts_as_no_missing_view(on_demand: World) -> None:
    world, ann = on_demand, on_demand.add_user("ann")
    await world.enrol(ann)
    start = datetime.now(UTC) + timedelta(hours=1)
    booked = world.tenant.book(ANN, [], start.isoformat(), subject="Kick-off")
    await eventually(lambda: world.has_subjects("Kick-off"))
    await eventually(world.ingest.is_idle)
    item = booked["copies"][0]["id"]
    world.simulator.delivery(loss=1.0)
    world.simulator.fault(400, item=item, code="ErrorInvalidIdMalformed")
    world.tenant.delete_event(ann, booked["uid"])
    world.simulator.delivery(loss=0.0)
    before = world.mailbox(ann)["complete_as_of"]

    world.simulator.lifecycle("missed", mailbox=ann)

    await eventually(lambda: world.mailbox(ann)["complete_as_of"] > before)
    assert await world.has_subjects("Kick-off")
    assert [each["missing"] for each in world.documents("items", kind="meeting")] == [0]


async def test_stuck_item_ends_with_its_window_and_with_its_mailbox(world: World) -> None:
    ann, item = await capture_and_refuse(world, "Old")
    await world.post([world.notification(item=item)])
    await eventually(lambda: stuck_items(world))
    postpone_retries(world)
    past = datetime.now(UTC) - timedelta(seconds=1)
    world.change_documents("items", {}, {"leaves_at": past})
    world.change_documents("mailboxes", {}, {"next_expiry_at": past, "due_at": past})

    kept = receive_email(world, "New")

    await eventually(lambda: not stuck_items(world))
    world.simulator.fault(400, item=kept, code="ErrorInvalidIdMalformed")
    await world.post([world.notification(item=kept)])
    await eventually(lambda: stuck_items(world))
    postpone_retries(world)
    world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{ann}")
    await eventually(lambda: not stuck_items(world))


async def test_item_is_set_aside_once_by_a_notification_and_a_reading_together(on_demand: World) -> None:
    world = on_demand
    ann, item = await capture_and_refuse(world, "Hidden")
    mailbox = f"/mailboxes/{world.tenant.id}/{ann}"
    world.ingest.call("POST", f"{mailbox}/pause")
    world.tenant.delete(ann, item, hard=True)
    await eventually(lambda: world.mailbox(ann)["notified_items_waiting"] == 1)
    before = world.mailbox(ann)["complete_as_of"]

    world.ingest.call("POST", f"{mailbox}/resume")

    await eventually(lambda: world.mailbox(ann)["complete_as_of"] > before)
    assert [each["failures"] for each in stuck_items(world)] == [1]


async def test_new_item_that_is_not_found_yet_is_captured_soon_and_a_deleted_one_is_not_sought(
    world: World,
) -> None:
    world.simulator.delivery(followed_by_updated=False)
    ann = world.add_user("ann")
    await world.enrol(ann)
    mailbox = f"/mailboxes/{world.tenant.id}/{ann}"
    world.ingest.call("POST", f"{mailbox}/pause")
    item = receive_email(world, "New")
    world.simulator.fault(404, item=item, code="ErrorItemNotFound", count=2)
    await world.post([world.notification(item="A" * 60, changeType="deleted")])
    await eventually(lambda: world.mailbox(ann)["notified_items_waiting"] == 2)

    world.ingest.call("POST", f"{mailbox}/resume")

    (sought,) = await eventually(lambda: world.documents("stuck_items"))
    assert (sought["_id"].endswith(f"/{item}"), sought["reason"]) == (True, "not_found_yet")
    assert (stuck_items(world), world.ingest.work()["items not found yet"]) == ([], 1)
    await eventually(lambda: world.has_subjects("New"))
    await eventually(lambda: not world.documents("stuck_items"))
    logged = [line for line in world.ingest.log.read_text().splitlines() if world.tenant.id in line]
    assert [line for line in logged if "items set aside" in line] == []


async def receive_many(world: World) -> tuple[str, dict[str, str]]:
    """Captures 21 e-mails; returns their mailbox, and their subjects and items."""
    world.simulator.delivery(followed_by_updated=False)
    ann = world.add_user("ann")
    await world.enrol(ann)
    items = {f"{number:02}": receive_email(world, f"{number:02}") for number in range(21)}
    await eventually(lambda: world.has_subjects(*items))
    await eventually(world.ingest.is_idle)
    return ann, items


async def test_items_that_are_not_found_at_once_stay_until_they_are_found_again(world: World) -> None:
    ann, items = await receive_many(world)
    world.remember_metrics("items_held_back_total")
    world.simulator.fault(404, mailbox=ann, kind="message.by_id", code="ErrorItemNotFound")

    await world.post([world.notification(item=item) for item in items.values()])

    held = await eventually(lambda: len(stuck_items(world)) == 21 and stuck_items(world))
    assert {each["reason"] for each in held} == {"not_found_at_once"}
    assert world.metric("items_held_back_total") == 21
    await world.post([world.notification(item=items["00"])])
    await eventually(world.ingest.is_idle)
    assert await world.has_subjects(*items), "a second answer before the pause is over confirms nothing"
    world.simulator.clear_faults()
    change(world, "retry", ann)
    await eventually(lambda: not stuck_items(world))
    assert await world.has_subjects(*items)


async def test_items_that_a_reading_does_not_find_at_once_are_gone_when_they_are_not_found_again(
    on_demand: World,
) -> None:
    world = on_demand
    ann, items = await receive_many(world)
    world.simulator.delivery(loss=1.0)
    for item in items.values():
        world.tenant.delete(ann, item, hard=True)
    world.simulator.delivery(loss=0.0)
    before = world.mailbox(ann)["complete_as_of"]

    world.simulator.lifecycle("missed", mailbox=ann)

    await eventually(lambda: world.mailbox(ann)["complete_as_of"] > before)
    assert len(stuck_items(world)) == 21
    assert await world.has_subjects(*items)
    change(world, "retry", ann)
    await eventually(world.has_subjects)
    await eventually(lambda: not stuck_items(world))
