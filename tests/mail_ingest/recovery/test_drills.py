"""The drills of docs/operations.md on mail-ingest's database and the topics that it writes."""

from shared.clock import to_micros
from shared.events import MailboxStatus
from tests.mail_ingest.world import eventually

from .kafka_and_store import ANN, BO, LONG_AGO, Bench, captured, forget_all, now


async def test_restart_after_a_crash_recovers_nothing(bench: Bench) -> None:
    await captured(bench, "a")
    await bench.record("b", await bench.publish("b"))  # after the last mark

    assert (await bench.restart())["last recovery"] is None
    assert (await bench.mailbox(ANN)).pending_items_due is None


async def test_copy_older_than_the_tombstones_loses_what_the_topics_no_longer_have(bench: Bench) -> None:
    await captured(bench, "kept")
    await bench.record("gone for long", to_micros(now() - LONG_AGO))
    await bench.store.mailboxes.enrol({BO: None}, now() - LONG_AGO)
    await bench.store.mailboxes.acknowledge(BO, (await bench.mailbox(BO)).version)
    await bench.publish("since the copy")

    done = await bench.restart()

    assert (done["mailboxes removed"], done["items withdrawn"]) == (1, 1)
    gone, kept = await bench.item("gone for long"), await bench.item("kept")
    assert gone is not None
    assert kept is not None
    assert (gone.gone is None, gone.publish_pending, gone.resent) == (False, True, True)
    assert kept.gone is None
    assert (await bench.mailbox(BO)).status is MailboxStatus.REMOVED
    assert (await bench.mailbox(ANN)).status is MailboxStatus.ENROLLED


async def test_topic_made_anew_gets_all_again_though_it_has_outgrown_its_mark(bench: Bench) -> None:
    last = await captured(bench, "live", "gone")
    await bench.make_topics_anew()
    for number in range(10):  # in each partition more than before
        await bench.record(f"new {number}", await bench.publish(f"new {number}"))
    for _ in range(2):
        await bench.publish_mailbox(await bench.mailbox(ANN), (await bench.mailbox(ANN)).version)

    assert (await bench.restart())["last recovery"] is None

    item = await bench.item("live")
    assert item is not None
    assert (item.publish_pending, item.resent, item.version <= last) == (True, True, True)
    mailbox = await bench.mailbox(ANN)
    assert mailbox.publish_pending
    assert mailbox.pending_items_due is not None
    await bench.store.items.acknowledge(ANN, {"live": item.version})
    await bench.restart()
    again = await bench.item("live")
    assert again is not None
    assert not again.publish_pending, "it was published again once"


async def test_topic_made_anew_beneath_a_running_service_gets_all_again(bench: Bench) -> None:
    await captured(bench, "live")
    async with bench.started() as guard:
        await bench.make_topics_anew()

        await eventually(lambda: is_resent(bench, "live"))
        await guard.gate.start_offsets([])
        assert (await guard.describe())["last recovery"] is None


async def is_resent(bench: Bench, name: str) -> bool:
    item = await bench.item(name)
    return item is not None and item.is_resend_pending


async def test_what_a_topic_made_anew_lacks_is_not_gone(bench: Bench) -> None:
    """The database is an older copy as well, as the other topic shows."""
    await captured(bench, "live")
    await bench.make_topics_anew()
    await bench.publish_mailbox(await bench.mailbox(ANN))

    done = await bench.restart()

    assert (done["last recovery"], done["mailboxes removed"], done["items withdrawn"]) == (
        "message_newer",
        0,
        0,
    )
    assert await is_resent(bench, "live")


async def test_database_that_is_replaced_under_a_running_service_is_recovered(bench: Bench) -> None:
    await captured(bench, "live")

    async with bench.started() as guard:
        await forget_all(bench)
        await eventually(lambda: not guard.gate.is_open)
        await guard.gate.start_offsets([])
        assert (await guard.describe())["last recovery"] == "database_empty"

    assert await bench.item("live") is not None
