"""Stuck items are due at their own times."""

from dataclasses import replace
from datetime import timedelta

from services.mail_ingest.domain.stuck_items import NOT_FOUND_YET, ItemFailure
from services.mail_ingest.store.database import Store
from services.mail_ingest.sync.stuck_items import StuckItems
from shared.events import MailboxStatus

from .stores import ANN, BO, EMAIL, acquire, finish_window, has_work, now, read, record, stuck, update


async def test_stuck_items_are_due_at_their_own_times(store: Store) -> None:
    await store.stuck_items.save([stuck("b", minutes=-1), stuck("a", minutes=-2), stuck("c", minutes=5)])
    await store.stuck_items.save([stuck("d", BO, minutes=-3), stuck("c", minutes=6)])

    due = await store.stuck_items.find_due(ANN, now(), 10)
    next_at = await store.stuck_items.next_retry(BO)

    assert [each.item for each in due] == ["a", "b"]
    assert next_at is not None
    assert next_at < now()
    assert await store.stuck_items.find_ids(ANN) == {"a", "b", "c"}
    assert await store.stuck_items.make_due(ANN, "c", now()) == 1
    assert len(await store.stuck_items.find_due(ANN, now(), 10)) == 3
    assert await store.stuck_items.delete(ANN) == 3
    assert await store.stuck_items.find_ids(BO) == {"d"}


async def test_mailbox_is_due_when_its_next_stuck_item_is(store: Store) -> None:
    held = await acquire(store)
    mailbox = await held.read()
    await finish_window(held, mailbox)
    await held.schedule_subscriptions(mailbox.subscriptions_due_at, now() + timedelta(days=1))
    soon, later = now() + timedelta(minutes=5), now() + timedelta(minutes=9)

    for due_at in (later, soon, later):
        await held.add_stuck_items_due_at(due_at)
    await held.release_lease()

    waiting = await read(store)
    assert waiting.due_at == waiting.stuck_items_due_at
    assert waiting.due_at is not None
    assert abs(waiting.due_at - soon) < timedelta(seconds=1)
    assert not await has_work(store)
    await store.mailbox_work.request_stuck_items(ANN)
    assert await has_work(store)


async def test_stuck_items_that_an_administrator_makes_due_meanwhile_stay_due(store: Store) -> None:
    held = await acquire(store)
    await held.add_stuck_items_due_at(now() - timedelta(minutes=1))
    seen = (await held.read()).stuck_items_due_at

    await store.mailbox_work.request_stuck_items(ANN)
    await held.schedule_stuck_items(seen, None)

    due_at = (await held.read()).stuck_items_due_at
    assert due_at is not None
    await held.schedule_stuck_items(due_at, None)
    assert (await held.read()).stuck_items_due_at is None


async def test_stuck_items_of_a_mailbox_that_is_enrolled_again_at_once_are_retried(store: Store) -> None:
    held = await acquire(store)
    soon = now() + timedelta(minutes=5)
    await held.add_stuck_items_due_at(soon)
    await held.add_stuck_items_due_at(soon, sought=True)

    await store.mailboxes.change_status(ANN, MailboxStatus.REMOVED, now(), only_from=list(MailboxStatus))
    await store.mailboxes.enrol({ANN: None}, now())

    mailbox = await read(store)
    assert mailbox.stuck_items_due_at is not None
    assert mailbox.sought_items_due_at is not None


async def test_sync_knows_what_it_has_set_aside_itself(store: Store) -> None:
    held = await acquire(store)
    mailbox, stuck_items = await held.read(), StuckItems(store, held, now)
    assert await stuck_items.find_ids(mailbox) == frozenset()

    await stuck_items.set_aside(mailbox, {(EMAIL, "i"): ItemFailure("graph_500")})

    assert await stuck_items.find_ids(mailbox) == {"i"}


async def test_stuck_item_is_not_published_with_the_pending_ones(store: Store) -> None:
    await record(store, "h", update("a", 0, 10), update("b", 0, 10))

    pending = await store.items.find_pending(ANN, 10, {"a"})

    assert [captured.item for captured in pending] == ["b"]


async def test_items_that_are_not_found_yet_are_retried_and_seen_by_no_administrator(store: Store) -> None:
    await store.stuck_items.save(
        [stuck("bad", minutes=5), replace(stuck("new", minutes=-1), reason=NOT_FOUND_YET)]
    )

    assert [each.item for each in await store.stuck_items.find_due(ANN, now(), 10, sought=True)] == ["new"]
    assert await store.stuck_items.find_ids(ANN) == {"bad", "new"}
    assert [each.item for each in await store.stuck_items.find_page("t", None, 10)] == ["bad"]
    work = await store.count_work()
    assert (work["items not found yet"], work["stuck items"]) == (1, 1)
    assert await store.stuck_items.make_due(ANN, None, now()) == 1
    assert await store.stuck_items.drop(ANN, None) == 1
    assert await store.stuck_items.find_ids(ANN) == {"new"}
