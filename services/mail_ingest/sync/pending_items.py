"""Publishes the items whose recorded state Kafka has not acknowledged, in their present state."""

from services.mail_ingest.domain.items import Absence, absent
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox

from .item_fetching import ItemFetching
from .item_reader import FETCH_BATCH_SIZE
from .stuck_items import StuckItems

MANY = 1_000_000
"""After a full batch any number of pending items may wait."""


class PendingItems:
    """The pending items of one mailbox."""

    def __init__(
        self,
        store: Store,
        held: HeldMailbox,
        activities: ActivityPublisher,
        fetching: ItemFetching,
        stuck: StuckItems,
    ) -> None:
        self._store = store
        self._held = held
        self._activities = activities
        self._fetching = fetching
        self._stuck = stuck

    async def publish(self, mailbox: Mailbox) -> bool:
        """Publishes one batch: activities are fetched again, tombstones need no fetch.

        Stuck items are left out: they are published when they can be fetched.

        Returns:
            Whether there may be more.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some items were not fetched; the others are done.
        """
        if mailbox.pending_items_due is None:
            return False
        stuck = await self._stuck.find_ids(mailbox)
        pending = await self._store.items.find_pending(mailbox.key, FETCH_BATCH_SIZE, stuck)
        if not pending:
            await self._held.finish_pending_items(mailbox.pending_items_due)
            return False
        gone = [absent(each, Absence.EXPIRED) for each in pending if each.gone is not None]
        await self._activities.record_and_publish(mailbox, gone)
        live = [(each.kind, each.item) for each in pending if each.gone is None]
        waiting = MANY if len(pending) == FETCH_BATCH_SIZE else 0
        outcome = await self._fetching.fetch_and_publish(mailbox, live, waiting=waiting)
        if outcome.failure:
            raise outcome.failure
        return True
