"""Changes in Outlook, and the messages that follow. No window is read: notifications name every change."""

from datetime import UTC, datetime, timedelta

from services.mail_ingest.domain.items import CapturedItem
from services.mail_ingest.store.documents import ITEM
from shared.events import ActivityKind, Direction, ParticipantRole
from shared.keys import ItemKey
from tests.mail_ingest.world import World, eventually, value_of

ANN, BO = "ann@contoso.example", "bo@contoso.example"


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def receive_email(world: World, subject: str) -> str:
    """Sends an e-mail to Ann, and returns the id of the copy in that mailbox."""
    return str(world.tenant.send("x@fabrikam.com", [ANN], subject=subject)["copies"][0]["id"])


async def test_email_is_published_once_with_participants_times_and_subject(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    sent = world.tenant.send(
        "X@Fabrikam.com",
        [ANN, "bo@fabrikam.com"],
        cc=["cy@fabrikam.com"],
        bcc=["di@fabrikam.com"],
        subject="Offer",
        text="secret",
    )
    await eventually(lambda: world.has_subjects("Offer"))
    await eventually(world.ingest.is_idle)

    (message,) = await world.published(sent["copies"][0]["id"])

    activity = value_of(message)
    assert activity is not None
    assert message.key == ItemKey(world.tenant.id, ann, activity.item)
    assert [(each.role, each.address) for each in activity.participants] == [
        (ParticipantRole.FROM, "X@Fabrikam.com"),
        (ParticipantRole.TO, ANN),
        (ParticipantRole.TO, "bo@fabrikam.com"),
        (ParticipantRole.CC, "cy@fabrikam.com"),
    ]
    assert (activity.direction, activity.at) == (Direction.INCOMING, activity.received_at)
    assert activity.visible_until - activity.visible_from == timedelta(days=3)
    assert b"secret" not in (message.record.value or b"")
    assert b"di@fabrikam.com" not in (message.record.value or b"")


async def test_copies_have_one_identity_and_the_senders_copy_is_outgoing(world: World) -> None:
    ann, bo = world.add_user("ann"), world.add_user("bo")
    await world.enrol(ann, bo)
    world.tenant.send(ANN, [BO], subject="Hello")
    await eventually(lambda: world.has_subjects("Hello", "Hello"))

    copies = {activity.mailbox: activity for activity in (await world.activities()).values()}

    assert copies[ann].direction is Direction.OUTGOING
    assert copies[bo].direction is Direction.INCOMING
    assert copies[ann].identity == copies[bo].identity


async def test_meeting_is_captured_its_emails_are_not_and_a_cancellation_is_published(world: World) -> None:
    ann, bo = world.add_user("ann"), world.add_user("bo")
    await world.enrol(ann, bo)
    booked = world.tenant.book(ANN, [BO], in_hours(2), optional=["x@fabrikam.com"], subject="Kick-off")
    await eventually(lambda: world.has_subjects("Kick-off", "Kick-off"))
    copies = {activity.mailbox: activity for activity in (await world.activities()).values()}
    assert copies[ann].kind is copies[bo].kind is ActivityKind.MEETING
    assert copies[ann].identity == copies[bo].identity
    assert {(each.role, each.address) for each in copies[bo].participants} == {
        (ParticipantRole.ORGANIZER, ANN),
        (ParticipantRole.REQUIRED, BO),
        (ParticipantRole.OPTIONAL, "x@fabrikam.com"),
    }

    world.tenant.cancel(booked["uid"])

    async def is_cancelled() -> bool:
        activities = (await world.activities()).values()
        return bo in {activity.mailbox for activity in activities if activity.cancelled}

    await eventually(is_cancelled)


async def test_meeting_is_captured_three_days_before_its_start(world: World) -> None:
    await world.enrol(world.add_user("ann"))
    world.tenant.book(ANN, [], in_hours(24 * 3 + 1), subject="Later")
    world.tenant.book(ANN, [], in_hours(24 * 3 - 1), subject="Soon")

    await eventually(lambda: world.has_subjects("Soon"))
    await eventually(world.ingest.is_idle)

    assert await world.has_subjects("Soon")


async def test_permanently_deleted_item_is_withdrawn(world: World) -> None:
    await world.enrol(world.add_user("ann"))
    item = receive_email(world, "Oops")
    uid = world.tenant.book(ANN, [], in_hours(2), subject="Cancelled lunch")["uid"]
    await eventually(lambda: world.has_subjects("Cancelled lunch", "Oops"))

    world.tenant.delete(ANN, item, hard=True)
    world.tenant.delete_event(ANN, uid)
    await eventually(world.has_subjects)

    first, *_, last = await world.published(item)
    assert value_of(last) is None
    assert last.version > first.version


async def test_junk_and_deleted_items_are_not_live_and_other_folders_are(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    item = receive_email(world, "Offer")
    await eventually(lambda: world.has_subjects("Offer"))
    await eventually(world.ingest.is_idle)
    folder = world.tenant.do("/folders", mailbox=ann, name="Projects")["id"]

    world.tenant.move(ann, item, folder)
    receive_email(world, "Next")
    await eventually(lambda: world.has_subjects("Next", "Offer"))
    await eventually(world.ingest.is_idle)
    published_before = len(await world.published(item))
    world.tenant.move(ann, item, "junkemail")
    await eventually(lambda: world.has_subjects("Next"))
    world.tenant.move(ann, item, "inbox")
    await eventually(lambda: world.has_subjects("Next", "Offer"))
    world.tenant.delete(ann, item)
    await eventually(lambda: world.has_subjects("Next"))

    assert published_before == 1, "a move between live folders was published"
    versions = [message.version for message in await world.published(item)]
    assert versions == sorted(set(versions))


async def test_draft_is_captured_when_it_is_sent(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    draft = world.tenant.put(ann, **{"from": ANN}, to=["x@fabrikam.com"], subject="Draft", draft=True)
    await eventually(lambda: world.mailbox(ann)["items"] == 1)
    await eventually(world.ingest.is_idle)
    assert await world.has_subjects()

    world.tenant.do("/messages/change", mailbox=ann, id=draft["id"], send=True)

    await eventually(lambda: world.has_subjects("Draft"))
    (activity,) = (await world.activities()).values()
    assert activity.direction is Direction.OUTGOING


async def test_sensitivity_is_captured(world: World) -> None:
    await world.enrol(world.add_user("ann"))
    world.tenant.send("x@fabrikam.com", [ANN], subject="Between us", sensitivity="private")
    await eventually(lambda: world.has_subjects("Between us"))

    (activity,) = (await world.activities()).values()

    assert activity.sensitivity == "private"


async def test_item_is_withdrawn_when_its_window_ends(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    almost_over = (datetime.now(UTC) - timedelta(days=3) + timedelta(seconds=10)).isoformat()
    item = world.tenant.put(
        ann, **{"from": "x@fabrikam.com"}, to=[ANN], subject="Old", received=almost_over, sent=almost_over
    )["id"]
    await eventually(lambda: world.has_subjects("Old"))

    await eventually(world.has_subjects)

    assert [value_of(message) is None for message in await world.published(item)] == [False, True]


async def test_only_ids_keys_versions_and_times_are_stored(world: World) -> None:
    await world.enrol(world.add_user("ann"))
    world.tenant.send("x@fabrikam.com", [ANN], subject="Confidential offer", text="very secret")
    await eventually(lambda: world.has_subjects("Confidential offer"))
    await eventually(world.ingest.is_idle)

    (document,) = world.documents("items")

    assert set(document) == {
        "_id",
        "owner",
        "kind",
        "change_key",
        "digest",
        "enters_at",
        "version",
        "by",
        "at",
        "leaves_at",
        "first_seen",
        "gone",
        "refused",
        "missing",
        "publish_pending",
        "resent",
    }
    assert isinstance(ITEM.read(document, "i"), CapturedItem)
    everything = "".join(
        [
            repr([world.documents(name) for name in world.collections()]),
            world.ingest.log.read_text(),
            world.ingest.metrics(),
        ]
    )
    for private in ("Confidential offer", "very secret", "fabrikam"):
        assert private not in everything
