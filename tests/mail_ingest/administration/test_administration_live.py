"""Enrol, list, pause, resume, remove, resend: by the internal port and by the command line."""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.mail_ingest.world import World, eventually, value_of
from tests.support import forks

ANN, BO = "ann@contoso.example", "bo@contoso.example"


async def run_command(world: World, *arguments: str) -> tuple[int, str, str]:
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **world.ingest.environment,
    }
    ran = await asyncio.to_thread(forks.run, "services.mail_ingest", *arguments, env=environment)
    return ran.returncode, ran.stdout, ran.stderr


def receive_email(world: World, subject: str, *addresses: str) -> str:
    """Sends an e-mail, and returns the id of the first recipient's item."""
    sent = world.tenant.send("x@fabrikam.com", list(addresses or (ANN,)), subject=subject)
    return str(sent["copies"][0]["id"])


async def test_paused_mailbox_rests_and_catches_up(world: World) -> None:
    world.simulator.delivery(followed_by_updated=False)
    ann = world.add_user("ann")
    await world.enrol(ann)
    receive_email(world, "Before")
    await eventually(lambda: world.has_subjects("Before"))

    paused = world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/pause").json()
    assert paused["status"] == "paused"
    receive_email(world, "Meanwhile")
    await eventually(lambda: world.mailbox(ann)["notified_items_waiting"] == 1)
    await asyncio.sleep(1)
    assert await world.has_subjects("Before")
    world.ingest.call("POST", f"/mailboxes/{world.tenant.id}/{ann}/resume")

    await eventually(lambda: world.has_subjects("Before", "Meanwhile"))
    states = await world.published_states(ann)
    assert [state.status for state in states] == ["enrolled", "paused", "enrolled"]


async def test_removed_mailbox_is_withdrawn_published_and_unsubscribed(world: World) -> None:
    ann, bo = world.add_user("ann"), world.add_user("bo")
    await world.enrol(ann, bo)
    receive_email(world, "Offer", ANN, BO)
    await eventually(lambda: world.has_subjects("Offer", "Offer"))

    assert world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{ann}").status_code == 200

    await eventually(lambda: world.has_subjects("Offer"))
    await eventually(
        lambda: not any(ann in each["resource"].lower() for each in world.simulator.subscriptions())
    )
    receive_email(world, "After", ANN, BO)
    await eventually(lambda: world.has_subjects("After", "Offer"))
    assert {activity.mailbox for activity in (await world.activities()).values()} == {bo}
    assert (await world.published_states(ann))[-1].status == "removed"
    audited = [entry for entry in world.documents("audit") if entry["mailbox"] == ann]
    assert [(entry["action"], entry["by"]) for entry in audited] == [("enrol", "api"), ("remove", "api")]


async def test_removal_withdraws_any_number_of_pending_items(world: World) -> None:
    """As after a long outage of Kafka."""
    ann, count = world.add_user("ann"), 700
    await world.enrol(ann)
    receive_email(world, "Offer")
    await eventually(lambda: world.has_subjects("Offer"))
    world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{ann}")

    def published_items() -> list[dict[str, object]]:
        return world.documents("items", publish_pending=False)

    await eventually(lambda: [each["gone"] for each in published_items()] != [None])
    await eventually(world.ingest.is_idle)

    (item,) = world.documents("items")
    world.add_documents(
        "items",
        [item | {"_id": f"{item['_id']}-{number}", "publish_pending": True} for number in range(count)],
    )
    world.change_documents("mailboxes", {}, {"due_at": item["gone"]})

    await eventually(lambda: len(published_items()) == count + 1)


async def test_removed_mailbox_can_be_enrolled_again(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    world.ingest.call("DELETE", f"/mailboxes/{world.tenant.id}/{ann}")
    await eventually(lambda: not world.is_subscribed(ann))

    await world.enrol(ann)
    receive_email(world, "Again")

    await eventually(lambda: world.has_subjects("Again"))


async def test_internal_port_needs_the_token(world: World) -> None:
    routes = [
        ("GET", "/mailboxes"),
        ("POST", "/mailboxes"),
        ("POST", "/mailboxes/batch"),
        ("GET", "/tenants/blocked"),
        ("POST", "/previews"),
        ("DELETE", "/mailboxes/t/m"),
        ("POST", "/mailboxes/t/m/pause"),
        ("POST", "/mailboxes/t/m/resume"),
        ("GET", "/stuck-items"),
        ("POST", "/stuck-items/retry"),
        ("POST", "/stuck-items/drop"),
    ]

    for token in (None, "wrong", "a-service-token-for-tests-and-more"):
        responses = [world.ingest.call(method, path, token) for method, path in routes]
        assert {response.status_code for response in responses} == {401}
        assert {response.headers["www-authenticate"] for response in responses} == {"Bearer"}
        assert {response.json()["code"] for response in responses} == {"unauthorized"}


async def test_errors_are_problem_details(world: World) -> None:
    nobody = f"/mailboxes/{world.tenant.id}/{uuid4()}"
    tenant = world.tenant.id

    def problem(method: str, path: str, **body: Any) -> tuple[int, str]:
        response = world.ingest.call(method, path, **body)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code
        return response.status_code, response.json()["code"]

    assert problem("POST", f"{nobody}/pause") == (404, "not_enrolled")
    assert problem("DELETE", nobody) == (404, "not_enrolled")
    assert problem("POST", "/mailboxes", tenant=tenant, mailbox="nobody@contoso.example") == (
        409,
        "no_mailbox",
    )
    assert problem("POST", "/mailboxes", tenant=tenant, mailbox="ann", more=1) == (422, "invalid")
    assert problem("GET", "/nowhere") == (404, "not_found")


async def test_command_line_lists_retries_and_drops_stuck_items(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    owner = f"{world.tenant.id}/{ann}"
    since, retry_at = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
    stuck = {"kind": "email", "reason": "graph_500", "since": since, "failures": 1, "retry_at": retry_at}
    one, another = (f"AAkALgAAAAAAHYQDEapmEc2byACqAC/EWg0A{each * 36}" for each in "ab")  # of no item
    items = [{"_id": f"{owner}/{i}", "owner": owner, **stuck} for i in (one, another)]
    world.add_documents("stuck_items", items)

    status, out, _ = await run_command(world, "stuck-items", "list", "--tenant", world.tenant.id)
    listed = [json.loads(line) for line in out.splitlines()]
    assert (status, [(each["item"], each["reason"]) for each in listed]) == (
        0,
        [(one, "graph_500"), (another, "graph_500")],
    )
    status, out, _ = await run_command(world, "stuck-items", "drop", world.tenant.id, ann, one)
    assert (status, out) == (0, "1 items will not be fetched again\n")
    status, out, _ = await run_command(world, "stuck-items", "retry", world.tenant.id, ann)
    assert (status, out) == (0, "1 items will be fetched again now\n")

    await eventually(lambda: not world.documents("stuck_items"))  # Graph does not find it
    actions = [entry["action"] for entry in world.documents("audit")]
    assert actions == ["enrol", "drop stuck items", "retry stuck items"]


async def test_many_mailboxes_are_enrolled_at_once_and_each_that_is_not_is_named(
    world: World, tmp_path: Path
) -> None:
    ann, bo = world.add_user("ann"), world.add_user("bo")
    ids = [str(uuid4()) for _ in range(40)]
    file = tmp_path / "names"
    file.write_text(
        "\n".join(["# those of the team", *ids, "", ids[0], f"{BO}  # by name", "nobody@x.example"])
    )

    status, out, err = await run_command(
        world, "mailboxes", "enrol", world.tenant.id, ANN, "a b", "--file", str(file)
    )

    enrolled = {json.loads(line)["mailbox"] for line in out.splitlines()}
    assert (status, enrolled) == (1, {ann, bo, *ids})
    assert sorted(err.splitlines()) == [
        "2 of 44 mailboxes are not enrolled",
        "a b: not enrolled: not_a_name",
        "nobody@x.example: not enrolled: no_mailbox",
    ]
    actions = [entry["mailbox"] for entry in world.documents("audit", action="enrol")]
    assert sorted(actions) == sorted(enrolled)

    status, _, err = await run_command(world, "mailboxes", "enrol", world.tenant.id)
    assert (status, err) == (1, "name a mailbox, or a file with names\n")


async def test_api_enrols_many_mailboxes_and_lists_them_page_by_page(world: World) -> None:
    ids = sorted(str(uuid4()) for _ in range(5))

    response = world.ingest.call(
        "POST", "/mailboxes/batch", tenant=world.tenant.id, mailboxes=[*ids, "nobody@x.example"]
    ).json()
    assert sorted(response["enrolled"]) == ids
    assert response["failed"] == {"nobody@x.example": "no_mailbox"}

    path = next_path = f"/mailboxes?tenant={world.tenant.id}&limit=2"
    pages = []
    while next_path:
        listed = world.ingest.call("GET", next_path).json()
        pages.append([each["mailbox"] for each in listed["mailboxes"]])
        next_path = f"{path}&after={listed['next']}" if listed["next"] else ""
    assert pages == [ids[:2], ids[2:4], ids[4:]]

    def status(method: str, path: str, **body: Any) -> int:
        return world.ingest.call(method, path, **body).status_code

    assert status("GET", "/mailboxes?after=nowhere") == 422
    assert status("GET", "/mailboxes?limit=501") == 422
    assert status("POST", "/mailboxes/batch", tenant=world.tenant.id, mailboxes=["x"] * 501) == 422


async def test_command_line_lists_the_tenants_that_are_refused(world: World) -> None:
    world.tenant.conditional_access(True)
    world.ingest.call("POST", "/mailboxes", tenant=world.tenant.id, mailbox=world.add_user("ann"))
    await eventually(lambda: world.mailboxes()[0]["status"] == "blocked")

    status, out, _ = await run_command(world, "tenants", "blocked")

    world.tenant.conditional_access(False)
    (blocked,) = [each for each in map(json.loads, out.splitlines()) if each["tenant"] == world.tenant.id]
    assert (status, blocked["reason"]) == (0, "conditional_access")


async def test_command_line_does_the_same(world: World) -> None:
    ann = world.add_user("ann")

    status, out, _ = await run_command(world, "mailboxes", "enrol", world.tenant.id, ANN)
    assert (status, json.loads(out)["mailbox"]) == (0, ann)
    await eventually(lambda: world.is_subscribed(ann))
    item = receive_email(world, "Offer")
    await eventually(lambda: world.has_subjects("Offer"))

    status, out, _ = await run_command(world, "mailboxes", "list", "--tenant", world.tenant.id)
    assert (status, json.loads(out)["items"]) == (0, 1)

    status, out, err = await run_command(world, "resend", "--mailbox", ann)
    assert (status, out) == (0, "1 items will be published again\n")
    assert err == f"1 items until mailbox {world.tenant.id}/{ann}\n"

    async def is_published_twice() -> bool:
        return [value_of(each) is not None for each in await world.published(item)] == [True, True]

    await eventually(is_published_twice)

    assert (await run_command(world, "mailboxes", "remove", world.tenant.id, ann))[0] == 0
    await eventually(world.has_subjects)
    status, _, err = await run_command(world, "mailboxes", "pause", world.tenant.id, ann)
    assert (status, err) == (1, "this mailbox is not enrolled\n")
