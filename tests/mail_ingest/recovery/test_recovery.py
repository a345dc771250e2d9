"""What a start finds out about the database by the topics, and what the database has after it."""

from datetime import timedelta

from services.mail_ingest.recovery.late_messages import LateMessages
from shared.clock import to_micros
from shared.events import MailboxStatus
from shared.topics import ACTIVITIES
from tests.mail_ingest.world import eventually

from .kafka_and_store import (
    ANN,
    BO,
    LONG_AGO,
    Bench,
    captured,
    enrolled,
    forget_all,
    now,
    removed,
)


async def test_new_database_beside_new_topics_is_used(bench: Bench) -> None:
    for _ in range(2):
        assert (await bench.restart())["last recovery"] is None


async def test_lost_database_is_taken_in_from_the_topics(bench: Bench) -> None:
    ann_version = await bench.publish_mailbox(enrolled(ANN, enrolled_at=now()))
    await bench.publish_mailbox(removed(BO))
    live, gone = await bench.publish("live"), await bench.publish("gone", value=False)

    assert (await bench.restart())["last recovery"] == "database_empty"

    ann, bo = await bench.mailbox(ANN), await bench.mailbox(BO)
    assert (ann.status, ann.version, bo.status) == ("enrolled", ann_version, "removed")
    assert ann.window_due is not None
    assert ann.enrolled_at is not None
    item, tombstone = await bench.item("live"), await bench.item("gone")
    assert item is not None
    assert tombstone is not None
    assert (item.version, item.gone, tombstone.version) == (live, None, gone)
    assert tombstone.gone is not None
    assert not item.publish_pending
    assert (await bench.restart())["last recovery"] is None


async def test_older_copy_gets_the_newer_states(bench: Bench) -> None:
    before = await captured(bench, "changed", "deleted")
    await bench.publish("changed")
    deleted = await bench.publish("deleted", value=False)
    await bench.publish_mailbox(removed(ANN))

    assert (await bench.restart())["last recovery"] == "message_newer"

    changed, gone = await bench.item("changed"), await bench.item("deleted")
    assert changed is not None
    assert gone is not None
    assert changed.version > before
    assert (gone.version, gone.gone is None) == (deleted, False)
    assert (await bench.mailbox(ANN)).status is MailboxStatus.REMOVED
    assert (await bench.mailbox(ANN)).pending_items_due is not None, "its items are withdrawn"


async def test_tombstone_whose_document_is_deleted_proves_nothing(bench: Bench) -> None:
    await captured(bench, "live")
    await bench.publish("forgotten", value=False, version=to_micros(now() - LONG_AGO))

    assert (await bench.restart())["last recovery"] is None


async def test_commit_beyond_the_database_proves_an_older_copy(bench: Bench) -> None:
    await captured(bench)
    await bench.commit_notifications(1, 7)

    assert (await bench.restart())["last recovery"] == "commit_ahead"
    assert (await bench.restart())["last recovery"] is None


async def test_restart_after_the_recovery_of_a_lost_database_recovers_nothing(bench: Bench) -> None:
    await captured(bench, "live")
    await bench.commit_notifications(1, 7)
    await forget_all(bench)

    assert (await bench.restart())["last recovery"] == "database_empty"
    assert (await bench.restart())["last recovery"] is None


async def test_messages_that_are_compacted_away_prove_an_older_copy(bench: Bench) -> None:
    """What was published since the copy, and is gone by now, its tombstone included."""
    await captured(bench, "live")
    await bench.publish("since the copy", value=False, version=to_micros(now() - LONG_AGO))
    await bench.compact_away_all_activities()

    assert (await bench.restart())["last recovery"] == "messages_gone"
    assert (await bench.restart())["last recovery"] is None


# -- late messages --------------------------------------------------------------------------------


async def test_late_activity_is_overruled(bench: Bench) -> None:
    """As of a killed process: nobody acknowledges it."""
    await captured(bench)
    old, newer = await bench.publish("unrelated"), await bench.publish("item")
    await bench.record("unrelated", old)
    await bench.record("item", newer)
    await bench.publish("item", version=newer - 1)

    async with bench.started():
        await eventually(lambda: is_overruled(bench, newer))

    assert (await bench.mailbox(ANN)).pending_items_due is not None


async def is_overruled(bench: Bench, version: int) -> bool:
    item = await bench.item("item")
    return item is not None and item.publish_pending and item.version > version


async def test_late_state_of_a_mailbox_is_overruled(bench: Bench) -> None:
    await captured(bench)
    newer = (await bench.mailbox(ANN)).version
    before = (await bench.mailbox(ANN)).since - timedelta(days=1)
    await bench.publish_mailbox(removed(ANN, before), version=newer - 1)

    async with bench.started():

        async def is_pending() -> bool:
            mailbox = await bench.mailbox(ANN)
            return mailbox.publish_pending and mailbox.version > newer

        await eventually(is_pending)

    assert (await bench.mailbox(ANN)).status is MailboxStatus.ENROLLED


async def test_acknowledgement_that_a_kill_cuts_short_is_found(bench: Bench) -> None:
    """The item is pending again, and its mailbox was not made due for it."""
    await captured(bench)
    newer = await bench.publish("item", value=False)
    await bench.record("item", newer)
    await bench.publish("item", version=newer - 1)
    await bench.store.items.acknowledge(ANN, {"item": newer - 1})
    assert (await bench.mailbox(ANN)).pending_items_due is None

    async with bench.started():

        async def is_due() -> bool:
            return (await bench.mailbox(ANN)).pending_items_due is not None

        await eventually(is_due)


async def test_message_that_comes_before_its_newer_one_is_left_alone(bench: Bench) -> None:
    """The newer one is on its way to the log, or behind the end that was read."""
    late = LateMessages(ACTIVITIES.name, bench.store.item_states)
    start = dict.fromkeys(await bench.kafka.partitions(ACTIVITIES), 0)
    async with bench.kafka.tail(ACTIVITIES, start) as tail:
        older = await bench.publish("item")
        newer = older + 1
        await bench.record("item", newer)
        for _ in range(2):
            async for chunk in tail.read():
                late.add(chunk)
            assert await late.decide(now())
            await bench.publish("item", version=newer)

    item = await bench.item("item")
    assert item is not None
    assert (item.version, item.publish_pending) == (newer, False)
