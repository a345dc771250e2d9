"""Sets the items aside that Graph does not return, so that the rest of their mailbox goes on."""

import logging
import random
from collections import Counter
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet

from services.mail_ingest.domain.stuck_items import ItemFailure, StuckItem, search_again, set_aside
from services.mail_ingest.metrics import ITEMS_SET_ASIDE
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock
from shared.events import ActivityKind

log = logging.getLogger(__name__)


class StuckItems:
    """The stuck items of one mailbox; see `Mailbox.has_stuck_items`."""

    def __init__(self, store: Store, held: HeldMailbox, clock: Clock) -> None:
        self._store = store
        self._held = held
        self._clock = clock
        self._has_set_aside = False

    async def find_ids(self, mailbox: Mailbox) -> AbstractSet[str]:
        """The ids of all stuck items, those that this sync has set aside included."""
        if not (self._has_set_aside or mailbox.has_stuck_items):
            return frozenset()
        return await self._store.stuck_items.find_ids(mailbox.key)

    async def find(self, mailbox: Mailbox, items: Collection[str]) -> Mapping[str, StuckItem]:
        """Those of these items that are stuck, by item."""
        if not mailbox.has_stuck_items:
            return {}
        return await self._store.stuck_items.find(mailbox.key, items)

    async def set_aside(
        self, mailbox: Mailbox, failed: Mapping[tuple[ActivityKind, str], ItemFailure]
    ) -> None:
        """Sets these items aside, each until a retry time of its own."""
        if not failed:
            return
        now = self._clock()
        before = await self._store.stuck_items.find(mailbox.key, [item for _, item in failed])
        stuck = [
            set_aside(before.get(item[1]), mailbox.key, item, failure, now, random.random())
            for item, failure in failed.items()
        ]
        await self.save(stuck)
        reasons = Counter(each.reason for each in stuck)
        for reason, count in reasons.items():
            ITEMS_SET_ASIDE.labels(reason).inc(count)
        log.warning(
            "items set aside, retrying later",
            extra={"tenant": mailbox.tenant, "mailbox": mailbox.mailbox, "reasons": dict(reasons)},
        )

    async def search_again(
        self, mailbox: Mailbox, missing: Collection[tuple[ActivityKind, str]]
    ) -> AbstractSet[str]:
        """Has new items that Graph does not find fetched again soon.

        Returns:
            Those of them; the others have been sought for long enough.
        """
        if not missing:
            return frozenset()
        now = self._clock()
        before = await self._store.stuck_items.find(mailbox.key, [item for _, item in missing])
        sought = [
            search_again(before.get(item[1]), mailbox.key, item, now, random.random()) for item in missing
        ]
        again = [each for each in sought if each is not None]
        if again:
            await self.save(again, sought=True)
        return {each.item for each in again}

    async def save(self, stuck: Collection[StuckItem], *, sought: bool = False) -> None:
        """Stores stuck items, and has the mailbox fetch them again in time."""
        self._has_set_aside = True
        # The mailbox first: after a crash in between it is due for nothing, which does no harm.
        await self._held.add_stuck_items_due_at(min(each.retry_at for each in stuck), sought=sought)
        await self._store.stuck_items.save(stuck)

    async def resolve(self, mailbox: Mailbox, items: Collection[str]) -> None:
        """These items are no longer stuck, if they were."""
        resolved = (await self.find_ids(mailbox)) & set(items)
        if resolved:
            await self._store.stuck_items.delete(mailbox.key, resolved)
