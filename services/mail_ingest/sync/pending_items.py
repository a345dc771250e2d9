"""Publishes the items whose recorded state Kafka has not acknowledged, in their present state."""

from services.mail_ingest.domain.items import Absence, absent
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox

from .item_reader import FETCH_BATCH_SIZE, ItemReader


class PendingItems:
    """The pending items of one mailbox."""

    def __init__(self, store: Store, reader: ItemReader, activities: ActivityPublisher) -> None:
        self._store = store
        self._reader = reader
        self._activities = activities

    async def publish(self, mailbox: Mailbox) -> bool:
        """Publishes one batch: activities are fetched again, tombstones need no fetch.

        Returns:
            Whether there may be more.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some items were not fetched; the others are done.
        """
        pending = await self._store.items.find_pending(mailbox.key, FETCH_BATCH_SIZE)
        if not pending:
            return False
        gone = [absent(each, Absence.EXPIRED) for each in pending if each.gone is not None]
        live = [(each.kind, each.item) for each in pending if each.gone is None]
        fetched = await self._reader.fetch(mailbox, live)
        observed = [*gone, *await self._reader.observe(mailbox, fetched.payloads)]
        await self._activities.record_and_publish(mailbox, observed)
        if fetched.failure:
            raise fetched.failure
        return True
