"""The outbox of items and mailboxes: pending until the version that is there is acknowledged."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from services.mail_ingest.documents import Mailbox, Note

from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store import Store
from shared.events import Kind, MailboxStatus

KEY = "contoso/ann"
LEASE = timedelta(seconds=30)


@pytest.fixture
async def store(mongodb_uri: str, mongodb_database: str) -> AsyncIterator[Store]:
    made = Store(IngestSettings(mongodb_uri=SecretStr(mongodb_uri), mongodb_database=mongodb_database))  # type: ignore[call-arg]
    await made.prepare()
    await made.enrol("contoso", "ann", None, datetime.now(UTC))
    yield made
    made.close()


async def mailbox(store: Store) -> Mailbox:
    found = await store.mailbox(KEY)
    assert found
    return found


async def pause(store: Store) -> None:
    await store.change_status(KEY, MailboxStatus.PAUSED, datetime.now(UTC), of=[MailboxStatus.ENROLLED])


async def record(store: Store, seen: int, version: int) -> None:
    """An update of the item, after the version that was seen."""
    now = datetime.now(UTC)
    note = Note("i", Kind.EMAIL, "k", f"digest-{version}", seen, version, at=now, leaves_at=now + LEASE)
    assert await store.note(KEY, "holder", [note]) == {"i"}


async def pending(store: Store) -> list[int]:
    """The versions of the items that are pending."""
    return [known.version for known in await store.unsent(KEY, 10)]


# -- items -------------------------------------------------------------------------------------------


async def test_an_item_is_pending_until_its_version_is_acknowledged(store: Store) -> None:
    await record(store, 0, 10)
    assert await pending(store) == [10]

    await store.confirm(KEY, {"i": 10})
    assert await pending(store) == []


async def test_an_item_that_moved_on_stays_pending(store: Store) -> None:
    await record(store, 0, 10)
    await record(store, 10, 20)

    await store.confirm(KEY, {"i": 10})

    [version] = await pending(store)
    assert version >= 20


async def test_an_item_that_was_published_out_of_order_is_pending_again(store: Store) -> None:
    """The send of version 10 was delivered after that of version 20, which stands before it in the log."""
    await record(store, 0, 10)
    await record(store, 10, 20)
    await store.confirm(KEY, {"i": 20})
    assert await pending(store) == []

    await store.confirm(KEY, {"i": 10})

    [version] = await pending(store)
    assert version > 20


async def test_a_mailbox_with_an_item_pending_again_is_due(store: Store) -> None:
    await record(store, 0, 10)
    await record(store, 10, 20)
    taken = await store.take("holder", LEASE)
    assert taken
    await store.confirm(KEY, {"i": 20})
    await store.confirm_mailbox(KEY, taken.version)
    await store.window_done(KEY, "holder", taken.window_due)
    await store.release(KEY, "holder", None)
    assert await store.take("early", LEASE) is None

    await store.confirm(KEY, {"i": 10})

    assert await store.take("next", LEASE)


# -- mailboxes ---------------------------------------------------------------------------------------


async def test_a_change_of_a_mailbox_is_pending_until_it_is_acknowledged(store: Store) -> None:
    enrolled = await mailbox(store)
    assert enrolled.unsent
    await store.confirm_mailbox(KEY, enrolled.version)
    assert not (await mailbox(store)).unsent

    await pause(store)
    paused = await mailbox(store)
    assert paused.unsent
    await store.confirm_mailbox(KEY, paused.version)
    assert not (await mailbox(store)).unsent


async def test_a_mailbox_that_moved_on_stays_pending(store: Store) -> None:
    enrolled = await mailbox(store)
    await pause(store)

    await store.confirm_mailbox(KEY, enrolled.version)

    assert (await mailbox(store)).unsent
