"""Versions of items and mailboxes rise, whatever the clock of the replica that hands them out."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store import Store
from shared.clock import micros
from shared.events import MailboxStatus

from .mailboxes import NOW, Published, Recorded, turn

LATER = NOW + timedelta(days=365)


@pytest.fixture
async def store(mongodb_uri: str, mongodb_database: str) -> AsyncIterator[Store]:
    made = Store(IngestSettings(mongodb_uri=SecretStr(mongodb_uri), mongodb_database=mongodb_database))  # type: ignore[call-arg]
    yield made
    made.close()


async def test_the_version_of_an_item_rises_though_the_clock_was_set_back() -> None:
    store, kafka = Recorded(version=micros(LATER)), Published()

    await turn(store, kafka, lambda: NOW).run()

    assert [note.version for note in store.notes] == [micros(LATER) + 1]
    assert [message.version for message in kafka.sent] == [micros(LATER) + 1]


async def test_the_version_of_a_mailbox_rises_though_the_clock_was_set_back(store: Store) -> None:
    await store.enrol("contoso", "ann", None, LATER)
    await store.change_status("contoso/ann", MailboxStatus.PAUSED, NOW, of=[MailboxStatus.ENROLLED])

    mailbox = await store.mailbox("contoso/ann")
    assert mailbox
    assert (mailbox.status, mailbox.version) == (MailboxStatus.PAUSED, micros(LATER) + 1)
