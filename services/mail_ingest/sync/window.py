"""Reconciles the captured items of a mailbox with a complete reading of its window."""

import secrets
from collections.abc import Set as AbstractSet
from datetime import datetime

from services.mail_ingest.domain.activities import CAPTURE_WINDOW, Payload
from services.mail_ingest.domain.items import Absence, CapturedItem, absent
from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.domain.window import compare_window
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.metrics import MISSED_BY_NOTIFICATIONS
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.publishing.mailbox_state import MailboxStatePublisher
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock
from shared.events import ActivityKind, MailboxStatus

from .followed_items import FollowedItems
from .item_fetching import ItemFetching
from .item_reader import FETCH_BATCH_SIZE, ItemReader
from .profile import MailboxProfile
from .stuck_items import StuckItems


class WindowReconciliation:
    """The reconciliation of one mailbox."""

    def __init__(
        self,
        store: Store,
        graph: Graph,
        held: HeldMailbox,
        profile: MailboxProfile,
        reader: ItemReader,
        activities: ActivityPublisher,
        fetching: ItemFetching,
        stuck: StuckItems,
        followed: FollowedItems,
        state: MailboxStatePublisher,
        clock: Clock,
        settings: IngestSettings,
        kinds: KindTable,
    ) -> None:
        self._store = store
        self._graph = graph
        self._held = held
        self._profile = profile
        self._reader = reader
        self._activities = activities
        self._fetching = fetching
        self._stuck = stuck
        self._followed = followed
        self._state = state
        self._clock = clock
        self._settings = settings
        self._kinds = kinds

    async def reconcile_if_due(self, mailbox: Mailbox) -> None:
        """Reads the whole window when it is due, and compares it with the captured items.

        A stuck item counts neither as shown nor as gone; it does not hold the reading up.

        Raises:
            GraphUnavailableError, MailboxBlockedError: the reading is cut short; the next one repeats it,
                and its missed items are counted then.
        """
        now = self._clock()
        if not self._settings.reconcile or not _is_due(mailbox, now):
            return
        mailbox = await self._profile.refresh(mailbox)
        shown = await self._read_window(mailbox, now)
        current = await self._held.read()  # with what this sync has set aside before
        notified = {each.item for each in current.notified_items}
        observed = await self._reader.observe(mailbox, shown)
        await self._activities.record_and_publish_all(mailbox, observed, notified)
        shown_ids = frozenset(item for _, item in shown)
        await self._stuck.resolve(current, shown_ids)
        stuck = await self._stuck.find_ids(current)
        live = [each for each in await self._store.items.find_live(mailbox.key) if each.item not in stuck]
        comparison = compare_window(live, shown_ids, now, self._kinds)
        set_aside = await self._fetch_hidden(mailbox, comparison.to_fetch, notified)
        gone = [absent(each, Absence.NOT_SHOWN) for each in comparison.gone]
        await self._activities.record_and_publish_all(mailbox, gone, notified)
        missing = {item: count for item, count in comparison.missing.items() if item not in set_aside}
        await self._store.items.set_missing_counts(
            mailbox.key, {**missing, **dict.fromkeys(comparison.shown_again, 0)}
        )
        await self._followed.answer_window(mailbox, shown, stuck | set_aside)
        await self._finish(mailbox, now)

    async def _read_window(
        self, mailbox: Mailbox, now: datetime
    ) -> dict[tuple[ActivityKind, str], Payload | None]:
        """All items of all kinds in the capture window."""
        shown: dict[tuple[ActivityKind, str], Payload | None] = {}
        for kind, row in self._kinds.items():
            payloads = await self._graph.items.read_window(
                mailbox.key, row, now - CAPTURE_WINDOW, now + CAPTURE_WINDOW
            )
            shown |= {(kind, str(payload["id"])): payload for payload in payloads}
        return shown

    async def _fetch_hidden(
        self, mailbox: Mailbox, hidden: tuple[CapturedItem, ...], notified: AbstractSet[str]
    ) -> AbstractSet[str]:
        """Fetches the captured items that the window no longer shows, by their ids.

        Returns:
            Those that Graph does not return; nothing is known of them.
        """
        set_aside: set[str] = set()
        for start in range(0, len(hidden), FETCH_BATCH_SIZE):
            batch = [(each.kind, each.item) for each in hidden[start : start + FETCH_BATCH_SIZE]]
            waiting = len(hidden) - start - len(batch)
            outcome = await self._fetching.fetch_and_publish(mailbox, batch, notified, waiting=waiting)
            set_aside |= outcome.set_aside
            if outcome.failure:
                raise outcome.failure
        return set_aside

    async def _finish(self, mailbox: Mailbox, now: datetime) -> None:
        is_first = mailbox.complete_as_of is None  # no notification could have come before
        missed = (await self._held.read()).missed_so_far  # also by readings that were cut short
        if not is_first:
            MISSED_BY_NOTIFICATIONS.observe(missed)
        interval = self._settings.reconcile_every * (0.9 + secrets.randbelow(200) / 1000)
        await self._held.finish_window(mailbox.window_due, next_window_at=now + interval, missed_so_far=0)
        await self._state.record_and_publish(
            only_from=[MailboxStatus.ENROLLED],
            complete_as_of=now,
            missed_by_notifications=None if is_first else missed,
        )


def _is_due(mailbox: Mailbox, now: datetime) -> bool:
    return bool(mailbox.window_due) or mailbox.next_window_at is None or mailbox.next_window_at <= now
