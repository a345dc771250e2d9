"""What makes a mailbox due, for which class of work, and when."""

import asyncio
from datetime import timedelta

import pytest

from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox, Work
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.events import MailboxStatus

from .stores import (
    ANN,
    EMAIL,
    LEASE,
    acquire,
    finish_all_work,
    finish_window,
    has_work,
    now,
    read,
    request,
)


async def set_and_release(store: Store, **fields: object) -> Mailbox:
    """Sets fields of a mailbox without work, and releases it."""
    await store.mailboxes.mark_items_pending([ANN])
    held = await acquire(store)
    await held.finish_pending_items((await held.read()).pending_items_due)
    await held.set_fields(**fields)
    await held.release_lease()
    return await read(store)


@pytest.fixture(autouse=True)
async def mailbox_without_work(store: Store) -> None:
    await finish_all_work(store)


async def test_notified_item_is_fresh_work_and_no_routine_work(store: Store) -> None:
    before = await read(store)

    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})

    after = await read(store)
    assert after.fresh_due_at is not None
    assert after.fresh_due_at <= now()
    assert after.due_at == before.due_at
    assert await store.mailbox_leases.acquire_lease(Work.ROUTINE, "h", LEASE, now()) is None
    acquired = await store.mailbox_leases.acquire_lease(Work.FRESH, "h", LEASE, now())
    assert acquired is not None
    assert [each.item for each in acquired.notified_items] == ["i"]


async def test_content_request_is_fresh_work_also_while_the_mailbox_is_blocked(store: Store) -> None:
    later = now() + timedelta(hours=1)
    await set_and_release(store, status=MailboxStatus.BLOCKED, retry_at=later)
    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})
    assert (await read(store)).fresh_due_at is None

    await store.mailbox_work.add_content_requests({ANN: [request()]})

    due_at = (await read(store)).fresh_due_at
    assert due_at is not None
    assert due_at <= now()


async def test_fresh_work_waits_for_the_retry_time_of_its_mailbox(store: Store) -> None:
    later = now() + timedelta(hours=1)
    await set_and_release(store, retry_at=later)

    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})

    mailbox = await read(store)
    assert mailbox.fresh_due_at == mailbox.retry_at


async def test_window_is_due_at_its_time_and_never_before_its_retry_time(store: Store) -> None:
    soon, later = now() + timedelta(minutes=1), now() + timedelta(minutes=5)

    mailbox = await set_and_release(store, next_window_at=soon)
    assert mailbox.due_at == mailbox.next_window_at
    mailbox = await set_and_release(store, window_retry_at=later)
    assert mailbox.due_at == mailbox.window_retry_at
    await store.mailbox_work.request_window(ANN)
    mailbox = await read(store)
    assert mailbox.due_at == mailbox.window_retry_at


async def test_readings_for_a_busy_series_are_spaced_and_none_is_lost(store: Store) -> None:
    await store.mailbox_work.report_series_change(ANN)
    held = await acquire(store)
    pauses = []
    for _ in range(6):
        seen = await held.read()
        await asyncio.sleep(0.002)
        await store.mailbox_work.report_series_change(ANN)
        await finish_window(held, seen)
        assert (await read(store)).series_changed_at is not None, "a change during the reading is not in it"
        await store.mailbox_work.report_series_change(ANN)
        mailbox = await read(store)
        assert mailbox.complete_as_of is not None
        assert mailbox.due_at is not None
        pauses.append((mailbox.due_at - mailbox.complete_as_of).total_seconds())

    assert pauses == [2, 4, 8, 16, 30, 30]


async def test_series_that_changes_after_a_while_is_read_at_once(store: Store) -> None:
    await store.mailbox_work.report_series_change(ANN)
    held = await acquire(store)
    for _ in range(2):  # the second reading has no cause but the time
        await finish_window(held, await held.read())

    await store.mailbox_work.report_series_change(ANN)

    due_at = (await read(store)).due_at
    assert due_at is not None
    assert due_at <= now()


async def test_item_that_leaves_the_window_makes_the_mailbox_due_then(store: Store) -> None:
    first, second = now() + timedelta(minutes=2), now() + timedelta(minutes=3)
    await store.mailboxes.mark_items_pending([ANN])
    held = await acquire(store)
    await held.finish_pending_items((await held.read()).pending_items_due)

    for leaves_at in (second, first, second):
        await held.add_clock_times(leaves_at, None)
    await held.release_lease()

    mailbox = await read(store)
    assert mailbox.next_expiry_at is not None
    assert abs(mailbox.next_expiry_at - first) < timedelta(milliseconds=2)
    assert mailbox.due_at == mailbox.next_expiry_at


async def test_item_that_enters_the_window_makes_the_mailbox_due_then(store: Store) -> None:
    first, second = now() + timedelta(minutes=2), now() + timedelta(minutes=3)
    await store.mailboxes.mark_items_pending([ANN])
    held = await acquire(store)
    await held.finish_pending_items((await held.read()).pending_items_due)

    for enters_at in (second, first, second):
        await held.add_clock_times(None, enters_at)
    await held.release_lease()

    mailbox = await read(store)
    assert mailbox.next_entry_at is not None
    assert abs(mailbox.next_entry_at - first) < timedelta(milliseconds=2)
    assert mailbox.due_at == mailbox.next_entry_at


async def test_holder_that_did_not_release_leaves_items_to_publish(store: Store) -> None:
    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})
    assert await store.mailbox_leases.acquire_lease(Work.FRESH, "killed", timedelta(milliseconds=1), now())
    await asyncio.sleep(0.01)

    held = await acquire(store)
    mailbox = await held.read()
    assert mailbox.pending_items_due is not None
    await held.remove_notified_items(mailbox.notified_items)
    await held.release_lease()

    assert await has_work(store)


async def test_unfinished_sync_leaves_items_to_publish(store: Store) -> None:
    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})
    held = await acquire(store)
    await held.remove_notified_items((await held.read()).notified_items)

    await held.release_lease(is_unfinished=True)

    assert await store.mailbox_leases.acquire_lease(Work.ROUTINE, "next", LEASE, now())


async def test_items_that_became_pending_meanwhile_stay_due(store: Store) -> None:
    await store.mailboxes.mark_items_pending([ANN])
    held: HeldMailbox = await acquire(store)
    seen = (await held.read()).pending_items_due
    await store.mailboxes.mark_items_pending([ANN])

    await held.finish_pending_items(seen)

    assert (await held.read()).pending_items_due is not None


async def test_removed_mailbox_is_due_until_its_items_are_withdrawn(store: Store) -> None:
    await store.mailboxes.change_status(
        ANN,
        MailboxStatus.REMOVED,
        now(),
        only_from=[MailboxStatus.ENROLLED],
        pending_items_due=now(),
    )
    held = await acquire(store)
    mailbox = await held.read()
    await store.mailboxes.acknowledge(ANN, mailbox.version)
    await held.release_lease()
    held = await acquire(store)
    await held.finish_pending_items(mailbox.pending_items_due)
    await held.release_lease()

    assert not await has_work(store)


async def test_content_request_waits_for_no_back_off_but_for_graph(store: Store) -> None:
    soon, later = now() + timedelta(minutes=5), now() + timedelta(hours=1)
    await set_and_release(store, retry_at=later)
    await store.mailbox_work.add_content_requests({ANN: [request()]})

    at_once = (await read(store)).fresh_due_at
    mailbox = await set_and_release(store, content_retry_at=soon)

    assert at_once is not None
    assert at_once <= now()
    assert mailbox.fresh_due_at == mailbox.content_retry_at


@pytest.mark.parametrize("status", [MailboxStatus.BLOCKED, MailboxStatus.PAUSED, MailboxStatus.REMOVED])
async def test_content_request_that_needs_no_request_to_graph_waits_for_nothing(
    store: Store, status: MailboxStatus
) -> None:
    later = now() + timedelta(hours=1)
    await set_and_release(store, status=status, retry_at=later, content_retry_at=later)

    await store.mailbox_work.add_content_requests({ANN: [request()]})

    due_at = (await read(store)).fresh_due_at
    assert due_at is not None
    assert due_at <= now()


async def test_item_that_is_not_found_yet_is_fresh_work(store: Store) -> None:
    soon = now() + timedelta(seconds=2)
    await store.mailboxes.mark_items_pending([ANN])
    held = await acquire(store)
    await held.add_stuck_items_due_at(soon, sought=True)

    await held.release_lease()

    mailbox = await read(store)
    assert mailbox.fresh_due_at == mailbox.sought_items_due_at
    assert mailbox.fresh_due_at is not None
    assert mailbox.has_stuck_items
