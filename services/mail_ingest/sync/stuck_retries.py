"""Fetches stuck items again when their retry times have come."""

from datetime import datetime

from services.mail_ingest.domain.mass_loss import NOT_FOUND_AT_ONCE
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock

from .item_fetching import ItemFetching
from .item_reader import FETCH_BATCH_SIZE

BATCH_SIZE = 6
"""Each may take all attempts of a request; the mailbox's other work goes on between two batches."""


class StuckRetries:
    """The retries of one mailbox's stuck items."""

    def __init__(self, store: Store, held: HeldMailbox, fetching: ItemFetching, clock: Clock) -> None:
        self._store = store
        self._held = held
        self._fetching = fetching
        self._clock = clock

    async def seek(self, mailbox: Mailbox) -> bool:
        """Fetches one batch of the items that Graph did not find yet; see `retry`."""
        return await self._retry(mailbox, mailbox.sought_items_due_at, sought=True)

    async def retry(self, mailbox: Mailbox) -> bool:
        """Fetches one batch of the other stuck items.

        Returns:
            Whether more items wait.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some items were not fetched; the others are done.
        """
        return await self._retry(mailbox, mailbox.stuck_items_due_at, sought=False)

    async def _retry(self, mailbox: Mailbox, due_at: datetime | None, *, sought: bool) -> bool:
        now = self._clock()
        if due_at is None or due_at > now:
            return False
        due = await self._store.stuck_items.find_due(mailbox.key, now, FETCH_BATCH_SIZE, sought=sought)
        quick = [each for each in due if sought or each.reason == NOT_FOUND_AT_ONCE]
        slow = [each for each in due if each not in quick]
        batch = [*slow[:BATCH_SIZE], *quick]
        outcome = await self._fetching.fetch_and_publish(mailbox, [(each.kind, each.item) for each in batch])
        if outcome.failure:
            raise outcome.failure
        next_at = await self._store.stuck_items.next_retry(mailbox.key, sought=sought)
        await self._held.schedule_stuck_items(due_at, next_at, sought=sought)
        return len(batch) < len(due) or len(due) == FETCH_BATCH_SIZE
