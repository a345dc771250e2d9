"""Fetches stuck items again when their retry times have come."""

from services.mail_ingest.domain.mass_loss import NOT_FOUND_AT_ONCE
from services.mail_ingest.domain.stuck_items import NOT_FOUND_YET
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock

from .item_fetching import ItemFetching
from .item_reader import FETCH_BATCH_SIZE

BATCH_SIZE = 6
"""Each may take all attempts of a request; the mailbox's other work goes on between two batches."""
QUICK_REASONS = {NOT_FOUND_YET, NOT_FOUND_AT_ONCE}
"""The items of these reasons have quick answers, and there may be many."""


class StuckRetries:
    """The retries of one mailbox's stuck items."""

    def __init__(self, store: Store, held: HeldMailbox, fetching: ItemFetching, clock: Clock) -> None:
        self._store = store
        self._held = held
        self._fetching = fetching
        self._clock = clock

    async def retry(self, mailbox: Mailbox) -> bool:
        """Fetches one batch.

        Returns:
            Whether more items wait.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some items were not fetched; the others are done.
        """
        due_at, now = mailbox.stuck_items_due_at, self._clock()
        if due_at is None or due_at > now:
            return False
        due = await self._store.stuck_items.find_due(mailbox.key, now, FETCH_BATCH_SIZE)
        slow = [each for each in due if each.reason not in QUICK_REASONS]
        batch = [*slow[:BATCH_SIZE], *(each for each in due if each.reason in QUICK_REASONS)]
        outcome = await self._fetching.fetch_and_publish(mailbox, [(each.kind, each.item) for each in batch])
        if outcome.failure:
            raise outcome.failure
        next_at = await self._store.stuck_items.next_retry(mailbox.key)
        await self._held.schedule_stuck_items(due_at, next_at)
        return len(batch) < len(due) or len(due) == FETCH_BATCH_SIZE
