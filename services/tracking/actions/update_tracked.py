"""Applies updates of followed items to the tracked activities that were tracked from them."""

import logging
from dataclasses import dataclass

from services.tracking.domain.source_update import update_source
from services.tracking.domain.tracked_activity import TrackedActivity
from services.tracking.metrics import SOURCE_UPDATES
from services.tracking.publishing.relay import OutboxRelay
from services.tracking.store import Store
from shared.clock import Clock
from shared.errors import InvalidMessageError
from shared.events import ContentUpdated, SourceChange
from shared.keys import ItemKey, MailboxKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceUpdates:
    """Applies mail-ingest's updates.

    Attributes:
        store: the database.
        relay: publishes the tracked activity; it is woken.
        clock: the server's clock.
    """

    store: Store
    relay: OutboxRelay
    clock: Clock

    async def apply(self, mailbox: MailboxKey, version: int, update: ContentUpdated) -> None:
        """Applies an update; one of an item that is not tracked any more is dropped.

        Raises:
            InvalidMessageError: the update is for another item, or its content is missing.
        """
        item = ItemKey(mailbox.tenant, mailbox.mailbox, update.item)
        if update.change is SourceChange.GONE:
            update = update.model_copy(update={"content": None})
        elif update.content is None:
            raise InvalidMessageError("the content is missing", "content")
        elif update.content.activity.key != item:
            raise InvalidMessageError("this content is of another item", "content.activity")
        found = await self.store.tracked_activities.find_by_copy(item)
        for tracked in found:
            await self._apply_to(tracked, item, version, update)
        if not found:
            SOURCE_UPDATES.labels("dropped").inc()

    async def _apply_to(
        self, tracked: TrackedActivity, item: ItemKey, version: int, update: ContentUpdated
    ) -> None:
        before: TrackedActivity | None = tracked
        while before is not None:
            after = update_source(before, item, version, update.content, self.clock())
            if after is before:
                SOURCE_UPDATES.labels("known").inc()
                return
            if after.revision == before.revision:
                if await self.store.tracked_activities.record_copies(after, before):
                    SOURCE_UPDATES.labels("unseen").inc()
                    return
            elif await self.store.tracked_activities.replace_if_unchanged(after, before):
                SOURCE_UPDATES.labels(update.change).inc()
                log.info(
                    "tracked activity updated", extra={"activity": after.id, "change": update.change.value}
                )
                self.relay.wake()
                return
            before = await self.store.tracked_activities.find_by_key(tracked.key)
