"""What MongoDB decides, on a real one and with both drivers: leases, notified items, versions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from pydantic import SecretStr

from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.items import CapturedItem, ItemUpdate
from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.domain.stuck_items import StuckItem
from services.mail_ingest.domain.subscriptions import GraphSubscription, plan_subscriptions
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import (
    ITEM,
    KEPT_AT_ENROLMENT,
    MAILBOX,
    SUBSCRIPTION,
    LeaseState,
    Mailbox,
    NotifiedItem,
    enrolment,
)
from services.mail_ingest.store.held_mailbox import HeldMailbox
from services.mail_ingest.store.lease import Lease, LeaseLostError
from services.mail_ingest.store.pipelines import MAX_NOTIFIED_ITEMS
from shared.events import ActivityKind, FetchContent, MailboxStatus
from shared.keys import MailboxKey
from shared.mongodb import Driver

ANN, BO = MailboxKey("t", "ann"), MailboxKey("t", "bo")
NOBODY = MailboxKey("t", "nobody")
LEASE = timedelta(seconds=30)
SHORT = timedelta(milliseconds=200)
EMAIL = ActivityKind.EMAIL


def now() -> datetime:
    return datetime.now(UTC)


def settings(uri: str, database: str, *, reconcile: bool = True) -> IngestSettings:
    return IngestSettings(mongodb_uri=SecretStr(uri), mongodb_database=database, reconcile=reconcile)


@pytest.fixture(params=["motor", "pymongo"])
def driver(request: pytest.FixtureRequest) -> Driver:
    return cast("Driver", request.param)


@pytest.fixture
async def store(mongodb_uri: str, mongodb_database: str, driver: Driver) -> AsyncIterator[Store]:
    opened = Store(settings(mongodb_uri, mongodb_database), driver)
    await opened.create_indexes()
    await opened.mailboxes.enrol(ANN, ["ann@contoso.com"], now())
    yield opened
    await opened.close()


def held_by(store: Store, holder: str, key: MailboxKey = ANN) -> HeldMailbox:
    return store.mailboxes.held(Lease(key, holder, LEASE, 0.0))


async def acquire(store: Store, holder: str = "holder", duration: timedelta = LEASE) -> HeldMailbox:
    key = await store.mailboxes.acquire_lease(holder, duration)
    assert key is not None
    return held_by(store, holder, key)


async def finish_all_work(store: Store) -> None:
    """Leaves the mailbox without work."""
    held = await acquire(store, "first")
    mailbox = await held.read()
    await store.mailboxes.acknowledge(ANN, mailbox.version)
    await held.finish_window(mailbox.window_due)
    await held.release_lease(None)


async def read(store: Store, key: MailboxKey = ANN) -> Mailbox:
    mailbox = await store.mailboxes.find(key)
    assert mailbox is not None
    return mailbox


def items_of(mailbox: Mailbox) -> list[str]:
    return [each.item for each in mailbox.notified_items]


def update(item: str, previous_version: int, version: int, *, gone: bool = False) -> ItemUpdate:
    captured = CapturedItem(
        item,
        EMAIL,
        "k",
        "d",
        version,
        at=now(),
        leaves_at=now(),
        gone=now() if gone else None,
        publish_pending=True,
    )
    return ItemUpdate(captured, previous_version)


async def record(store: Store, by: str, *updates: ItemUpdate) -> set[str]:
    return set(await store.items.record(ANN, by, updates))


def request(name: str = "c") -> FetchContent:
    return FetchContent(request=name, item="i", kind=EMAIL, deadline=now())


# -- documents ------------------------------------------------------------------------------------


def test_documents_are_read_as_they_were_written() -> None:
    at = now()
    mailbox = Mailbox(
        "t",
        "ann",
        MailboxStatus.BLOCKED,
        at,
        reason="throttled",
        addresses=frozenset({"b@x.example", "a@x.example"}),
        folders=Folders(frozenset({"inbox"}), frozenset({"junk"})),
        notified_items=(NotifiedItem(EMAIL, "i", 7),),
        content_requests=(request(),),
        lease=LeaseState("h", at),
    )
    assert MAILBOX.read(MAILBOX.write(mailbox)) == mailbox
    assert MAILBOX.write(mailbox)["addresses"] == ["a@x.example", "b@x.example"]

    captured = CapturedItem("a/b", EMAIL, "k", "d", 3, at=at, missing=1)
    assert ITEM.read(ITEM.write(captured), "a/b") == captured
    assert "item" not in ITEM.write(captured)

    subscription = GraphSubscription("key", ANN, EMAIL, "secret", expires=at)
    assert SUBSCRIPTION.write(subscription)["owner"] == "t/ann"
    assert SUBSCRIPTION.read(SUBSCRIPTION.write(subscription), "key") == subscription


def test_absent_field_has_its_default_and_an_undeclared_one_is_refused() -> None:
    minimal = {"tenant": "t", "mailbox": "ann", "status": "enrolled", "since": now(), "more": 1}
    assert MAILBOX.read(minimal).notified_items == ()
    with pytest.raises(TypeError, match="not declared: more"):
        MAILBOX.write_fields(more=1)


def test_enrolment_sets_all_fields_but_those_that_are_kept() -> None:
    mailbox = Mailbox("t", "ann", MailboxStatus.ENROLLED, now())
    assert MAILBOX.write(mailbox).keys() == enrolment(mailbox).keys() | KEPT_AT_ENROLMENT


# -- leases ---------------------------------------------------------------------------------------


async def test_lease_has_one_holder_until_it_ends(store: Store) -> None:
    first = await acquire(store, "first", SHORT)
    assert await store.mailboxes.acquire_lease("second", LEASE) is None
    await asyncio.sleep(SHORT.total_seconds() * 2)

    second = await acquire(store, "second")
    with pytest.raises(LeaseLostError):
        await first.read()
    assert not await first.renew_lease()
    assert await second.renew_lease()


async def test_concurrent_workers_never_hold_the_same_mailbox(store: Store) -> None:
    await store.mailboxes.enrol(BO, None, now())

    keys = await asyncio.gather(
        *(store.mailboxes.acquire_lease(f"holder-{number}", LEASE) for number in range(20))
    )

    assert sorted(key for key in keys if key) == [ANN, BO]


async def test_former_holder_removes_no_notified_item(store: Store) -> None:
    await store.mailboxes.add_notified_items({ANN: [(EMAIL, "i")]})
    mailbox = await (await acquire(store)).read()

    await held_by(store, "former").remove_notified_items(mailbox.notified_items)

    assert items_of(await read(store)) == ["i"]


async def test_work_recorded_between_last_read_and_release_is_due(store: Store) -> None:
    await finish_all_work(store)
    tomorrow = now() + timedelta(days=1)
    await store.mailboxes.request_subscription_work([ANN])
    held = await acquire(store)
    await held.schedule_subscriptions((await held.read()).subscriptions_due_at, tomorrow)
    await held.release_lease(tomorrow)
    assert await store.mailboxes.acquire_lease("early", LEASE) is None

    await store.mailboxes.request_subscription_work([ANN])
    held = await acquire(store)
    await store.mailboxes.request_subscription_work([ANN])  # another lifecycle event
    await held.release_lease(tomorrow)
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
    await store.mailboxes.release_tenant("t", "policy", now() - timedelta(seconds=1))
    await held.release_lease(tomorrow)
    await acquire(store, "next")


# -- notified items and windows -------------------------------------------------------------------


async def test_mailbox_is_not_due_until_an_item_is_notified(store: Store) -> None:
    await finish_all_work(store)
    assert await store.mailboxes.acquire_lease("early", LEASE) is None

    await store.mailboxes.add_notified_items({ANN: [(EMAIL, "i")]})

    assert items_of(await (await acquire(store)).read()) == ["i"]


async def test_item_that_is_notified_again_while_it_is_fetched_stays(store: Store) -> None:
    await store.mailboxes.add_notified_items({ANN: [(EMAIL, "again"), (EMAIL, "once"), (EMAIL, "once")]})
    held = await acquire(store)
    mailbox = await held.read()
    assert items_of(mailbox) == ["again", "once"]

    await store.mailboxes.add_notified_items({ANN: [(EMAIL, "again")]})
    await held.remove_notified_items(mailbox.notified_items)

    assert items_of(await read(store)) == ["again"]


async def test_too_many_notified_items_become_a_window_unless_none_is_read(
    store: Store, mongodb_uri: str, mongodb_database: str, driver: Driver
) -> None:
    await finish_all_work(store)
    many = [(EMAIL, f"i{number}") for number in range(MAX_NOTIFIED_ITEMS + 1)]
    await store.mailboxes.add_notified_items({ANN: many[:-1]})
    mailbox = await read(store)
    assert (len(mailbox.notified_items), mailbox.window_due) == (MAX_NOTIFIED_ITEMS, None)
    await store.mailboxes.add_notified_items({ANN: many[-1:]})
    mailbox = await read(store)
    assert mailbox.notified_items == ()
    assert mailbox.window_due is not None

    without = Store(settings(mongodb_uri, f"{mongodb_database}-{driver}", reconcile=False), driver)
    await without.mailboxes.enrol(ANN, None, now())
    await without.mailboxes.add_notified_items({ANN: many})
    assert len((await read(without)).notified_items) == len(many)
    await without.close()


async def test_window_requested_during_a_reading_stays_due(store: Store) -> None:
    held = await acquire(store)
    mailbox = await held.read()
    await asyncio.sleep(0.01)
    await store.mailboxes.request_window(ANN)
    await held.finish_window(mailbox.window_due)

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
    await (await acquire(store, "publishes")).release_lease(later)

    await store.mailboxes.add_notified_items({ANN: [(EMAIL, "i")]})
    assert await store.mailboxes.acquire_lease("early", LEASE) is None
    wanted = request()
    unknown = await store.mailboxes.add_content_requests({ANN: [wanted, wanted], NOBODY: [wanted]})
    assert unknown == {NOBODY}

    assert (await (await acquire(store, "answers")).read()).content_requests == (wanted,)


async def test_removed_mailbox_gets_no_notified_items(store: Store) -> None:
    await store.mailboxes.change_status(ANN, MailboxStatus.REMOVED, now(), only_from=[MailboxStatus.ENROLLED])

    await store.mailboxes.add_notified_items({ANN: [(EMAIL, "i")]})

    assert (await read(store)).notified_items == ()


async def test_notified_items_of_an_unknown_mailbox_are_dropped(store: Store) -> None:
    await store.mailboxes.add_notified_items({NOBODY: [(EMAIL, "i")]}, [NOBODY])
    await held_by(store, "nobody").remove_notified_items([NotifiedItem(EMAIL, "i", 1)])

    assert await store.mailboxes.find(NOBODY) is None


# -- versions -------------------------------------------------------------------------------------


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

    assert await store.resend("t", "ann", now()) == 1

    assert [captured.item for captured in await store.items.find_pending(ANN, 10)] == ["live"]
    assert (await read(store)).publish_pending


# -- subscriptions --------------------------------------------------------------------------------


async def test_lifecycle_event_during_work_on_subscriptions_is_handled_next(store: Store) -> None:
    in_a_day, in_six_days = now() + timedelta(days=1), now() + timedelta(days=6)
    for number, kind in enumerate(ActivityKind):
        await store.subscriptions.insert(GraphSubscription(f"key-{number}", ANN, kind, "secret"))
        await store.subscriptions.set_created(f"key-{number}", f"graph-{number}", in_a_day, in_six_days)

    async def lifecycle(*graph_ids: str) -> None:
        await store.subscriptions.mark_due(graph_ids, now())
        await store.mailboxes.request_subscription_work([ANN])

    await lifecycle("graph-0")
    held = await acquire(store)
    mailbox = await held.read()
    due, _ = sorted(await store.subscriptions.find_by_owner(ANN), key=lambda each: each.key)

    await asyncio.sleep(0.01)  # MongoDB's clock has milliseconds
    await lifecycle("graph-0", "graph-1")
    await store.subscriptions.set_renewed(due, in_a_day, in_six_days)
    await held.schedule_subscriptions(mailbox.subscriptions_due_at, in_a_day)

    plan = plan_subscriptions(await store.subscriptions.find_by_owner(ANN), now(), KINDS)
    assert {each.graph_id for each in plan.renew} == {"graph-0", "graph-1"}
    mailbox = await held.read()
    assert mailbox.subscriptions_due_at is not None
    assert mailbox.subscriptions_due_at < now() + timedelta(hours=1)

    for each in plan.renew:
        await store.subscriptions.set_renewed(each, in_a_day, in_six_days)
    await held.schedule_subscriptions(mailbox.subscriptions_due_at, in_a_day)
    assert not plan_subscriptions(await store.subscriptions.find_by_owner(ANN), now(), KINDS)
    assert (await read(store)).subscriptions_due_at > now() + timedelta(hours=1)  # type: ignore[operator]


# -- stuck items ----------------------------------------------------------------------------------


def stuck(item: str, owner: MailboxKey = ANN, minutes: float = 0) -> StuckItem:
    """A stuck item that is fetched again in so many minutes."""
    retry_at = now() + timedelta(minutes=minutes)
    return StuckItem(item, owner, EMAIL, "graph_500", since=now(), failures=1, retry_at=retry_at)


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
    await store.mailboxes.acknowledge(ANN, mailbox.version)
    await held.finish_window(mailbox.window_due)
    soon, later = now() + timedelta(minutes=5), now() + timedelta(minutes=9)

    for due_at in (later, soon, later):
        await held.add_stuck_items_due_at(due_at)
    await held.release_lease(None)

    waiting = await read(store)
    assert waiting.due_at == waiting.stuck_items_due_at
    assert waiting.due_at is not None
    assert abs(waiting.due_at - soon) < timedelta(seconds=1)
    assert await store.mailboxes.acquire_lease("early", LEASE) is None
    await store.mailboxes.request_stuck_items(ANN)
    assert await store.mailboxes.acquire_lease("next", LEASE) == ANN


async def test_stuck_items_that_an_administrator_makes_due_meanwhile_stay_due(store: Store) -> None:
    held = await acquire(store)
    await held.add_stuck_items_due_at(now() - timedelta(minutes=1))
    seen = (await held.read()).stuck_items_due_at

    await store.mailboxes.request_stuck_items(ANN)
    await held.schedule_stuck_items(seen, None)

    due_at = (await held.read()).stuck_items_due_at
    assert due_at is not None
    await held.schedule_stuck_items(due_at, None)
    assert (await held.read()).stuck_items_due_at is None


async def test_stuck_item_is_not_published_with_the_pending_ones(store: Store) -> None:
    await record(store, "h", update("a", 0, 10), update("b", 0, 10))

    pending = await store.items.find_pending(ANN, 10, {"a"})

    assert [captured.item for captured in pending] == ["b"]


# -- status ---------------------------------------------------------------------------------------


async def test_status_counts_the_work(store: Store) -> None:
    await store.mailboxes.add_notified_items({ANN: [(EMAIL, "i"), (EMAIL, "j")]})
    await store.mailboxes.add_content_requests({ANN: [request()]})
    await record(store, "h", update("a", 0, 10))
    await store.stuck_items.save([stuck("s")])
    await acquire(store)

    assert await store.count_work() == {
        "mailboxes": 1,
        "mailboxes with work": 1,
        "mailboxes blocked": 0,
        "mailboxes without notifications": 0,
        "leases held": 1,
        "windows due": 1,
        "publish pending mailboxes": 1,
        "notified items waiting": 2,
        "content requests waiting": 1,
        "publish pending items": 1,
        "stuck items": 1,
        "stuck items: graph_500": 1,
        "subscriptions": 0,
        "tenants blocked": 0,
    }
