"""Window readings find, count and publish what notifications missed."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.mail_ingest.world import Service, World, eventually

ANN = "ann@contoso.example"
WINDOW_REQUESTS = {"messages.window", "events.window", "calendar_view"}
"""Graph requests, as the simulator counts them, that return items which no notification has named."""


def in_hours(hours: float = 2) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def receive_email(world: World, subject: str) -> str:
    """Sends an e-mail to Ann, and returns the id of the copy in that mailbox."""
    return str(world.tenant.send("x@fabrikam.com", [ANN], subject=subject)["copies"][0]["id"])


def count_requests(world: World, kind: str) -> int:
    return int(world.simulator.counters()["requests"].get(kind, 0))


async def missed_counts(world: World, mailbox: str) -> list[int | None]:
    """What each reconciliation published as missed."""
    states = await world.published_states(mailbox)
    return [state.missed_by_notifications for state in states if state.complete_as_of]


async def finish_reading(world: World, mailbox: str) -> None:
    """Waits until a reading in progress is published: it may count an item whose notification follows."""
    before = world.mailbox(mailbox)["complete_as_of"]

    def is_published() -> bool:
        state = world.mailbox(mailbox)
        return state["complete_as_of"] != before and not state["publish_pending"]

    await eventually(is_published)


async def test_items_from_before_enrolment_are_captured_and_not_counted_as_missed(
    reconciling: World,
) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    receive_email(world, "Yesterday")
    world.tenant.book(ANN, [], in_hours(), subject="Tomorrow")

    world.ingest.call("POST", "/mailboxes", tenant=world.tenant.id, mailbox=ANN)

    await eventually(lambda: world.has_subjects("Tomorrow", "Yesterday"))
    await eventually(lambda: world.mailbox(ann)["missed_by_notifications"] == 0)
    first, *_ = await missed_counts(world, ann)
    assert first is None


async def test_mailbox_without_subscriptions_is_captured_by_its_windows(reconciling: World) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    world.simulator.fault(401, mailbox=ann, kind="subscribe", code="ExtensionError")

    world.ingest.call("POST", "/mailboxes", tenant=world.tenant.id, mailbox=ann)
    await eventually(lambda: world.mailbox(ann)["no_notifications"] == "exchange_401")
    receive_email(world, "Slowly")

    await eventually(lambda: world.has_subjects("Slowly"))
    assert world.mailbox(ann)["status"] == "enrolled"
    assert world.ingest.work()["mailboxes without notifications"] == 1
    assert world.documents("subscriptions") == []

    world.simulator.clear_faults()
    for action in ("pause", "resume"):
        world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/{action}")
    await eventually(lambda: world.is_subscribed(ann))

    async def is_published() -> bool:
        states = await world.published_states(ann)
        reasons = list(dict.fromkeys(state.no_notifications for state in states))
        return reasons == [None, "exchange_401"] and states[-1].no_notifications is None

    await eventually(is_published)


async def test_environments_with_one_application_leave_each_others_subscriptions_alone(
    reconciling: World, reconciling_service: Service
) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    await world.enrol(ann)
    graph = reconciling_service.simulator.world
    (first,) = [each for each in graph.live_subscriptions(world.tenant.id) if each.collection == "messages"]
    graph.subscribe(replace(first, url=first.url.partition("?")[0] + "?environment=other"))
    world.change_documents("subscriptions", {"kind": "email"}, {"removed": True})

    for action in ("pause", "resume"):
        world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/{action}")
    await eventually(lambda: world.mailbox(ann)["no_notifications"] == "another_environment")
    receive_email(world, "Slowly")

    await eventually(lambda: world.has_subjects("Slowly"))
    assert first.id in graph.subscriptions
    world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{ann}")
    await eventually(lambda: len(graph.live_subscriptions(world.tenant.id)) == 1)
    assert first.id in graph.subscriptions


async def test_lost_subscription_is_replaced(reconciling: World, reconciling_service: Service) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    await world.enrol(ann)
    graph = reconciling_service.simulator.world
    before = {each.id for each in graph.live_subscriptions(world.tenant.id)}
    with reconciling_service.database() as database:
        database["subscriptions"].delete_many({"owner": f"{world.tenant.id}/{ann}"})

    for action in ("pause", "resume"):
        world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/{action}")

    await eventually(lambda: len(world.documents("subscriptions", graph_id={"$ne": None})) == 2)
    after = {each.id for each in graph.live_subscriptions(world.tenant.id)}
    assert (len(after), after & before) == (2, set())


async def test_lost_notifications_are_found_and_counted(reconciling: World) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    world.simulator.delivery(followed_by_updated=False)
    await world.enrol(ann)
    deleted = receive_email(world, "Goes")
    await eventually(lambda: world.has_subjects("Goes"))
    await finish_reading(world, ann)
    world.simulator.delivery(loss=1.0, followed_by_updated=False)
    world.remember_metrics("missed_by_notifications_sum")
    before = sum(count or 0 for count in await missed_counts(world, ann))

    world.tenant.delete(ann, deleted, hard=True)
    receive_email(world, "Lost e-mail")
    world.tenant.book(ANN, [], in_hours(), subject="Lost meeting")

    await eventually(lambda: world.has_subjects("Lost e-mail", "Lost meeting"))

    async def all_are_counted() -> bool:
        return sum(count or 0 for count in await missed_counts(world, ann)) == before + 3

    await eventually(all_are_counted)
    assert world.metric("missed_by_notifications_sum") == 3


async def test_missed_items_of_an_interrupted_reading_are_counted_by_the_next(reconciling: World) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    world.simulator.delivery(followed_by_updated=False)
    await world.enrol(ann)
    deleted = receive_email(world, "Goes")
    await eventually(lambda: world.has_subjects("Goes"))
    await finish_reading(world, ann)
    before = [count for count in await missed_counts(world, ann) if count]
    world.simulator.delivery(loss=1.0, followed_by_updated=False)
    # The window can be read, and the items that it lacks cannot be fetched.
    world.simulator.fault(429, mailbox=ann, kind="message.by_id")
    fetches_before = count_requests(world, "message.by_id")

    world.tenant.delete(ann, deleted, hard=True)
    receive_email(world, "Lost")
    await eventually(lambda: world.has_subjects("Goes", "Lost"))
    await eventually(lambda: count_requests(world, "message.by_id") > fetches_before)
    world.simulator.clear_faults()

    await eventually(lambda: world.has_subjects("Lost"))

    async def counted() -> list[int]:
        return [count for count in await missed_counts(world, ann) if count][len(before) :]

    assert await eventually(counted) == [2]


async def test_meeting_that_a_view_lacks_and_graph_does_not_find_is_gone(reconciling: World) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    world.simulator.delivery(followed_by_updated=False)
    await world.enrol(ann)
    uid = world.tenant.book(ANN, [], in_hours(), subject="Lunch")["uid"]
    await eventually(lambda: world.has_subjects("Lunch"))
    world.simulator.delivery(loss=1.0, followed_by_updated=False)

    world.tenant.delete_event(ann, uid)

    await eventually(world.has_subjects)
    (document,) = world.documents("items")
    assert document["gone"] is not None


async def test_notification_of_a_series_captures_and_withdraws_its_occurrences(on_demand: World) -> None:
    world, ann = on_demand, on_demand.add_user("ann")
    await world.enrol(ann)

    uid = world.tenant.book(
        ANN, ["x@fabrikam.com"], in_hours(1), rule="FREQ=DAILY;COUNT=10", subject="Daily"
    )["uid"]
    await eventually(lambda: world.has_subjects("Daily", "Daily", "Daily"))
    activities = sorted((await world.activities()).values(), key=lambda each: each.at)
    assert len({activity.identity for activity in activities}) == 3
    world.tenant.delete_event(ann, uid, original_start=activities[1].at.isoformat())
    await eventually(lambda: world.has_subjects("Daily", "Daily"))
    world.tenant.delete_event(ann, uid)

    await eventually(world.has_subjects)
    assert (await missed_counts(world, ann))[:2] == [None, 0]


async def test_meeting_that_enters_by_the_clock_alone_appears_then(on_demand: World) -> None:
    world, ann = on_demand, on_demand.add_user("ann")
    await world.enrol(ann)
    enters_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
    start = (enters_at + timedelta(days=3)).isoformat()
    world.simulator.delivery(loss=1.0)
    world.tenant.book(ANN, [], start, subject="In three days")
    gone = world.tenant.book(ANN, [], start, subject="Cancelled meanwhile")
    world.simulator.delivery(loss=0.0)
    before = world.mailbox(ann)["complete_as_of"]

    world.simulator.lifecycle("missed", mailbox=ann)

    await eventually(lambda: world.mailbox(ann)["complete_as_of"] > before)
    read_at = world.mailbox(ann)["complete_as_of"]
    assert datetime.fromisoformat(read_at) < enters_at, "the reading came too late for this test"
    world.simulator.delivery(loss=1.0)
    world.tenant.delete_event(ann, gone["uid"])
    world.simulator.delivery(loss=0.0)
    await eventually(lambda: world.has_subjects("In three days"))
    assert world.mailbox(ann)["complete_as_of"] == read_at
    await eventually(lambda: world.documents("mailboxes", next_entry_at=None))
    assert world.documents("items", enters_at={"$ne": None}) == []


MAIL_REQUESTS = ("messages.window", "message.by_id", "folders", "folder")
CALENDAR_REQUESTS = ("events.window", "event.by_id", "calendar_view")
NO_PERMISSION = "NoPermissionsInAccessToken"


@pytest.mark.parametrize(
    "refused, status, code, other, kind, reason",
    [
        (CALENDAR_REQUESTS, 403, "ErrorAccessDenied", "Mail", "meeting", "access_policy"),
        (CALENDAR_REQUESTS, 401, NO_PERMISSION, "Mail", "meeting", "permission:Calendars.Read"),
        (MAIL_REQUESTS, 403, "ErrorAccessDenied", "Talk", "email", "access_policy"),
    ],
)
async def test_refused_kind_harms_no_other_and_is_captured_when_it_is_permitted_again(
    reconciling: World, refused: tuple[str, ...], status: int, code: str, other: str, kind: str, reason: str
) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    world.simulator.delivery(followed_by_updated=False)
    receive_email(world, "Before")
    world.tenant.book(ANN, [], in_hours(), subject="Meeting before")
    await world.enrol(ann)
    await eventually(lambda: world.has_subjects("Before", "Meeting before"))
    for request in refused:
        world.simulator.fault(status, mailbox=ann, kind=request, code=code)
    world.change_documents("mailboxes", {}, {"folders_read_at": None})
    await eventually(lambda: world.mailbox(ann)["refused_kinds"])
    world.simulator.delivery(loss=1.0)
    receive_email(world, "Mail")
    world.tenant.book(ANN, [], in_hours(), subject="Talk")
    world.simulator.delivery(loss=0.0)

    await eventually(lambda: world.has_subjects("Before", "Meeting before", other))

    state = world.mailbox(ann)
    (listed,) = state["refused_kinds"]
    assert (state["status"], listed["kind"], listed["reason"]) == ("enrolled", kind, reason)
    assert world.ingest.work()["mailboxes with refused kinds"] == 1
    assert world.documents("stuck_items") == [], "nothing is requested of what was captured before"
    published = (await world.published_states(ann))[-1].refused_kinds
    assert [(each.kind, each.reason) for each in published] == [(kind, reason)]
    world.simulator.clear_faults()
    await eventually(lambda: world.has_subjects("Before", "Meeting before", "Mail", "Talk"))
    await eventually(lambda: world.mailbox(ann)["refused_kinds"] == [])


async def test_mailbox_that_refuses_all_kinds_is_blocked_and_comes_back(reconciling: World) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    await world.enrol(ann)
    for request in (*MAIL_REQUESTS, *CALENDAR_REQUESTS):
        world.simulator.fault(403, mailbox=ann, kind=request, code="ErrorAccessDenied")
    await eventually(lambda: world.mailbox(ann)["status"] == "blocked")
    assert world.mailbox(ann)["reason"] == "access_policy"

    world.simulator.clear_faults()
    world.simulator.fault(403, mailbox=ann, kind="calendar_view", code="ErrorAccessDenied")

    await eventually(lambda: world.mailbox(ann)["status"] == "enrolled")


async def test_too_many_notified_items_become_one_reading_of_the_window(on_demand: World) -> None:
    world, ann = on_demand, on_demand.add_user("ann")
    await world.enrol(ann)
    world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/pause")
    item = world.tenant.put(ann, **{"from": "x@fabrikam.com"}, to=[ANN], subject="One of many")["id"]
    await eventually(lambda: world.mailbox(ann)["notified_items_waiting"] == 1)

    statuses, _ = await world.post([world.notification(item=f"{item}-{number}") for number in range(250)])
    await eventually(lambda: world.mailbox(ann)["window_due"])
    assert world.mailbox(ann)["notified_items_waiting"] < 200
    world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/resume")

    await eventually(lambda: world.has_subjects("One of many"))
    assert statuses == [202]


async def test_folder_moved_into_deleted_items_withdraws_its_messages(reconciling: World) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    await world.enrol(ann)
    folder = world.tenant.do("/folders", mailbox=ann, name="Projects")["id"]
    item = receive_email(world, "Filed")
    world.tenant.move(ann, item, folder)
    await eventually(lambda: world.has_subjects("Filed"))

    world.tenant.do("/folders/move", mailbox=ann, folder=folder, parent="deleteditems")

    await eventually(world.has_subjects)


async def test_subscription_that_graph_removed_is_created_again(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    before = {each["id"] for each in world.subscriptions()}
    world.simulator.lifecycle("subscriptionRemoved", mailbox=ann)

    def all_are_new() -> bool:
        return world.is_subscribed(ann) and not before & {each["id"] for each in world.subscriptions()}

    await eventually(all_are_new)
    receive_email(world, "Still captured")

    await eventually(lambda: world.has_subjects("Still captured"))


async def test_missed_event_reads_the_window_and_reauthorisation_event_renews(on_demand: World) -> None:
    world, ann = on_demand, on_demand.add_user("ann")
    await world.enrol(ann)
    await eventually(lambda: world.mailbox(ann)["complete_as_of"])
    expiries = {each["expirationDateTime"] for each in world.subscriptions()}
    views = count_requests(world, "calendar_view")
    # Expiry times are whole seconds: a renewal within the same second would not show.
    await asyncio.sleep(1)

    world.simulator.lifecycle("missed", mailbox=ann)
    world.simulator.lifecycle("reauthorizationRequired", mailbox=ann)

    await eventually(lambda: count_requests(world, "calendar_view") > views)
    await eventually(lambda: not expiries & {each["expirationDateTime"] for each in world.subscriptions()})


async def test_no_window_is_read_when_reconciliation_is_off(world: World) -> None:
    ann = world.add_user("ann")
    world.simulator.reset_counters()
    await world.enrol(ann)
    world.simulator.lifecycle("missed", mailbox=ann)
    receive_email(world, "One")
    await eventually(lambda: world.has_subjects("One"))
    await eventually(world.ingest.is_idle)

    assert not WINDOW_REQUESTS & set(world.simulator.counters()["requests"])
