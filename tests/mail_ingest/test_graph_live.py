"""What Graph refuses harms one mailbox, for as long as it lasts."""

import time

from .world import World, eventually


async def test_retry_after_is_obeyed(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.simulator.fault(429, mailbox=ann, kind="message.by_id", count=2, retry_after=2)
    started = time.monotonic()
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Slowly")

    await eventually(lambda: world.has("Slowly"))

    assert time.monotonic() - started > 4
    assert world.ingest.metric("graph_throttled_total") == 2


async def test_three_requests_at_most_are_in_flight_for_a_mailbox(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.simulator.limits(latency=0.05)
    try:
        for number in range(30):
            world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject=str(number))
        await eventually(lambda: world.has(*map(str, range(30))))
    finally:
        world.simulator.limits(latency=0.0)

    assert world.simulator.counters()["mailboxes"][ann]["highest_concurrent"] == 3


async def test_a_blocked_mailbox_says_why_harms_no_other_and_comes_back(world: World) -> None:
    ann, bo = world.user("ann"), world.user("bo")
    await world.enrol(ann, bo)
    world.tenant.block(ann, "access-policy")
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example", "bo@contoso.example"], subject="Offer")

    await eventually(lambda: world.state(ann)["status"] == "blocked")
    await eventually(lambda: world.has("Offer"))
    assert world.state(ann)["reason"] == "access_policy"
    assert world.state(bo)["status"] == "enrolled"
    world.tenant.unblock(ann)
    await eventually(lambda: world.has("Offer", "Offer"))

    assert [said.status for said in await world.mailbox_said(ann)][-2:] == ["blocked", "enrolled"]


async def test_a_mailbox_without_a_licence_is_blocked_and_its_items_are_not_gone(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Stays")
    await eventually(lambda: world.has("Stays"))

    world.tenant.block(ann, "no-licence")
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Waits")
    await eventually(lambda: world.state(ann)["reason"] == "no_mailbox")
    assert await world.has("Stays")
    world.tenant.unblock(ann)

    await eventually(lambda: world.has("Stays", "Waits"))


async def test_conditional_access_is_a_state_of_the_tenant(world: World) -> None:
    ann, bo = world.user("ann"), world.user("bo")
    world.tenant.conditional_access(True)
    for mailbox in (ann, bo):
        world.ingest.call("POST", "/mailboxes", tenant=world.tenant.id, mailbox=mailbox)

    await eventually(
        lambda: {world.state(mailbox)["reason"] for mailbox in (ann, bo)} == {"conditional_access"}
    )
    world.tenant.conditional_access(False)

    await eventually(lambda: {world.state(mailbox)["status"] for mailbox in (ann, bo)} == {"enrolled"})


async def test_a_token_that_graph_refuses_is_renewed_once(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.simulator.roll_keys(forget_old=True)
    world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="New key")

    await eventually(lambda: world.has("New key"))
