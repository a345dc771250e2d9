"""Fetches the items that notifications have named."""

from services.mail_ingest.domain.refused_kinds import waiting_kinds
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock

from .item_fetching import ItemFetching
from .item_reader import FETCH_BATCH_SIZE


class NotifiedItems:
    """The notified items of one mailbox."""

    def __init__(
        self, held: HeldMailbox, fetching: ItemFetching, clock: Clock, settings: IngestSettings
    ) -> None:
        self._held = held
        self._fetching = fetching
        self._clock = clock
        self._reconcile = settings.reconcile

    async def process(self, mailbox: Mailbox) -> bool:
        """Fetches and publishes one batch.

        Returns:
            Whether more items wait.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some items were not fetched; the others are done.
        """
        batch = list(mailbox.notified_items[:FETCH_BATCH_SIZE])
        waiting = len(mailbox.notified_items) - len(batch)
        if not batch:
            return False
        # Where no windows are read, a kind that was refused before that is found by its items alone.
        refused = waiting_kinds(mailbox.refused_kinds, self._clock()) if self._reconcile else frozenset()
        if unread := [each for each in batch if each.kind in refused]:
            # The window of a kind is read when Graph answers for it again.
            await self._held.remove_notified_items(unread)
            batch = [each for each in batch if each.kind not in refused]
        outcome = await self._fetching.fetch_and_publish(
            mailbox,
            [(each.kind, each.item) for each in batch],
            deleted={each.item for each in batch if each.deleted},
            waiting=waiting,
        )
        await self._held.remove_notified_items([each for each in batch if each.item in outcome.done])
        if outcome.failure:
            raise outcome.failure
        return waiting > 0
