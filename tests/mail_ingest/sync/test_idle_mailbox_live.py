"""What an idle mailbox costs, and that one failing window harms nothing else."""

from collections import Counter

from tests.mail_ingest.sync.test_reconcile_live import ANN, count_requests, in_hours, receive_email
from tests.mail_ingest.world import World, eventually

WINDOWS = 4


async def wait_for_windows(world: World, windows: int) -> None:
    """Waits until so many more windows were read."""
    before = count_requests(world, "messages.window")
    await eventually(lambda: count_requests(world, "messages.window") >= before + windows)


async def test_reading_an_unchanged_window_costs_few_operations_and_requests(reconciling: World) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    world.simulator.delivery(followed_by_updated=False)
    await world.enrol(ann)
    receive_email(world, "Mail")
    world.tenant.book(ANN, [], in_hours(), subject="Meeting")
    await eventually(lambda: world.has_subjects("Mail", "Meeting"))
    await wait_for_windows(world, 2)

    before = Counter(world.simulator.counters()["requests"])
    with world.profiled_operations() as operations:
        await wait_for_windows(world, WINDOWS)
        requests = Counter(world.simulator.counters()["requests"]) - before

    windows = requests["messages.window"]
    assert requests["calendar_view"] >= windows - 1
    # The folder tree is read with every sixth window, the addresses more rarely still.
    assert sum(requests.values()) - 2 * windows <= 3
    # Beside the one that grants the lease: find the items, record, acknowledge, release;
    # the folder tree is one more. Two more windows may be in progress, at the beginning and at the end.
    assert WINDOWS <= len(operations) <= 4 * (windows + 2) + 1


async def test_window_that_fails_holds_up_nothing_else(reconciling: World) -> None:
    world, ann = reconciling, reconciling.add_user("ann")
    await world.enrol(ann)
    await eventually(lambda: world.mailbox(ann)["complete_as_of"])
    world.simulator.fault(400, mailbox=ann, kind="calendar_view", code="ErrorInvalidRequest")
    failing = count_requests(world, "calendar_view")
    await eventually(lambda: count_requests(world, "calendar_view") > failing)
    before = world.mailbox(ann)["complete_as_of"]

    receive_email(world, "Meanwhile")

    await eventually(lambda: world.has_subjects("Meanwhile"), seconds=10)
    await eventually(lambda: world.mailbox(ann)["window_failures"])
    assert world.mailbox(ann)["status"] == "enrolled"
    assert world.mailbox(ann)["complete_as_of"] == before
    world.simulator.clear_faults()
    await eventually(lambda: world.mailbox(ann)["complete_as_of"] > before)
    assert world.mailbox(ann)["window_failures"] == 0
