"""Notified items and due windows are work, once each, and none is lost."""

import asyncio
from datetime import timedelta

from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import NotifiedItem, Work
from services.mail_ingest.store.pipelines import (
    MAX_CONTENT_REQUESTS,
    MAX_NOTIFIED_ITEMS,
    MAX_NOTIFIED_ITEMS_WITHOUT_WINDOWS,
)
from shared.events import MailboxStatus
from shared.mongodb import Driver

from .stores import (
    ANN,
    EMAIL,
    LEASE,
    NOBODY,
    acquire,
    finish_all_work,
    finish_window,
    has_work,
    held_by,
    items_of,
    now,
    read,
    request,
    settings,
)


async def test_mailbox_is_not_due_until_an_item_is_notified(store: Store) -> None:
    await finish_all_work(store)
    assert not await has_work(store)

    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})

    assert items_of(await (await acquire(store)).read()) == ["i"]


async def test_item_that_is_notified_again_while_it_is_fetched_stays(store: Store) -> None:
    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "again"), (EMAIL, "once"), (EMAIL, "once")]})
    held = await acquire(store)
    mailbox = await held.read()
    assert items_of(mailbox) == ["again", "once"]

    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "again")]})
    await held.remove_notified_items(mailbox.notified_items)

    assert items_of(await read(store)) == ["again"]


async def test_last_notification_of_an_item_shows_whether_it_is_deleted(store: Store) -> None:
    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "a"), (EMAIL, "b")]}, deleted={(ANN, "a")})
    assert [(each.item, each.deleted) for each in (await read(store)).notified_items] == [
        ("a", True),
        ("b", False),
    ]

    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "a"), (EMAIL, "b")]}, deleted={(ANN, "b")})

    assert [each.deleted for each in (await read(store)).notified_items] == [False, True]


async def test_too_many_notified_items_become_a_window(store: Store) -> None:
    await finish_all_work(store)
    many = [(EMAIL, f"i{number}") for number in range(MAX_NOTIFIED_ITEMS + 1)]
    await store.mailbox_work.add_notified_items({ANN: many[:-1]})
    mailbox = await read(store)
    assert (len(mailbox.notified_items), mailbox.items_dropped_at) == (MAX_NOTIFIED_ITEMS, None)

    await store.mailbox_work.add_notified_items({ANN: many[-1:]})

    mailbox = await read(store)
    assert mailbox.notified_items == ()
    assert mailbox.items_dropped_at is not None
    assert await store.mailbox_leases.acquire_lease(Work.ROUTINE, "h", LEASE, now())


async def test_notified_items_are_bounded_where_no_window_is_read(
    mongodb_uri: str, mongodb_database: str, driver: Driver
) -> None:
    store = Store(settings(mongodb_uri, f"{mongodb_database}-{driver}", reconcile=False), driver)
    await store.mailboxes.enrol({ANN: None}, now())
    held = await acquire(store)
    await held.set_fields(subscriptions_due_at=now() + timedelta(days=1), publish_pending=False)
    await held.release_lease()
    many = [(EMAIL, f"i{number}") for number in range(MAX_NOTIFIED_ITEMS_WITHOUT_WINDOWS + 1)]
    await store.mailbox_work.report_series_change(ANN)
    await store.mailbox_work.add_notified_items({ANN: many[:-1]})
    assert len((await read(store)).notified_items) == MAX_NOTIFIED_ITEMS_WITHOUT_WINDOWS
    assert await store.mailbox_leases.acquire_lease(Work.ROUTINE, "early", LEASE, now()) is None
    assert (await store.count_work())["windows due"] == 0

    await store.mailbox_work.add_notified_items({ANN: many[-1:]})

    assert (await read(store)).notified_items == ()
    assert (await store.count_work())["windows due"] == 1
    held = await acquire(store)
    await finish_window(held, await held.read())
    await held.release_lease()
    assert await store.mailbox_leases.acquire_lease(Work.ROUTINE, "late", LEASE, now()) is None
    await store.close()


async def test_window_requested_during_a_reading_stays_due(store: Store) -> None:
    held = await acquire(store)
    mailbox = await held.read()
    await asyncio.sleep(0.01)
    await store.mailbox_work.request_window(ANN)
    await finish_window(held, mailbox)

    assert (await read(store)).window_due is not None


async def test_blocked_mailbox_waits_but_its_requests_are_due_at_once(store: Store) -> None:
    await finish_all_work(store)
    later = now() + timedelta(hours=1)
    await store.mailboxes.change_status(
        ANN,
        MailboxStatus.BLOCKED,
        now(),
        only_from=[MailboxStatus.ENROLLED],
        reason="access_policy",
        retry_at=later,
    )
    await store.mailboxes.acknowledge(ANN, (await read(store)).version)

    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})
    assert not await has_work(store)
    wanted = request()
    unknown = await store.mailbox_work.add_content_requests({ANN: [wanted, wanted], NOBODY: [wanted]})
    assert unknown == {NOBODY}

    assert (await (await acquire(store, "answers")).read()).content_requests == (wanted,)


async def test_content_request_that_comes_again_keeps_its_place(store: Store) -> None:
    """tracking sends a request again while it is not answered; those behind it must not overtake it."""
    first, second = request("first"), request("second")
    await store.mailbox_work.add_content_requests({ANN: [first]})
    await store.mailbox_work.add_content_requests({ANN: [second, first, second]})
    await store.mailbox_work.add_content_requests({ANN: [first]})
    assert [each.request for each in (await read(store)).content_requests] == ["first", "second"]


async def test_content_requests_are_bounded(store: Store) -> None:
    """A document has at most 16 MB, and a larger one would stop the reader at each start."""
    many = [request().model_copy(update={"request": f"{number}"}) for number in range(MAX_CONTENT_REQUESTS)]
    await store.mailbox_work.add_content_requests({ANN: many})
    await store.mailbox_work.add_content_requests({ANN: [request()]})
    assert (await read(store)).content_requests == tuple(many)


async def test_removed_mailbox_gets_no_notified_items(store: Store) -> None:
    await store.mailboxes.change_status(ANN, MailboxStatus.REMOVED, now(), only_from=[MailboxStatus.ENROLLED])

    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i")]})

    assert (await read(store)).notified_items == ()


async def test_notified_items_of_an_unknown_mailbox_are_dropped(store: Store) -> None:
    await store.mailbox_work.add_notified_items({NOBODY: [(EMAIL, "i")]}, [NOBODY])
    await held_by(store, "nobody").remove_notified_items([NotifiedItem(EMAIL, "i", 1)])

    assert await store.mailboxes.find(NOBODY) is None
