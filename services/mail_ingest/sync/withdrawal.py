"""Withdraws items that have left the capture window, and all items of a removed mailbox."""

from services.mail_ingest.domain.items import Absence, CapturedItem, absent
from services.mail_ingest.publishing.activities import BATCH_SIZE, ActivityPublisher
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock

from .subscriptions import SubscriptionManager


class Withdrawal:
    """The withdrawal of one mailbox's items; it needs no answer of Graph."""

    def __init__(
        self,
        store: Store,
        held: HeldMailbox,
        activities: ActivityPublisher,
        subscriptions: SubscriptionManager,
        clock: Clock,
    ) -> None:
        self._store = store
        self._held = held
        self._activities = activities
        self._subscriptions = subscriptions
        self._clock = clock

    async def withdraw_expired(self, mailbox: Mailbox) -> bool:
        """Withdraws one batch of expired items when the first of them is due.

        The tombstones that a sync cut short has left are published with them, so that they wait neither for
        Graph's answers nor for the end of a pause.

        Returns:
            Whether there may be more.
        """
        now = self._clock()
        if mailbox.next_expiry_at is None or mailbox.next_expiry_at > now:
            return False
        expired = await self._store.items.find_expired(mailbox.key, now, BATCH_SIZE)
        tombstones: list[CapturedItem] = []
        if mailbox.pending_items_due is not None:
            tombstones = await self._store.items.find_pending_tombstones(mailbox.key, BATCH_SIZE)
        observed = [absent(each, Absence.EXPIRED) for each in (*expired, *tombstones)]
        await self._activities.record_and_publish_all(mailbox, observed)
        if expired and mailbox.has_stuck_items:
            await self._store.stuck_items.delete(mailbox.key, [each.item for each in expired])
        if BATCH_SIZE in {len(expired), len(tombstones)}:
            return True
        await self._held.set_fields(next_expiry_at=await self._store.items.next_expiry(mailbox.key))
        return False

    async def withdraw_removed(self, mailbox: Mailbox) -> bool:
        """Withdraws the items of a removed mailbox, and deletes its subscriptions and profile.

        Returns:
            Whether there may be more items.
        """
        live = await self._store.items.find_live(mailbox.key)
        pending = await self._store.items.find_pending(mailbox.key, BATCH_SIZE)
        observed = {each.item: absent(each, Absence.REMOVED) for each in (*live, *pending)}
        await self._activities.record_and_publish_all(mailbox, list(observed.values()))
        await self._store.stuck_items.delete(mailbox.key)
        await self._store.followed_items.delete(mailbox.key)
        await self._subscriptions.delete_all(mailbox)
        await self._held.set_fields(addresses=None, folders=None, next_expiry_at=None)
        if len(live) + len(pending) >= BATCH_SIZE:
            return True
        await self._held.finish_pending_items(mailbox.pending_items_due)
        return False
