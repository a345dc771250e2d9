"""What the tests of the store write, and how they read it."""

from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from services.mail_ingest.domain.items import CapturedItem, ItemUpdate
from services.mail_ingest.domain.stuck_items import StuckItem
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import (
    Mailbox,
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


def stuck(item: str, owner: MailboxKey = ANN, minutes: float = 0) -> StuckItem:
    """A stuck item that is fetched again in so many minutes."""
    retry_at = now() + timedelta(minutes=minutes)
    return StuckItem(item, owner, EMAIL, "graph_500", since=now(), failures=1, retry_at=retry_at)
