"""Records observed items, and publishes their activities and tombstones on `activities`."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, assert_never

from services.mail_ingest.domain.items import (
    CapturedItem,
    ItemAction,
    ItemUpdate,
    ObservedItem,
    decide_action,
    item_update,
    placed,
    was_missed,
)
from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.metrics import (
    ACTIVITIES_PUBLISHED,
    ACTIVITIES_WITHDRAWN,
    ITEMS_REFUSED,
    PAYLOAD_ODDITIES,
)
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock
from shared.events import Activity
from shared.keys import ItemKey
from shared.messages import OutgoingMessage
from shared.topics import ACTIVITIES

from .outbox import OutboxPublisher

BATCH_SIZE = 500
"""Items that a job reads at once."""
PIECE_SIZE = 100
"""Items that are recorded and published together; other tasks go on between two pieces."""

FindNotified: TypeAlias = Callable[[], Awaitable[AbstractSet[str]]]
"""Returns the items that notifications have named and that still wait."""


@dataclass(frozen=True, slots=True)
class ProcessedItem:
    """An item whose observed state is recorded and published.

    Attributes:
        captured: the state that was stored before.
        version: of the state that is stored now; 0 where there is none.
    """

    observed: ObservedItem
    captured: CapturedItem | None
    version: int


@dataclass(frozen=True, slots=True)
class _PlannedUpdate:
    observed: ObservedItem
    captured: CapturedItem | None
    action: ItemAction
    update: ItemUpdate


class ActivityPublisher:
    """Records and publishes the items of one mailbox, for the holder of its lease."""

    def __init__(
        self, store: Store, held: HeldMailbox, outbox: OutboxPublisher, clock: Clock, kinds: KindTable
    ) -> None:
        self._store = store
        self._held = held
        self._outbox = outbox
        self._clock = clock
        self._kinds = kinds

    async def record_and_publish_all(
        self,
        mailbox: Mailbox,
        observed: Sequence[ObservedItem],
        find_notified: FindNotified | None = None,
        stored: Mapping[str, CapturedItem] | None = None,
    ) -> None:
        """Calls `record_and_publish` for any number of items."""
        for start in range(0, len(observed), PIECE_SIZE):
            batch = observed[start : start + PIECE_SIZE]
            await self.record_and_publish(mailbox, batch, find_notified, stored)

    async def record_and_publish(
        self,
        mailbox: Mailbox,
        observed: Sequence[ObservedItem],
        find_notified: FindNotified | None = None,
        stored: Mapping[str, CapturedItem] | None = None,
    ) -> dict[str, ProcessedItem]:
        """Records and publishes what follows from the observed states.

        Args:
            mailbox: the mailbox.
            observed: the items.
            find_notified: set when a reading of the window found the items: returns those that
                notifications have named. Of the others, the missed ones are counted.
            stored: the stored states of all these items that have one, if they are known.

        Returns:
            The processed items. One that another worker changed meanwhile is left out, and is read again.

        Raises:
            LeaseLostError: another worker may hold the mailbox.
            RetryableError: Kafka or MongoDB is unavailable.
        """
        if not observed:
            return {}
        if stored is None:
            stored = await self._store.items.find(mailbox.key, [each.item for each in observed])
        processed, planned = self._plan(observed, stored)
        await self._add_clock_times(mailbox, planned.values())
        self._held.lease.check()
        recorded = await self._store.items.record(
            mailbox.key, self._held.lease.holder, [plan.update for plan in planned.values()]
        )
        done = [plan for item, plan in planned.items() if item in recorded]
        if done and find_notified is not None:
            await self._count_missed(mailbox, done, await find_notified())
        await self._publish(mailbox, done)
        for plan in done:
            _count(plan)
            version = plan.update.captured.version
            processed[plan.observed.item] = ProcessedItem(plan.observed, plan.captured, version)
        return processed

    def _plan(
        self, observed: Sequence[ObservedItem], stored: Mapping[str, CapturedItem]
    ) -> tuple[dict[str, ProcessedItem], dict[str, _PlannedUpdate]]:
        """The items that need no update, and the updates of the others."""
        now = self._clock()
        processed: dict[str, ProcessedItem] = {}
        planned: dict[str, _PlannedUpdate] = {}
        for item in observed:
            captured = stored.get(item.item)
            each = placed(captured, item, now, self._kinds)
            action = decide_action(captured, each)
            if action is ItemAction.NONE:
                version = captured.version if captured else 0
                processed[each.item] = ProcessedItem(each, captured, version)
            else:
                update = item_update(captured, each, action, now)
                planned[each.item] = _PlannedUpdate(each, captured, action, update)
        return processed, planned

    async def _add_clock_times(self, mailbox: Mailbox, planned: Collection[_PlannedUpdate]) -> None:
        """Has the mailbox be due when the first of these items leaves the capture window, or enters it.

        A time of the mailbox that is over does not count: this sync may have replaced it already.
        """
        now = self._clock()
        updated = [each.update.captured for each in planned]
        leaves_at = _soonest(each.leaves_at for each in updated if each.gone is None)
        enters_at = _soonest(each.enters_at for each in updated)
        is_expiry_sooner = _is_sooner(leaves_at, mailbox.next_expiry_at, now)
        if is_expiry_sooner or _is_sooner(enters_at, mailbox.next_entry_at, now):
            await self._held.add_clock_times(leaves_at, enters_at)

    async def _count_missed(
        self, mailbox: Mailbox, done: Sequence[_PlannedUpdate], notified: AbstractSet[str]
    ) -> None:
        missed = sum(
            was_missed(plan.captured, plan.observed, plan.action, mailbox.complete_as_of, self._kinds)
            for plan in done
            if plan.observed.item not in notified
        )
        await self._held.add_missed(missed)

    async def _publish(self, mailbox: Mailbox, done: Sequence[_PlannedUpdate]) -> None:
        to_publish = [plan for plan in done if plan.update.captured.publish_pending]
        versions = {plan.observed.item: plan.update.captured.version for plan in to_publish}
        messages = [
            OutgoingMessage(
                ACTIVITIES,
                ItemKey(mailbox.tenant, mailbox.mailbox, plan.observed.item),
                _value_of(plan),
                plan.update.captured.version,
                resent=plan.update.captured.resent,
            )
            for plan in to_publish
        ]

        async def acknowledge() -> None:
            await self._store.acknowledge_items(mailbox.key, versions)

        await self._outbox.publish(self._held.lease, messages, acknowledge)


def _soonest(times: Iterable[datetime | None]) -> datetime | None:
    return min((time for time in times if time), default=None)


def _is_sooner(time: datetime | None, known: datetime | None, now: datetime) -> bool:
    return time is not None and (known is None or known <= now or time < known)


def _value_of(plan: _PlannedUpdate) -> Activity | None:
    """The activity to publish; None: a tombstone."""
    state = plan.observed.state
    return state if plan.action is ItemAction.PUBLISH and isinstance(state, Activity) else None


def _count(plan: _PlannedUpdate) -> None:
    match plan.action:
        case ItemAction.PUBLISH:
            ACTIVITIES_PUBLISHED.labels(plan.observed.kind).inc()
            for oddity, count in plan.observed.oddities.items():
                PAYLOAD_ODDITIES.labels(oddity).inc(count)
        case ItemAction.WITHDRAW:
            ACTIVITIES_WITHDRAWN.labels(plan.observed.reason).inc()
        case ItemAction.RECORD:
            ITEMS_REFUSED.labels(plan.observed.reason).inc()
        case ItemAction.NONE:
            pass
        case _:
            assert_never(plan.action)
