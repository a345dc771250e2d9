"""An item's and a mailbox's state is recorded under rising versions, and pending until it is acknowledged."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from services.mail_ingest.store.database import Store
from shared.events import MailboxStatus

from .stores import ANN, acquire, finish_all_work, now, read, record, update


async def versions(store: Store, items: Sequence[str]) -> dict[str, int]:
    return {item: captured.version for item, captured in (await store.items.find(ANN, items)).items()}


async def test_update_is_recorded_only_over_the_version_that_it_replaces(store: Store) -> None:
    assert await record(store, "first", update("a", 0, 10), update("b", 0, 10)) == {"a", "b"}

    assert await record(store, "second", update("a", 10, 20), update("c", 0, 20)) == {"a", "c"}
    stale = await record(store, "first", update("a", 10, 15), update("b", 10, 15), update("c", 0, 15))

    assert stale == {"b"}
    assert await versions(store, ["a", "b", "c"]) == {"a": 20, "b": 15, "c": 20}


async def test_item_is_pending_until_its_version_is_acknowledged(store: Store) -> None:
    await record(store, "holder", update("a", 0, 10))
    assert [captured.version for captured in await store.items.find_pending(ANN, 10)] == [10]

    await store.acknowledge_items(ANN, {"a": 10})
    assert await store.items.find_pending(ANN, 10) == []


async def test_late_acknowledgement_makes_an_item_pending_under_a_higher_version(store: Store) -> None:
    await finish_all_work(store)
    await record(store, "suspended", update("a", 0, 10))
    await record(store, "next", update("a", 10, 20))

    # The suspended process resumes; Kafka may have its version before or after the next one's.
    await store.acknowledge_items(ANN, {"a": 10})
    await acquire(store, "publishes")  # the mailbox is due
    await store.acknowledge_items(ANN, {"a": 20})

    (pending,) = await store.items.find_pending(ANN, 10)
    assert pending.version > 20
    await store.acknowledge_items(ANN, {"a": pending.version})
    assert await store.items.find_pending(ANN, 10) == []


async def test_item_that_was_published_out_of_order_is_pending_again(store: Store) -> None:
    """Kafka stored version 10 after version 20, which stays before it in the log."""
    await record(store, "suspended", update("a", 0, 10))
    await record(store, "next", update("a", 10, 20))
    await store.acknowledge_items(ANN, {"a": 20})
    assert await store.items.find_pending(ANN, 10) == []

    await store.acknowledge_items(ANN, {"a": 10})

    pending = await store.items.find_pending(ANN, 10)
    assert [captured.version > 20 for captured in pending] == [True]


async def test_change_of_a_mailbox_is_pending_until_it_is_acknowledged(store: Store) -> None:
    enrolled = await read(store)
    assert enrolled.publish_pending
    await store.mailboxes.acknowledge(ANN, enrolled.version)
    assert not (await read(store)).publish_pending

    await store.mailboxes.change_status(ANN, MailboxStatus.PAUSED, now(), only_from=[MailboxStatus.ENROLLED])
    paused = await read(store)
    assert paused.publish_pending
    await store.mailboxes.acknowledge(ANN, paused.version)
    assert not (await read(store)).publish_pending


async def test_version_of_a_mailbox_rises_though_the_clock_was_set_back(store: Store) -> None:
    enrolled = await read(store)
    earlier = now() - timedelta(days=365)

    await store.mailboxes.change_status(
        ANN, MailboxStatus.PAUSED, earlier, only_from=[MailboxStatus.ENROLLED]
    )

    assert (await read(store)).version == enrolled.version + 1


async def test_status_of_a_mailbox_begins_no_earlier_than_the_one_before(store: Store) -> None:
    """By that a recovery finds the later one of two, whatever versions an older copy has given them."""
    enrolled = await read(store)
    earlier = now() - timedelta(days=365)
    await store.mailboxes.change_status(
        ANN, MailboxStatus.PAUSED, earlier, only_from=[MailboxStatus.ENROLLED]
    )
    assert (await read(store)).since == enrolled.since

    await store.mailboxes.change_status(ANN, MailboxStatus.ENROLLED, now(), only_from=[MailboxStatus.PAUSED])
    assert (await read(store)).since > enrolled.since


async def test_state_of_a_mailbox_is_acknowledged_the_same_way(store: Store) -> None:
    first = await read(store)
    await store.mailboxes.change_status(ANN, MailboxStatus.PAUSED, now(), only_from=[MailboxStatus.ENROLLED])
    second = await read(store)
    assert second.version > first.version

    await store.mailboxes.acknowledge(ANN, first.version)
    await store.mailboxes.acknowledge(ANN, second.version)

    latest = await read(store)
    assert latest.publish_pending
    assert latest.version > second.version


async def test_resend_makes_live_items_and_mailboxes_pending(store: Store) -> None:
    await record(store, "h", update("live", 0, 10), update("gone", 0, 10, gone=True))
    await store.acknowledge_items(ANN, {"live": 10, "gone": 10})

    pages = [page async for page in store.resend("t", "ann", now())]

    assert pages == [(ANN, 1)]

    assert [captured.item for captured in await store.items.find_pending(ANN, 10)] == ["live"]
    assert (await read(store)).publish_pending


async def test_resend_makes_tombstones_pending_that_a_reader_may_need(store: Store) -> None:
    """A reader shows an item until its window ends, unless it gets the tombstone."""
    shown, over = update("shown", 0, 10, gone=True), update("over", 0, 10, gone=True)
    visible = replace(shown.captured, leaves_at=now() + timedelta(days=1))
    await record(store, "h", replace(shown, captured=visible), over)
    await store.acknowledge_items(ANN, {"shown": 10, "over": 10})

    assert [page async for page in store.resend("t", "ann", now())] == [(ANN, 1)]

    (pending,) = await store.items.find_pending(ANN, 10)
    assert (pending.item, pending.is_resend_pending) == ("shown", True)
    await store.acknowledge_items(ANN, {"shown": 10})
    assert not (await store.items.find(ANN, ["shown"]))["shown"].resent
