"""A lease has one holder, by MongoDB's clock."""

import asyncio
from datetime import timedelta

import pytest

from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Work
from services.mail_ingest.store.lease import LeaseLostError
from shared.events import MailboxStatus

from .stores import (
    ANN,
    BO,
    EMAIL,
    LEASE,
    SHORT,
    acquire,
    finish_all_work,
    has_work,
    held_by,
    items_of,
    now,
    read,
)


async def test_lease_has_one_holder_until_it_ends(store: Store) -> None:
    first = await acquire(store, "first", SHORT)
    assert not await has_work(store)
    await asyncio.sleep(SHORT.total_seconds() * 2)

    second = await acquire(store, "second")
    with pytest.raises(LeaseLostError):
        await first.read()
    assert not await first.renew_lease()
    assert await second.renew_lease()


async def test_concurrent_workers_never_hold_the_same_mailbox(store: Store) -> None:
    await store.mailboxes.enrol({BO: None}, now())

    acquired = await asyncio.gather(
        *(
            store.mailbox_leases.acquire_lease(Work.ROUTINE, f"holder-{number}", LEASE, now())
            for number in range(20)
        )
    )

    assert sorted(mailbox.key for mailbox in acquired if mailbox) == [ANN, BO]


async def test_former_holder_removes_no_notified_item(store: Store) -> None:
    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})
    mailbox = await (await acquire(store)).read()

    await held_by(store, "former").remove_notified_items(mailbox.notified_items)

    assert items_of(await read(store)) == ["i"]


async def test_returned_replica_ends_its_own_leases_alone(store: Store) -> None:
    await store.mailboxes.enrol({BO: None}, now())
    first = await acquire(store, "replica-1/former.1")
    await acquire(store, "replica-10/other.1")

    await store.mailbox_leases.end_leases("replica-1")
    await store.mailbox_leases.end_leases(None)

    with pytest.raises(LeaseLostError):
        await first.read()
    acquired = await store.mailbox_leases.acquire_lease(Work.ROUTINE, "replica-1/new.1", LEASE, now())
    assert acquired is not None
    assert acquired.key == first.key
    assert acquired.pending_items_due is not None
    assert not await has_work(store)


async def test_work_recorded_between_last_read_and_release_is_due(store: Store) -> None:
    await finish_all_work(store)
    tomorrow = now() + timedelta(days=1)
    await store.mailbox_work.request_subscription_work([ANN])
    held = await acquire(store)
    await held.schedule_subscriptions((await held.read()).subscriptions_due_at, tomorrow)
    await held.release_lease()
    assert not await has_work(store)

    await store.mailbox_work.request_subscription_work([ANN])
    held = await acquire(store)
    await store.mailbox_work.request_subscription_work([ANN])  # another lifecycle event
    await held.release_lease()
    held = await acquire(store)
    await held.schedule_subscriptions((await held.read()).subscriptions_due_at, tomorrow)

    blocked = await held.record_state(
        now(),
        only_from=[MailboxStatus.ENROLLED],
        status=MailboxStatus.BLOCKED,
        reason="policy",
        retry_at=tomorrow,
    )
    assert blocked is not None
    await store.mailboxes.acknowledge(ANN, blocked.version)
    await store.tenant_mailboxes.release_tenant("t", "policy", now() - timedelta(seconds=1))
    await held.release_lease()
    await acquire(store, "next")
