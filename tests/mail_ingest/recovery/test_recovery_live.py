"""A database that was lost, or restored from an older copy, is recovered from the topics by itself."""

import asyncio

from shared.topics import MAILBOXES
from tests.mail_ingest.world import (
    World,
    eventually,
    value_of,
)

ANN, BO = "ann@contoso.example", "bo@contoso.example"


def send(world: World, address: str, subject: str) -> str:
    """Sends an e-mail, and returns its id."""
    return str(world.tenant.send("x@fabrikam.com", [address], subject=subject)["copies"][0]["id"])


async def captured(world: World, *subjects: str) -> None:
    """Waits until these e-mails are the live ones, and nothing is left to do."""
    await eventually(lambda: world.has_subjects(*subjects))
    await eventually(world.ingest.is_idle)


async def last_statuses(world: World) -> dict[str, str]:
    """The status of each mailbox, as it was published last."""
    return {
        message.key.mailbox: value_of(message).status
        for message in await world.read(MAILBOXES)
        if message.key
    }


async def test_lost_database_is_recovered_from_the_topics(world: World) -> None:
    ann, bo = world.add_user("ann"), world.add_user("bo")
    await world.enrol(ann, bo)
    kept, deleted = send(world, ANN, "Kept"), send(world, ANN, "Deleted meanwhile")
    send(world, BO, "Of a removed mailbox")
    await captured(world, "Kept", "Deleted meanwhile", "Of a removed mailbox")
    world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{bo}")
    await captured(world, "Kept", "Deleted meanwhile")
    await asyncio.to_thread(world.ingest.stop)

    world.replace_database({})
    world.tenant.do("/messages/delete", mailbox=ann, id=deleted)
    await asyncio.to_thread(world.ingest.start)

    await captured(world, "Kept")
    assert world.ingest.status()["recovery"]["last recovery"] == "database_empty"
    assert world.ingest.metric("store_recoveries_total") == 1
    assert len(await world.published(kept)) == 1, "what has not changed is not published again"
    assert {each["mailbox"]: each["status"] for each in world.mailboxes()} == {ann: "enrolled", bo: "removed"}
    await eventually(lambda: world.is_subscribed(ann))
    send(world, ANN, "New")
    await captured(world, "Kept", "New")

    await asyncio.to_thread(world.ingest.stop)
    await asyncio.to_thread(world.ingest.start)
    assert world.ingest.metric("store_recoveries_total") == 0, "a restart is no restore"


async def test_older_copy_is_recovered_and_a_removed_mailbox_stays_removed(world: World) -> None:
    ann, bo = world.add_user("ann"), world.add_user("bo")
    await world.enrol(ann, bo)
    deleted = send(world, ANN, "Deleted after the copy")
    send(world, BO, "Of a removed mailbox")
    await captured(world, "Deleted after the copy", "Of a removed mailbox")
    copied = world.copy_database()
    send(world, ANN, "After the copy")
    world.tenant.do("/messages/delete", mailbox=ann, id=deleted)
    world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{bo}")
    await captured(world, "After the copy")
    await asyncio.to_thread(world.ingest.stop)

    world.replace_database(copied)
    await asyncio.to_thread(world.ingest.start)
    send(world, BO, "To a removed mailbox")

    await captured(world, "After the copy")
    assert world.ingest.status()["recovery"]["last recovery"] == "message_newer"
    assert (await last_statuses(world))[bo] == "removed"
    assert world.mailbox(bo)["status"] == "removed"
