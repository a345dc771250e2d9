"""Publishes the state of a mailbox's capture on `mailboxes`."""

from collections.abc import Collection
from typing import Any

from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock
from shared.events import MailboxStatus
from shared.messages import OutgoingMessage
from shared.topics import MAILBOXES

from .outbox import OutboxPublisher


class MailboxStatePublisher:
    """Records and publishes the state of one mailbox, for the holder of its lease."""

    def __init__(self, store: Store, held: HeldMailbox, outbox: OutboxPublisher, clock: Clock) -> None:
        self._store = store
        self._held = held
        self._outbox = outbox
        self._clock = clock

    async def publish(self, mailbox: Mailbox) -> None:
        """Publishes the recorded state; the errors are those of `OutboxPublisher.publish`."""
        message = OutgoingMessage(MAILBOXES, mailbox.key, mailbox.to_event(), mailbox.version)

        async def acknowledge() -> None:
            await self._store.mailboxes.acknowledge(mailbox.key, mailbox.version)

        await self._outbox.publish(self._held.lease, [message], acknowledge)

    async def record_and_publish(self, *, only_from: Collection[MailboxStatus], **changes: Any) -> None:
        """Records and publishes a new state, if the mailbox still has one of these statuses."""
        self._held.lease.check()
        mailbox = await self._held.record_state(self._clock(), only_from=only_from, **changes)
        if mailbox is not None:
            await self.publish(mailbox)
