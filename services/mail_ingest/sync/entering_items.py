"""Fetches the items that enter the capture window by the clock alone, when their time has come."""

from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock

from .item_fetching import ItemFetching
from .item_reader import FETCH_BATCH_SIZE


class EnteringItems:
    """The items of one mailbox that Graph has shown too early."""

    def __init__(self, store: Store, held: HeldMailbox, fetching: ItemFetching, clock: Clock) -> None:
        self._store = store
        self._held = held
        self._fetching = fetching
        self._clock = clock

    async def publish(self, mailbox: Mailbox) -> bool:
        """Fetches and publishes one batch.

        Returns:
            Whether more items wait.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some items were not fetched; the others are done.
        """
        now = self._clock()
        if mailbox.next_entry_at is None or mailbox.next_entry_at > now:
            return False
        entering = await self._store.items.find_entering(mailbox.key, now, FETCH_BATCH_SIZE)
        outcome = await self._fetching.fetch_and_publish(
            mailbox, [(each.kind, each.item) for each in entering]
        )
        # What Graph does not find any more would be fetched again and again.
        await self._store.items.forget_entries(mailbox.key, outcome.done, now)
        if outcome.failure:
            raise outcome.failure
        if len(entering) == FETCH_BATCH_SIZE:
            return True
        await self._held.set_fields(next_entry_at=await self._store.items.next_entry(mailbox.key))
        return False
