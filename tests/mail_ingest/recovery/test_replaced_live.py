"""The worst of a database that is put back beneath a running service: its marks are the last to come."""

from datetime import UTC, datetime
from typing import Any

from services.mail_ingest.store.documents import Work
from shared.topics import ACTIVITIES, MAILBOXES
from tests.mail_ingest.world import World, eventually

from .test_recovery_live import captured, last_statuses, send

ANN, BO, CAI, DEE = (f"{name}@contoso.example" for name in ("ann", "bo", "cai", "dee"))


def make_all_due(copied: dict[str, list[dict[str, Any]]]) -> None:
    """Has the worker read each window of a copy, and publish each of its items, as soon as it is put back."""
    now = datetime.now(UTC)
    for mailbox in copied["mailboxes"]:
        mailbox |= {"window_due": now, "pending_items_due": now, Work.ROUTINE: now}
    for item in copied["items"]:
        item["publish_pending"] = True


async def test_what_comes_of_an_older_copy_before_it_is_found_is_overruled(world: World) -> None:
    ann, bo, cai, dee = (world.add_user(name) for name in ("ann", "bo", "cai", "dee"))
    await world.enrol(ann, bo)
    deleted = send(world, ANN, "Deleted after the copy")
    send(world, BO, "Of a removed mailbox")
    await captured(world, "Deleted after the copy", "Of a removed mailbox")
    copied = world.copy_database()
    world.tenant.do("/messages/delete", mailbox=ann, id=deleted)
    world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{bo}")
    await world.enrol(cai, dee)
    send(world, CAI, "Before the older copy")  # so that the webhook knows the subscription
    await captured(world, "Before the older copy")
    send(world, BO, "To a removed mailbox")
    make_all_due(copied)
    await eventually(lambda: is_all_compared(world))  # else the newer messages show that the copy is older

    world.replace_database(copied, keep=["marks"])
    await eventually(
        lambda: world.has_subjects("Before the older copy", "Of a removed mailbox", "To a removed mailbox")
    )
    assert (await last_statuses(world))[bo] == "enrolled", "the older copy is in use"
    accepted = [send(world, address, "Accepted meanwhile") for address in (CAI, DEE)]
    await eventually(lambda: is_accepted(world, accepted[0]))
    await eventually(lambda: world.ingest.work()["lag"] == 0)
    assert world.ingest.status()["recovery"]["database"] == "in use"

    world.replace_database(copied, keep=[*copied.keys() - {"marks"}])

    await eventually(lambda: world.ingest.metric("store_recoveries_total") == 1)
    await captured(world, "Accepted meanwhile", "Accepted meanwhile", "Before the older copy")
    assert (await last_statuses(world))[bo] == "removed"
    assert world.mailbox(bo)["status"] == "removed"


async def is_all_compared(world: World) -> bool:
    """Whether the marks have passed all messages."""
    marks = {mark["_id"]: mark["offsets"] for mark in world.copy_database()["marks"]}
    names = {topic: world.environment["TOPIC_PREFIX"] + topic.name for topic in (MAILBOXES, ACTIVITIES)}
    return all([sum(marks[name].values()) == len(await world.read(topic)) for topic, name in names.items()])


async def is_accepted(world: World, item: str) -> bool:
    return item in [each for _, each in await world.notified_items()]
