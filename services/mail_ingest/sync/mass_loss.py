"""Holds items back that Graph does not find at once with many others, until it does not find them again."""

import logging
import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from services.mail_ingest.domain.items import Absence, ObservedItem
from services.mail_ingest.domain.mass_loss import (
    MAX_LOST,
    held_back,
    is_held_back,
    is_mass_loss,
    was_held_back,
)
from services.mail_ingest.metrics import ITEMS_HELD_BACK
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from shared.clock import Clock

from .stuck_items import StuckItems

log = logging.getLogger(__name__)


class MassLoss:
    """The live items of one mailbox that are not found within one sync.

    An item that is held back is a stuck item, so that nothing else is done with it meanwhile.
    """

    def __init__(self, store: Store, stuck: StuckItems, clock: Clock) -> None:
        self._store = store
        self._stuck = stuck
        self._clock = clock
        self._began = clock()
        self._not_found: set[str] = set()

    async def hold_back(
        self, mailbox: Mailbox, observed: Sequence[ObservedItem], waiting: int
    ) -> AbstractSet[str]:
        """Holds items back that may not be gone.

        Args:
            mailbox: the mailbox.
            observed: items that were fetched together.
            waiting: how many more are fetched after them for the same cause.

        Returns:
            The items that are held back, those from before included.
        """
        not_found = {each.item: each.kind for each in observed if each.state is Absence.NOT_FOUND}
        if not not_found:
            return frozenset()
        now = self._clock()
        stuck = await self._stuck.find(mailbox, not_found.keys())
        held = {item for item in not_found if is_held_back(stuck.get(item), now)}
        new = {item for item in not_found if item not in held and not was_held_back(stuck.get(item), now)}
        self._not_found |= new
        if not new or len(self._not_found) + waiting <= MAX_LOST:
            return held
        captured = await self._store.items.find(mailbox.key, self._not_found)
        live = {item for item, each in captured.items() if each.gone is None}
        withdrawn = {item for item, each in captured.items() if each.gone and each.gone >= self._began}
        live_before = await self._store.items.count_live(mailbox.key) + len(withdrawn)
        lost = new & live
        if not lost or not is_mass_loss(len(live) + len(withdrawn) + waiting, live_before):
            return held
        await self._stuck.save(
            [
                held_back(stuck.get(item), mailbox.key, (not_found[item], item), now, random.random())
                for item in lost
            ]
        )
        ITEMS_HELD_BACK.inc(len(lost))
        log.warning(
            "many items not found at once, they are fetched again before they are gone",
            extra={
                "tenant": mailbox.tenant,
                "mailbox": mailbox.mailbox,
                "items": len(lost),
                "live": live_before,
            },
        )
        return held | lost
