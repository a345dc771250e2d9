"""Fetches the items that notifications have named."""

from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox

from .item_fetching import ItemFetching
from .item_reader import FETCH_BATCH_SIZE


class NotifiedItems:
    """The notified items of one mailbox."""

    def __init__(self, held: HeldMailbox, fetching: ItemFetching) -> None:
        self._held = held
        self._fetching = fetching

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
        outcome = await self._fetching.fetch_and_publish(
            mailbox,
            [(each.kind, each.item) for each in batch],
            deleted={each.item for each in batch if each.deleted},
            waiting=len(mailbox.notified_items) - len(batch),
        )
        await self._held.remove_notified_items([each for each in batch if each.item in outcome.done])
        if outcome.failure:
            raise outcome.failure
        return len(mailbox.notified_items) > len(batch)
