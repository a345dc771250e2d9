"""Enrol, list, pause, resume, remove, resend: by the internal port and by the command line."""

import asyncio
import json
import os
import sys
from uuid import uuid4

from .world import World, eventually


async def command(world: World, *arguments: str) -> tuple[int, str, str]:
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **world.environment,
        **world.ingest.environment,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.mail_ingest",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_paused_mailbox_rests_and_catches_up(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Before")
    await eventually(lambda: world.has("Before"))

    assert world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/pause").json()["status"] == "paused"
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Meanwhile")
    await eventually(lambda: world.state(ann)["hints_waiting"] == 1)
    await asyncio.sleep(1)
    assert await world.has("Before")
    world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/resume")

    await eventually(lambda: world.has("Before", "Meanwhile"))
    assert [said.status for said in await world.mailbox_said(ann)] == ["enrolled", "paused", "enrolled"]


async def test_a_removed_mailbox_is_withdrawn_announced_and_unsubscribed(world: World) -> None:
    ann, bo = world.user("ann"), world.user("bo")
    await world.enrol(ann, bo)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example", "bo@contoso.example"], subject="Offer")
    await eventually(lambda: world.has("Offer", "Offer"))

    assert world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{ann}").status_code == 200

    await eventually(lambda: world.has("Offer"))
    await eventually(
        lambda: not any(ann in each["resource"].lower() for each in world.simulator.subscriptions())
    )
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example", "bo@contoso.example"], subject="After")
    await eventually(lambda: world.has("After", "Offer"))
    assert {activity.mailbox for activity in (await world.activities()).values()} == {bo}
    assert (await world.mailbox_said(ann))[-1].status == "removed"
    assert [entry["action"] for entry in world.documents("audit") if entry["mailbox"] == ann] == [
        "enrol",
        "remove",
    ]


async def test_a_removed_mailbox_withdraws_however_much_waits(world: World) -> None:
    """As where Kafka was away, and long."""
    ann, waiting = world.user("ann"), 700
    await world.enrol(ann)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Offer")
    await eventually(lambda: world.has("Offer"))
    world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{ann}")
    await eventually(lambda: [each["gone"] for each in world.documents("items", unsent=False)] != [None])
    await eventually(world.ingest.idle)

    (item,) = world.documents("items")
    world.add_documents(
        "items", [item | {"_id": f"{item['_id']}-{number}", "unsent": True} for number in range(waiting)]
    )
    world.change_documents("mailboxes", {}, {"due_at": item["gone"]})

    await eventually(lambda: len(world.documents("items", unsent=False)) == waiting + 1)


async def test_a_removed_mailbox_can_be_enrolled_again(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{ann}")
    await eventually(lambda: not world.subscribed(ann))

    await world.enrol(ann)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Again")

    await eventually(lambda: world.has("Again"))


async def test_the_internal_port_is_for_holders_of_the_token(world: World) -> None:
    asked = [
        ("GET", "/mailboxes"),
        ("POST", "/mailboxes"),
        ("POST", "/previews"),
        ("DELETE", "/mailboxes/t/m"),
        ("POST", "/mailboxes/t/m/pause"),
        ("POST", "/mailboxes/t/m/resume"),
    ]

    for token in (None, "wrong", "a-service-token-for-tests-and-more"):
        assert {world.ingest.call(method, path, token).status_code for method, path in asked} == {401}


async def test_who_is_not_enrolled_is_not_found(world: World) -> None:
    nobody = f"/mailboxes/{world.tenant.id}/{uuid4()}"

    assert world.ingest.call("POST", f"{nobody}/pause").status_code == 404
    assert world.ingest.call("DELETE", nobody).status_code == 404
    assert world.ingest.call(
        "POST", "/mailboxes", tenant=world.tenant.id, mailbox="nobody@contoso.example"
    ).json() == {"reason": "no_mailbox"}
    assert (
        world.ingest.call("POST", "/mailboxes", tenant=world.tenant.id, mailbox="ann", more=1).status_code
        == 422
    )


async def test_the_command_line_does_the_same(world: World) -> None:
    ann = world.user("ann")

    status, out, _ = await command(world, "mailboxes", "enrol", world.tenant.id, "ann@contoso.example")
    assert (status, json.loads(out)["mailbox"]) == (0, ann)
    await eventually(lambda: world.subscribed(ann))
    item = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Offer")["copies"][0]["id"]
    await eventually(lambda: world.has("Offer"))

    status, out, _ = await command(world, "mailboxes", "list")
    assert (status, json.loads(out)["items"]) == (0, 1)

    status, out, _ = await command(world, "resend", "--mailbox", ann)
    assert status == 0
    assert out.startswith("1 items")

    async def said_twice() -> bool:
        return len(await world.said(item)) == 2

    await eventually(said_twice)

    assert (await command(world, "mailboxes", "remove", world.tenant.id, ann))[0] == 0
    await eventually(world.has)
    status, _, err = await command(world, "mailboxes", "pause", world.tenant.id, ann)
    assert (status, err) == (1, "this mailbox is not enrolled\n")
