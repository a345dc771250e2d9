"""Fetches items by their ids, publishes what they are, and sets aside those that Graph does not return."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from services.mail_ingest.domain.items import may_appear, needs_window
from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.publishing.activities import ActivityPublisher, FindNotified
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from shared.events import ActivityKind

from .followed_items import FollowedItems
from .item_reader import GraphFailure, ItemReader
from .mass_loss import MassLoss
from .stuck_items import StuckItems


@dataclass(frozen=True, slots=True)
class FetchOutcome:
    """What became of the items of a fetch.

    Attributes:
        published: their state is recorded and published.
        set_aside: they are stuck, or held back.
        failure: why nothing became of the others.
    """

    published: AbstractSet[str]
    set_aside: AbstractSet[str]
    failure: GraphFailure | None

    @property
    def done(self) -> AbstractSet[str]:
        """The items that need no further fetch now."""
        return self.published | self.set_aside


class ItemFetching:
    """Fetches and publishes items of one mailbox."""

    def __init__(
        self,
        store: Store,
        reader: ItemReader,
        activities: ActivityPublisher,
        stuck: StuckItems,
        mass_loss: MassLoss,
        followed: FollowedItems,
        kinds: KindTable,
    ) -> None:
        self._store = store
        self._reader = reader
        self._activities = activities
        self._stuck = stuck
        self._mass_loss = mass_loss
        self._followed = followed
        self._kinds = kinds

    async def fetch_and_publish(
        self,
        mailbox: Mailbox,
        items: Sequence[tuple[ActivityKind, str]],
        find_notified: FindNotified | None = None,
        deleted: AbstractSet[str] = frozenset(),
        waiting: int = 0,
    ) -> FetchOutcome:
        """Fetches items by their ids; a failure of one harms no other. Followed ones are answered, too.

        Args:
            mailbox: the mailbox.
            items: their kinds and ids.
            find_notified: see `ActivityPublisher.record_and_publish`.
            deleted: items that Graph has reported as deleted; any other new one that is not found is
                fetched again soon.
            waiting: how many more items are fetched after these for the same cause.
        """
        fetched = await self._reader.fetch(mailbox, items)
        observed = await self._reader.observe(mailbox, fetched.payloads)
        held_back = await self._mass_loss.hold_back(mailbox, observed, waiting)
        processed = await self._activities.record_and_publish(
            mailbox, [each for each in observed if each.item not in held_back], find_notified
        )
        again = await self._stuck.search_again(
            mailbox,
            [
                (each.observed.kind, item)
                for item, each in processed.items()
                if may_appear(each.captured, each.observed) and item not in deleted
            ],
        )
        resolved = {item: each for item, each in processed.items() if item not in again}
        if any(needs_window(each.captured, each.observed, self._kinds) for each in resolved.values()):
            await self._store.mailbox_work.report_series_change(mailbox.key)
        await self._stuck.resolve(mailbox, resolved.keys())
        unsure = again | held_back
        seen = {key: payload for key, payload in fetched.payloads.items() if key[1] not in unsure}
        followed = await self._followed.answer_changes(mailbox, seen)
        failed = {**fetched.set_aside, **followed.set_aside}
        await self._stuck.set_aside(mailbox, failed)
        return FetchOutcome(
            processed.keys() - followed.unanswered,
            {item for _, item in failed} | held_back,
            fetched.failure or followed.failure,
        )
