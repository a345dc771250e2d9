"""What happens in Outlook, and what is then on the topics. No window is read here: each hint does it."""

from datetime import UTC, datetime, timedelta

from shared.events import Direction, Kind, Role

from .world import World, eventually


def soon(hours: float = 2) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


async def test_a_mail_is_said_once_with_who_when_and_subject(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    sent = world.tenant.send(
        "X@Fabrikam.com",
        ["ann@contoso.example", "bo@fabrikam.com"],
        cc=["cy@fabrikam.com"],
        bcc=["di@fabrikam.com"],
        subject="Offer",
        text="secret",
    )
    await eventually(lambda: world.has("Offer"))
    await eventually(world.ingest.idle)

    (said,) = await world.said(sent["copies"][0]["id"])

    activity = said.value
    assert activity is not None
    assert said.key == (world.tenant.id, ann, activity.item)
    assert [(each.role, each.address) for each in activity.participants] == [
        (Role.FROM, "X@Fabrikam.com"),
        (Role.TO, "ann@contoso.example"),
        (Role.TO, "bo@fabrikam.com"),
        (Role.CC, "cy@fabrikam.com"),
    ]
    assert (activity.direction, activity.at) == (Direction.INCOMING, activity.received_at)
    assert activity.visible_until - activity.visible_from == timedelta(days=3)
    assert b"secret" not in (said.raw.value or b"")
    assert b"di@fabrikam.com" not in (said.raw.value or b"")


async def test_copies_of_one_mail_have_one_identity_and_the_sender_s_is_outgoing(world: World) -> None:
    ann, bo = world.user("ann"), world.user("bo")
    await world.enrol(ann, bo)
    world.tenant.send("ann@contoso.example", ["bo@contoso.example"], subject="Hello")
    await eventually(lambda: world.has("Hello", "Hello"))

    of = {activity.mailbox: activity for activity in (await world.activities()).values()}

    assert of[ann].direction is Direction.OUTGOING
    assert of[bo].direction is Direction.INCOMING
    assert of[ann].identity == of[bo].identity


async def test_a_meeting_is_an_activity_its_mails_are_not_and_a_cancellation_says_so(world: World) -> None:
    ann, bo = world.user("ann"), world.user("bo")
    await world.enrol(ann, bo)
    booked = world.tenant.book(
        "ann@contoso.example", ["bo@contoso.example"], soon(), optional=["x@fabrikam.com"], subject="Kick-off"
    )
    await eventually(lambda: world.has("Kick-off", "Kick-off"))
    of = {activity.mailbox: activity for activity in (await world.activities()).values()}
    assert of[ann].kind is of[bo].kind is Kind.MEETING
    assert of[ann].identity == of[bo].identity
    assert {(each.role, each.address) for each in of[bo].participants} == {
        (Role.ORGANIZER, "ann@contoso.example"),
        (Role.REQUIRED, "bo@contoso.example"),
        (Role.OPTIONAL, "x@fabrikam.com"),
    }

    world.tenant.cancel(booked["uid"])

    async def told() -> bool:
        return {
            activity.mailbox for activity in (await world.activities()).values() if activity.cancelled
        } >= {bo}

    await eventually(told)


async def test_a_meeting_comes_no_sooner_than_three_days_before(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.tenant.book("ann@contoso.example", [], soon(24 * 3 + 1), subject="Later")
    world.tenant.book("ann@contoso.example", [], soon(24 * 3 - 1), subject="Soon")

    await eventually(lambda: world.has("Soon"))
    await eventually(world.ingest.idle)

    assert await world.has("Soon")


async def test_what_is_deleted_for_good_is_gone(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    item = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Oops")["copies"][0]["id"]
    uid = world.tenant.book("ann@contoso.example", [], soon(), subject="Cancelled lunch")["uid"]
    await eventually(lambda: world.has("Cancelled lunch", "Oops"))

    world.tenant.delete("ann@contoso.example", item, hard=True)
    world.tenant.delete_event("ann@contoso.example", uid)
    await eventually(world.has)

    first, *_, last = await world.said(item)
    assert last.value is None
    assert last.version > first.version


async def test_junk_and_deleted_items_are_not_live_other_folders_are_all_the_same(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    item = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Offer")["copies"][0]["id"]
    await eventually(lambda: world.has("Offer"))
    await eventually(world.ingest.idle)
    folder = world.tenant.do("/folders", mailbox=ann, name="Projects")["id"]

    world.tenant.move(ann, item, folder)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Next")
    await eventually(lambda: world.has("Next", "Offer"))
    await eventually(world.ingest.idle)
    before = len(await world.said(item))
    world.tenant.move(ann, item, "junkemail")
    await eventually(lambda: world.has("Next"))
    world.tenant.move(ann, item, "inbox")
    await eventually(lambda: world.has("Next", "Offer"))
    world.tenant.delete(ann, item)
    await eventually(lambda: world.has("Next"))

    assert before == 1, "a move between other folders was said"
    versions = [message.version for message in await world.said(item)]
    assert versions == sorted(set(versions))


async def test_a_draft_comes_only_when_it_is_sent(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    draft = world.tenant.put(
        ann, **{"from": "ann@contoso.example"}, to=["x@fabrikam.com"], subject="Draft", draft=True
    )
    await eventually(lambda: world.state(ann)["items"] == 1)
    await eventually(world.ingest.idle)
    assert await world.has()

    world.tenant.do("/messages/change", mailbox=ann, id=draft["id"], send=True)

    await eventually(lambda: world.has("Draft"))
    (activity,) = (await world.activities()).values()
    assert activity.direction is Direction.OUTGOING


async def test_private_is_said_to_be(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Between us", sensitivity="private")
    await eventually(lambda: world.has("Between us"))

    (activity,) = (await world.activities()).values()

    assert activity.sensitivity == "private"


async def test_an_item_leaves_by_the_clock(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    almost_over = (datetime.now(UTC) - timedelta(days=3) + timedelta(seconds=10)).isoformat()
    item = world.tenant.put(
        ann,
        **{"from": "x@fabrikam.com"},
        to=["ann@contoso.example"],
        subject="Old",
        received=almost_over,
        sent=almost_over,
    )["id"]
    await eventually(lambda: world.has("Old"))

    await eventually(world.has)

    assert [message.value is None for message in await world.said(item)] == [False, True]


async def test_nothing_but_ids_keys_versions_and_times_is_kept(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.tenant.send(
        "x@fabrikam.com", ["ann@contoso.example"], subject="Confidential offer", text="very secret"
    )
    await eventually(lambda: world.has("Confidential offer"))
    await eventually(world.ingest.idle)

    (item,) = world.documents("items")

    assert set(item) == {
        "_id",
        "owner",
        "kind",
        "change_key",
        "digest",
        "version",
        "by",
        "at",
        "leaves_at",
        "gone",
        "refused",
        "missing",
        "unsent",
    }
    everything = (
        repr([world.documents(name) for name in world.collections()])
        + world.ingest.log.read_text()
        + world.ingest.metrics()
    )
    for private in ("Confidential offer", "very secret", "fabrikam"):
        assert private not in everything
