"""What is recorded and published of an observed item, and under which lease and version."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.mail_ingest.domain.items import Absence, CapturedItem, ItemUpdate, absent
from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.publishing.outbox import OutboxPublisher
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.lease import Lease, LeaseLostError
from shared.broker import Producer
from shared.clock import to_micros
from shared.events import ActivityKind, MailboxStatus
from shared.keys import ItemKey, MailboxKey
from shared.messages import OutgoingMessage

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=365)
MAILBOX = Mailbox("t", "ann", MailboxStatus.ENROLLED, NOW)
LEASE = timedelta(minutes=1)


def captured(version: int = 1) -> CapturedItem:
    """A captured item whose window has ended."""
    return CapturedItem("i", ActivityKind.EMAIL, "k", "d", version, at=NOW, leaves_at=NOW)


class StubItems:
    """The store's items: one captured item, and the updates that are recorded."""

    def __init__(self, stored: CapturedItem) -> None:
        self.updates: list[ItemUpdate] = []
        self._stored = stored

    async def find(self, _owner: MailboxKey, items: Collection[str]) -> dict[str, CapturedItem]:
        return dict.fromkeys(items, self._stored)

    async def record(self, _owner: MailboxKey, _by: str, updates: Sequence[ItemUpdate]) -> set[str]:
        self.updates += updates
        return {update.captured.item for update in updates}


class StubStore:
    """A store that keeps what is recorded and acknowledged."""

    def __init__(self, stored: CapturedItem) -> None:
        self.items = StubItems(stored)
        self.acknowledged: dict[str, int] = {}

    async def acknowledge_items(self, _owner: MailboxKey, versions: Mapping[str, int]) -> None:
        self.acknowledged |= versions


class StubProducer:
    """A producer that keeps the messages."""

    def __init__(self) -> None:
        self.sent: list[OutgoingMessage] = []

    async def send(self, *messages: OutgoingMessage, deadline: timedelta) -> None:  # noqa: ARG002  # the producer's signature
        self.sent += messages


async def withdraw(
    stored: CapturedItem, lease_age: timedelta = timedelta()
) -> tuple[StubStore, StubProducer]:
    """Withdraws an item under a lease of this age; a lost lease leaves both as they are then."""
    store, kafka = StubStore(stored), StubProducer()
    lease = Lease(MAILBOX.key, "holder", LEASE, time.monotonic() - lease_age.total_seconds())
    publisher = ActivityPublisher(
        cast("Any", store),
        cast("Any", SimpleNamespace(lease=lease)),
        OutboxPublisher(cast("Producer", kafka)),
        lambda: NOW,
        KINDS,
    )
    observed = absent(stored, Absence.EXPIRED)
    if lease_age >= LEASE:
        with pytest.raises(LeaseLostError):
            await publisher.record_and_publish(MAILBOX, [observed])
    else:
        await publisher.record_and_publish(MAILBOX, [observed])
    return store, kafka


async def test_nothing_is_recorded_or_published_once_the_lease_is_over() -> None:
    store, kafka = await withdraw(captured(), lease_age=2 * LEASE)

    assert (store.items.updates, kafka.sent) == ([], [])


async def test_item_is_recorded_as_pending_and_acknowledged_once_it_is_published() -> None:
    store, kafka = await withdraw(captured())

    (update,) = store.items.updates
    assert update.captured.publish_pending
    assert [(message.key, message.value) for message in kafka.sent] == [(ItemKey("t", "ann", "i"), None)]
    assert store.acknowledged == {"i": update.captured.version}


async def test_version_of_an_item_rises_though_the_clock_was_set_back() -> None:
    store, kafka = await withdraw(captured(version=to_micros(LATER)))

    assert [update.captured.version for update in store.items.updates] == [to_micros(LATER) + 1]
    assert [message.version for message in kafka.sent] == [to_micros(LATER) + 1]


async def test_resent_item_is_published_as_resent() -> None:
    """The matcher then publishes its own state of the item again: `matches` may have been lost, too."""
    _, resent = await withdraw(replace(captured(), publish_pending=True, resent=True))
    _, usual = await withdraw(captured())

    assert [message.resent for message in (*resent.sent, *usual.sent)] == [True, False]
