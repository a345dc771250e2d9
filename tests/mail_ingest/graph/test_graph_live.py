"""A refusal of Graph harms one mailbox, for as long as it lasts."""

import time

from tests.mail_ingest.world import World, eventually

ANN, BO = "ann@contoso.example", "bo@contoso.example"


async def test_retry_after_is_obeyed(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    world.remember_metrics("graph_throttled_total")
    world.simulator.fault(429, mailbox=ann, kind="message.by_id", count=2, retry_after=2)
    started = time.monotonic()
    world.tenant.send("x@fabrikam.com", [ANN], subject="Slowly")

    await eventually(lambda: world.has_subjects("Slowly"))

    assert time.monotonic() - started > 4
    assert world.metric("graph_throttled_total") == 2


async def test_at_most_two_requests_of_the_sync_are_in_flight_for_a_mailbox(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    world.simulator.limits(latency=0.05)
    try:
        for number in range(30):
            world.tenant.send("x@fabrikam.com", [ANN], subject=str(number))
        await eventually(lambda: world.has_subjects(*map(str, range(30))))
    finally:
        world.simulator.limits(latency=0.0)

    assert world.simulator.counters()["mailboxes"][ann]["highest_concurrent"] == 2


async def test_blocked_mailbox_has_a_reason_harms_no_other_and_recovers(world: World) -> None:
    ann, bo = world.add_user("ann"), world.add_user("bo")
    await world.enrol(ann, bo)
    world.tenant.block(ann, "access-policy")
    world.tenant.send("x@fabrikam.com", [ANN, BO], subject="Offer")

    await eventually(lambda: world.mailbox(ann)["status"] == "blocked")
    await eventually(lambda: world.has_subjects("Offer"))
    assert world.mailbox(ann)["reason"] == "access_policy"
    assert world.mailbox(bo)["status"] == "enrolled"
    world.tenant.unblock(ann)
    await eventually(lambda: world.has_subjects("Offer", "Offer"))

    states = await world.published_states(ann)
    assert [state.status for state in states][-2:] == ["blocked", "enrolled"]


async def test_mailbox_without_a_licence_is_blocked_and_keeps_its_items(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    world.tenant.send("x@fabrikam.com", [ANN], subject="Stays")
    await eventually(lambda: world.has_subjects("Stays"))

    world.tenant.block(ann, "no-licence")
    world.tenant.send("x@fabrikam.com", [ANN], subject="Waits")
    await eventually(lambda: world.mailbox(ann)["reason"] == "no_mailbox")
    assert await world.has_subjects("Stays")
    world.tenant.unblock(ann)

    await eventually(lambda: world.has_subjects("Stays", "Waits"))


async def test_conditional_access_blocks_all_mailboxes_of_the_tenant(world: World) -> None:
    ann, bo = world.add_user("ann"), world.add_user("bo")
    world.tenant.conditional_access(True)
    for mailbox in (ann, bo):
        world.ingest.call("POST", "/mailboxes", tenant=world.tenant.id, mailbox=mailbox)

    def all_have(field: str, value: str) -> bool:
        return {world.mailbox(mailbox)[field] for mailbox in (ann, bo)} == {value}

    await eventually(lambda: all_have("reason", "conditional_access"))
    world.tenant.conditional_access(False)

    await eventually(lambda: all_have("status", "enrolled"))


async def test_token_that_graph_refuses_is_replaced(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    world.simulator.roll_keys(forget_old=True)
    world.tenant.send("x@fabrikam.com", [ANN], subject="New key")

    await eventually(lambda: world.has_subjects("New key"))
