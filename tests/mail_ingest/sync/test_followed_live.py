"""Changes of followed items are answered on `content`: changed, cancelled, gone; nothing else is."""

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.broker import KafkaClient
from shared.clock import system_clock, to_micros
from shared.events import (
    ActivityKind,
    ContentUpdated,
    Event,
    FetchContent,
    Followed,
    FollowItems,
    Sensitivity,
)
from shared.keys import MailboxKey
from shared.messages import OutgoingMessage
from shared.topics import ACTIVITIES, CONTENT, CONTENT_REQUESTS, TRACKING
from tests.mail_ingest.world import World, eventually, kafka_settings, value_of

ANN = "ann@contoso.example"
DAY = timedelta(days=1)


async def version_of(world: World, item: str) -> int:
    """The version of the item's last activity, which tracking has after Track."""
    messages = [each for each in await world.read(ACTIVITIES) if each.key and each.key.item == item]
    return messages[-1].version


async def follow(
    world: World,
    mailbox: str,
    *items: tuple[ActivityKind, str, int],
    until: datetime | None = None,
    sensitivity: Sensitivity = Sensitivity.NORMAL,
) -> None:
    """tracking names these followed items with the versions that it has; waits until they are known."""
    named = tuple(
        Followed(
            item=item,
            kind=kind,
            version=version,
            until=until or datetime.now(UTC) + 3 * DAY,
            sensitivity=sensitivity,
        )
        for kind, item, version in items
    )
    await publish(world, mailbox, FollowItems(items=named))
    names = {item for _, item, _ in items}
    await eventually(
        lambda: (
            names <= {each["_id"].split("/", 2)[2] for each in world.documents("followed_items", named=True)}
        )
    )
    await eventually(world.ingest.is_idle)


async def publish(world: World, mailbox: str, value: Event) -> None:
    """tracking publishes this on `content-requests`."""
    kafka = KafkaClient(kafka_settings(world.environment), TRACKING, system_clock)
    await kafka.producer.start()
    key, version = MailboxKey(world.tenant.id, mailbox), to_micros(system_clock())
    await kafka.producer.send(OutgoingMessage(CONTENT_REQUESTS, key, value, version))
    await kafka.producer.stop()


async def track(world: World, mailbox: str, kind: ActivityKind, item: str) -> int:
    """tracking requests an item's content, and names it; returns the answer's version."""
    deadline = datetime.now(UTC) + timedelta(minutes=1)
    await publish(world, mailbox, FetchContent(request=item, item=item, kind=kind, deadline=deadline))
    version = int(await eventually(lambda: version_of_answer(world, item)))
    await follow(world, mailbox, (kind, item, version))
    return version


async def version_of_answer(world: World, request: str) -> int:
    """The version of the answer to a content request; 0 before it is there."""
    messages = [
        each for each in await world.read(CONTENT) if getattr(value_of(each), "request", "") == request
    ]
    return messages[-1].version if messages else 0


async def answers(world: World) -> list[tuple[str, str, str | None]]:
    """Item, change and subject of each answer."""
    return [
        (value.item, value.change.value, value.content.activity.subject if value.content else None)
        for value in await updates(world)
    ]


async def updates(world: World) -> list[ContentUpdated]:
    return [value for value in await world.content_answers() if isinstance(value, ContentUpdated)]


async def answered(world: World, *expected: tuple[str, str, str | None]) -> None:
    """Waits for exactly these answers in their order."""
    await eventually(lambda: has_count(world, len(expected)))
    await eventually(world.ingest.is_idle)
    assert await answers(world) == list(expected)


async def has_count(world: World, count: int) -> bool:
    return len(await answers(world)) >= count


def receive_email(world: World, subject: str, **mail: Any) -> str:
    return str(world.tenant.send("x@fabrikam.com", [ANN], subject=subject, **mail)["copies"][0]["id"])


def book(world: World, subject: str, **meeting: Any) -> tuple[str, str]:
    """Books a meeting with Ann; returns its uid, and the id of Ann's copy."""
    start = datetime.now(UTC) + timedelta(hours=1)
    booked = world.tenant.book("x@fabrikam.com", [ANN], start.isoformat(), subject=subject, **meeting)
    [item] = [copy["id"] for copy in booked["copies"]]
    return str(booked["uid"]), str(item)


async def followed_email(world: World, subject: str, **mail: Any) -> tuple[str, str]:
    """A mailbox with one followed e-mail; returns both ids."""
    ann = world.add_user("ann")
    await world.enrol(ann)
    item = receive_email(world, subject, **mail)
    await eventually(lambda: world.has_subjects(subject))
    await track(world, ann, ActivityKind.EMAIL, item)
    return ann, item


async def followed_meeting(world: World, subject: str, **meeting: Any) -> tuple[str, str, str]:
    """A mailbox with one followed meeting; returns mailbox, uid and item."""
    ann = world.add_user("ann")
    await world.enrol(ann)
    uid, item = book(world, subject, **meeting)
    await eventually(lambda: world.has_subjects(subject))
    await track(world, ann, ActivityKind.MEETING, item)
    return ann, uid, item


async def test_meeting_that_is_changed_cancelled_and_deleted_is_answered(world: World) -> None:
    ann, uid, item = await followed_meeting(world, "Kick-off", text="Agenda")
    assert await answers(world) == []

    world.tenant.change_meeting(uid, subject="Start", text="New agenda")
    await answered(world, (item, "changed", "Start"))
    world.tenant.cancel(uid)
    await answered(world, (item, "changed", "Start"), (item, "cancelled", "Canceled: Start"))
    world.tenant.delete_event(ann, uid)
    await eventually(lambda: has_count(world, 3))

    changed, cancelled, gone = await updates(world)
    assert changed.content
    assert "New agenda" in changed.content.text
    assert cancelled.content
    assert cancelled.content.activity.cancelled
    assert (gone.change, gone.content) == ("gone", None)
    versions = [message.version for message in await world.read(CONTENT)]
    assert versions == sorted(set(versions))
    stored = repr(world.documents("followed_items"))
    assert "agenda" not in stored
    assert "Start" not in stored


async def test_message_that_is_moved_is_followed_there_and_one_that_is_deleted_is_gone(world: World) -> None:
    ann, item = await followed_email(world, "Offer")
    archive = world.tenant.do("/folders", mailbox=ann, name="Archive 2026")["id"]

    world.tenant.move(ann, item, archive)
    world.tenant.do("/messages/change", mailbox=ann, id=item, is_read=True)
    world.tenant.do("/messages/change", mailbox=ann, id=item, subject="Our offer")
    await answered(world, (item, "changed", "Our offer"))
    world.tenant.move(ann, item, "junkemail")
    world.tenant.delete(ann, item)  # to Deleted Items
    await answered(world, (item, "changed", "Our offer"), (item, "gone", None))
    world.tenant.move(ann, item, "inbox")
    expected = [(item, "changed", "Our offer"), (item, "gone", None), (item, "changed", "Our offer")]
    await answered(world, *expected)
    world.tenant.delete(ann, item, hard=True)
    await answered(world, *expected, (item, "gone", None))


async def test_change_that_shows_nothing_and_an_item_that_is_not_followed_are_not_answered(
    world: World,
) -> None:
    ann, item = await followed_email(world, "Offer")
    other = receive_email(world, "Other")
    world.tenant.do("/messages/change", mailbox=ann, id=item, is_read=True)
    world.tenant.do("/messages/change", mailbox=ann, id=other, subject="Other changed")
    await eventually(lambda: world.has_subjects("Offer", "Other changed"))
    await eventually(world.ingest.is_idle)
    world.tenant.do("/messages/change", mailbox=ann, id=item, subject="Last")
    await answered(world, (item, "changed", "Last"))
    world.tenant.do("/messages/change", mailbox=ann, id=item, is_read=False)
    await eventually(world.ingest.is_idle)
    assert await answers(world) == [(item, "changed", "Last")]


async def test_answer_that_tracking_does_not_have_is_given_again(world: World) -> None:
    ann, item = await followed_email(world, "Offer")
    known = await version_of_answer(world, item)
    world.tenant.do("/messages/change", mailbox=ann, id=item, subject="Changed")
    await answered(world, (item, "changed", "Changed"))

    await follow(world, ann, (ActivityKind.EMAIL, item, known))

    await answered(world, *[(item, "changed", "Changed")] * 2)
    last = (await world.read(CONTENT))[-1].version
    await follow(world, ann, (ActivityKind.EMAIL, item, last))
    await answered(world, *[(item, "changed", "Changed")] * 2)


async def test_state_that_changed_before_it_was_followed_is_answered(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    item = receive_email(world, "Offer")
    await eventually(lambda: world.has_subjects("Offer"))
    known = await version_of(world, item)
    world.tenant.do("/messages/change", mailbox=ann, id=item, subject="Changed")
    await eventually(lambda: world.has_subjects("Changed"))

    await follow(world, ann, (ActivityKind.EMAIL, item, known))

    await answered(world, (item, "changed", "Changed"))


async def test_item_that_became_private_is_not_published(world: World) -> None:
    _, uid, item = await followed_meeting(world, "Kick-off")
    world.tenant.change_meeting(uid, subject="Secret", text="Secret", sensitivity="private")
    await eventually(lambda: world.has_subjects("Secret"))
    await eventually(world.ingest.is_idle)
    assert await answers(world) == []
    world.tenant.change_meeting(uid, subject="Public", text="Public", sensitivity="normal")
    await answered(world, (item, "changed", "Public"))


async def test_item_that_cannot_be_fetched_is_not_answered_as_gone(world: World) -> None:
    ann, item = await followed_email(world, "Offer")
    world.simulator.fault(410, item=item, code="ErrorGone")
    world.tenant.do("/messages/change", mailbox=ann, id=item, subject="Changed")
    await eventually(lambda: world.ingest.work()["stuck items"])
    await eventually(world.ingest.is_idle)
    assert await answers(world) == []
    world.simulator.clear_faults()
    world.ingest.call("POST", "/stuck-items/retry", tenant=world.tenant.id, mailbox=ann)
    await answered(world, (item, "changed", "Changed"))


async def test_paused_and_removed_mailboxes_give_no_answers(world: World) -> None:
    ann, item = await followed_email(world, "Offer")
    mailbox = f"/mailboxes/{world.tenant.id}/{ann}"
    world.ingest.call("POST", f"{mailbox}/pause")
    world.tenant.do("/messages/change", mailbox=ann, id=item, subject="Paused")
    await eventually(lambda: world.documents("mailboxes")[0]["notified_items"])
    await eventually(lambda: not world.is_held())
    assert await answers(world) == []
    world.ingest.call("POST", f"{mailbox}/resume")
    await answered(world, (item, "changed", "Paused"))
    world.ingest.call("DELETE", mailbox)
    await eventually(lambda: not world.documents("followed_items"))
    world.tenant.do("/messages/change", mailbox=ann, id=item, subject="Removed")
    await eventually(world.ingest.is_idle)
    assert await answers(world) == [(item, "changed", "Paused")]


async def test_item_that_is_untracked_is_followed_no_more(world: World) -> None:
    ann, item = await followed_email(world, "Offer")
    other = receive_email(world, "Other")
    await track(world, ann, ActivityKind.EMAIL, other)
    ends = Followed(item=item, kind=ActivityKind.EMAIL, version=0, until=datetime.now(UTC))
    await publish(world, ann, FollowItems(items=(ends,)))
    await eventually(lambda: len(world.documents("followed_items")) == 1)
    for each in (item, other):
        world.tenant.do("/messages/change", mailbox=ann, id=each, subject="Changed")
    await answered(world, (other, "changed", "Changed"))


async def test_reading_of_the_window_answers_what_no_notification_has_named(on_demand: World) -> None:
    world = on_demand
    ann, uid, moved = await followed_meeting(world, "Moved far away")
    shown, deleted = receive_email(world, "Shown"), receive_email(world, "Deleted")
    await eventually(lambda: world.has_subjects("Moved far away", "Shown", "Deleted"))
    items = [(ActivityKind.EMAIL, item, await version_of(world, item)) for item in (shown, deleted)]
    await follow(world, ann, *items)
    world.simulator.delivery(loss=1.0)
    next_month = datetime.now(UTC) + 30 * DAY
    world.tenant.change_meeting(uid, start=next_month.isoformat())
    world.tenant.do("/messages/change", mailbox=ann, id=shown, subject="Shown again")
    world.tenant.delete(ann, deleted, hard=True)
    world.simulator.delivery(loss=0.0)

    world.simulator.lifecycle("missed", mailbox=ann)

    await eventually(lambda: has_count(world, 3))
    await eventually(world.ingest.is_idle)
    assert sorted(await answers(world), key=str) == sorted(
        [(moved, "changed", "Moved far away"), (shown, "changed", "Shown again"), (deleted, "gone", None)],
        key=str,
    )
    last = {value.item: value for value in await updates(world)}[moved].content
    assert last
    assert last.activity.start
    assert abs(last.activity.start - next_month) < timedelta(seconds=1)
    # Out of the window a meeting is requested by its id, at each reading.
    world.simulator.delivery(loss=1.0)
    world.tenant.change_meeting(uid, subject="Renamed")
    world.simulator.delivery(loss=0.0)
    world.simulator.lifecycle("missed", mailbox=ann)
    await eventually(lambda: has_count(world, 4))
    assert (await answers(world))[-1] == (moved, "changed", "Renamed")


async def test_long_text_is_cut_and_fits_its_topic(world: World) -> None:
    ann, item = await followed_email(world, "Offer")
    world.tenant.do("/messages/change", mailbox=ann, id=item, text='"\\' * 600_000)
    await answered(world, (item, "changed", "Offer"))
    [update] = await updates(world)
    content = update.content
    assert content
    assert content.cut
    assert 300_000 < len(content.text) <= 900_000
