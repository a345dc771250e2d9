"""What the tests of the store write, and how they read it."""

from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from services.mail_ingest.domain.items import CapturedItem, ItemUpdate
from services.mail_ingest.domain.refused_kinds import RefusedKind
from services.mail_ingest.domain.stuck_items import StuckItem
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import (
    Mailbox,
    Work,
)
from services.mail_ingest.store.held_mailbox import HeldMailbox
from services.mail_ingest.store.lease import Lease
from shared.events import ActivityKind, FetchContent
from shared.keys import MailboxKey

ANN, BO = MailboxKey("t", "ann"), MailboxKey("t", "bo")
NOBODY = MailboxKey("t", "nobody")
LEASE = timedelta(seconds=30)
SHORT = timedelta(milliseconds=200)
EMAIL = ActivityKind.EMAIL


def now() -> datetime:
    return datetime.now(UTC)


def settings(uri: str, database: str, *, reconcile: bool = True) -> IngestSettings:
    return IngestSettings(mongodb_uri=SecretStr(uri), mongodb_database=database, reconcile=reconcile)


def held_by(store: Store, holder: str, key: MailboxKey = ANN) -> HeldMailbox:
    return store.mailbox_leases.held(Lease(key, holder, LEASE, 0.0))


async def acquire(store: Store, holder: str = "holder", duration: timedelta = LEASE) -> HeldMailbox:
    for work in Work:
        mailbox = await store.mailbox_leases.acquire_lease(work, holder, duration, now())
        if mailbox is not None:
            return held_by(store, holder, mailbox.key)
    raise AssertionError("no mailbox has work")


async def has_work(store: Store) -> bool:
    """Whether a mailbox is due; its lease is granted then."""
    return any([await store.mailbox_leases.acquire_lease(work, "early", LEASE, now()) for work in Work])


async def finish_all_work(store: Store) -> None:
    """Leaves the mailbox without work."""
    held = await acquire(store, "first")
    mailbox = await held.read()
    await store.mailboxes.acknowledge(ANN, mailbox.version)
    await finish_window(held, mailbox)
    tomorrow = now() + timedelta(days=1)
    await held.schedule_subscriptions(mailbox.subscriptions_due_at, tomorrow)
    await held.release_lease()


async def finish_window(held: HeldMailbox, mailbox: Mailbox) -> None:
    """Records and publishes a complete reading of the window."""
    finished = await held.finish_window(mailbox, now(), now() + timedelta(days=1))
    assert finished is not None
    await held.set_fields(publish_pending=False)


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


def stuck(item: str, owner: MailboxKey = ANN, minutes: float = 0) -> StuckItem:
    """A stuck item that is fetched again in so many minutes."""
    retry_at = now() + timedelta(minutes=minutes)
    return StuckItem(item, owner, EMAIL, "graph_500", since=now(), failures=1, retry_at=retry_at)


def refused(kind: ActivityKind) -> RefusedKind:
    """A kind that Graph refuses since now."""
    return RefusedKind(kind, "access_policy", since=now(), failures=1, retry_at=now())
