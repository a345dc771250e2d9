"""Fetches the items that notifications have named."""

from services.mail_ingest.domain.items import needs_window
from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox

from .item_reader import FETCH_BATCH_SIZE, ItemReader


class NotifiedItems:
    """The notified items of one mailbox."""

    def __init__(
        self,
        store: Store,
        held: HeldMailbox,
        reader: ItemReader,
        activities: ActivityPublisher,
        kinds: KindTable,
    ) -> None:
        self._store = store
        self._held = held
        self._reader = reader
        self._activities = activities
        self._kinds = kinds

    async def process(self, mailbox: Mailbox) -> bool:
        """Fetches and publishes one batch.

        Returns:
            Whether more items wait.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some items were not fetched; the others are done.
        """
        batch = mailbox.notified_items[:FETCH_BATCH_SIZE]
        if not batch:
            return False
        fetched = await self._reader.fetch(mailbox, [(each.kind, each.item) for each in batch])
        observed = await self._reader.observe(mailbox, fetched.payloads)
        processed = await self._activities.record_and_publish(mailbox, observed)
        if any(needs_window(each.captured, each.observed, self._kinds) for each in processed.values()):
            await self._store.mailboxes.request_window(mailbox.key)
        await self._held.remove_notified_items([each for each in batch if each.item in processed])
        if fetched.failure:
            raise fetched.failure
        return len(mailbox.notified_items) > len(batch)
