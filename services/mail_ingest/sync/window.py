"""Reconciles the captured items of a mailbox with a complete reading of its window."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.mail_ingest.domain.activities import CAPTURE_WINDOW, NotCapturedReason, Payload
from services.mail_ingest.domain.items import Absence, CapturedItem, ObservedItem, absent
from services.mail_ingest.domain.kinds import KindTable, folder_kinds
from services.mail_ingest.domain.pacing import pause_after
from services.mail_ingest.domain.refused_kinds import refused_kinds, waiting_kinds
from services.mail_ingest.domain.retries import next_window_attempt
from services.mail_ingest.domain.window import compare_window
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.graph.items import PAGE_SIZE
from services.mail_ingest.metrics import MISSED_BY_NOTIFICATIONS, WINDOWS_FAILED
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.publishing.mailbox_state import MailboxStatePublisher
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock
from shared.events import ActivityKind

from .followed_items import FollowedItems
from .item_fetching import ItemFetching
from .item_reader import FETCH_BATCH_SIZE, GraphFailure, ItemReader
from .profile import MailboxProfile
from .stuck_items import StuckItems

READINGS_AHEAD = 2
"""A view reaches so many readings further, so that what enters by the clock is known before, also when one
reading fails."""

REFUSALS_OF_KIND = {401, 403, 404}
"""Statuses by which Graph refuses access. After any other one the whole reading is repeated."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reading:
    """A reading of the window in progress: a page at a time, for a mailbox may hold very many messages.

    Attributes:
        mailbox: with the folder tree as it was read last.
        live: the items that were live before, by id.
        to_follow: followed items.
        shown: kinds and ids of all items that the window has shown.
        followed: the payloads of the followed ones among them.
    """

    mailbox: Mailbox
    live: Mapping[str, CapturedItem]
    to_follow: AbstractSet[tuple[ActivityKind, str]]
    shown: set[tuple[ActivityKind, str]] = field(default_factory=set)
    followed: dict[tuple[ActivityKind, str], Payload] = field(default_factory=dict)


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

        A stuck item counts neither as shown nor as gone; it does not hold the reading up. A reading that is
        cut short is repeated after a pause, and its missed items are counted then; the mailbox's other work
        goes on meanwhile.

        Raises:
            GraphUnavailableError, MailboxBlockedError: Graph does not answer for the mailbox.
        """
        now = self._clock()
        if not _is_due(mailbox, now, reconcile=self._settings.reconcile):
            return
        try:
            await self._reconcile(mailbox, now)
        except (GraphUnavailableError, MailboxBlockedError) as error:
            of_mailbox = await self._graph.find_mailbox_failure(mailbox.key, [error])
            if of_mailbox is not None:
                raise of_mailbox from error
            await self._record_failure(mailbox, error)

    async def _reconcile(self, mailbox: Mailbox, now: datetime) -> None:
        mailbox = await self._profile.refresh_addresses(mailbox)
        live = {each.item: each for each in await self._store.items.find_live(mailbox.key)}
        to_follow = {(each.kind, each.item) for each in await self._followed.find_all(mailbox)}
        reading = _Reading(mailbox, live, to_follow)
        refused = await self._read_window(reading, now)
        mailbox = reading.mailbox
        read = self._kinds.keys() - refused
        shown_ids = frozenset(item for _, item in reading.shown)
        await self._stuck.resolve(mailbox, shown_ids)
        stuck = await self._stuck.find_ids(mailbox)
        expected = [each for each in live.values() if each.item not in stuck and each.kind in read]
        comparison = compare_window(expected, shown_ids, now, self._kinds)
        set_aside = await self._fetch_hidden(mailbox, comparison.to_fetch)
        gone = [absent(each, Absence.NOT_SHOWN) for each in comparison.gone]
        await self._activities.record_and_publish_all(mailbox, gone, self._find_notified)
        missing = {item: count for item, count in comparison.missing.items() if item not in set_aside}
        await self._store.items.set_missing_counts(
            mailbox.key, {**missing, **dict.fromkeys(comparison.shown_again, 0)}
        )
        await self._followed.answer_window(mailbox, reading.followed, reading.shown, stuck | set_aside)
        await self._record_refused_kinds(mailbox, refused, read)
        await self._finish(mailbox, now)

    async def _find_notified(self) -> AbstractSet[str]:
        """The items that notifications have named and that wait."""
        return {each.item for each in (await self._held.read()).notified_items}

    async def _read_window(self, reading: "_Reading", now: datetime) -> dict[ActivityKind, str | None]:
        """Reads and records the window of each kind that Graph permits, and what enters it soon.

        Returns:
            The kinds that were not read, with the reason, or None where their next attempt is later.
        """
        key = reading.mailbox.key
        end = now + CAPTURE_WINDOW + READINGS_AHEAD * self._settings.reconcile_every
        waiting = waiting_kinds(reading.mailbox.refused_kinds, now)
        refused: dict[ActivityKind, str | None] = dict.fromkeys(waiting)
        for kind, row in self._kinds.items():
            if kind in refused:
                continue
            try:
                if kind in folder_kinds(self._kinds):
                    reading.mailbox = await self._profile.refresh_folders(reading.mailbox)
                began = time.monotonic()
                async for page in self._graph.items.read_window(key, row, now - CAPTURE_WINDOW, end):
                    await self._record_page(reading, kind, page, now)
                    if len(page) == PAGE_SIZE:
                        await asyncio.sleep(pause_after(time.monotonic() - began))
                    began = time.monotonic()
            except MailboxBlockedError as error:
                refused[kind] = await self._reason_of_kind(reading.mailbox, error)
        return refused

    async def _record_page(
        self, reading: "_Reading", kind: ActivityKind, page: Sequence[Payload], now: datetime
    ) -> None:
        """Records and publishes what changed of these items."""
        mailbox, payloads = reading.mailbox, {(kind, str(payload["id"])): payload for payload in page}
        is_tree_new = mailbox.folders_read_at is not None and mailbox.folders_read_at >= now
        observed = await self._reader.observe(mailbox, payloads, is_tree_new=is_tree_new)
        reading.mailbox = self._profile.with_latest_folders(mailbox)
        if is_tree_new:
            observed = [each for each in observed if not _is_unsure(each, reading.live)]
            payloads = {(each.kind, each.item): payloads[each.kind, each.item] for each in observed}
        items = {item for _, item in payloads}
        # What an earlier page has shown may have changed with it.
        unchanged = {item for _, item in payloads.keys() - reading.shown}
        stored = {item: reading.live[item] for item in unchanged & reading.live.keys()}
        if others := items - stored.keys():
            stored |= await self._store.items.find(mailbox.key, others)
        await self._activities.record_and_publish_all(mailbox, observed, self._find_notified, stored)
        reading.shown |= payloads.keys()
        reading.followed |= {key: payloads[key] for key in reading.to_follow & payloads.keys()}

    async def _reason_of_kind(self, mailbox: Mailbox, error: MailboxBlockedError) -> str:
        """Why Graph refuses a kind; raises the failure of the mailbox, if it is the mailbox's."""
        if not self._settings.reconcile or error.status not in REFUSALS_OF_KIND:
            raise error
        failure = await self._graph.find_mailbox_failure(mailbox.key, [error])
        if failure is not None:
            raise failure from error
        return error.reason

    async def _record_refused_kinds(
        self, mailbox: Mailbox, refused: Mapping[ActivityKind, str | None], read: AbstractSet[ActivityKind]
    ) -> None:
        """Records which kinds this reading was refused; `_finish` publishes it."""
        reasons = {kind: reason for kind, reason in refused.items() if reason is not None}
        first = self._settings.retry_blocked
        kinds = refused_kinds(mailbox.refused_kinds, reasons, read, self._clock(), first)
        if kinds != mailbox.refused_kinds:
            await self._held.set_fields(refused_kinds=kinds)
        for kind, reason in reasons.items():
            log.warning(
                "kind of items refused, retrying later",
                extra={
                    "tenant": mailbox.tenant,
                    "mailbox": mailbox.mailbox,
                    "kind": kind,
                    "reason": reason,
                },
            )

    async def _fetch_hidden(self, mailbox: Mailbox, hidden: tuple[CapturedItem, ...]) -> AbstractSet[str]:
        """Fetches the captured items that the window no longer shows, by their ids.

        Returns:
            Those that Graph does not return; nothing is known of them.
        """
        set_aside: set[str] = set()
        for start in range(0, len(hidden), FETCH_BATCH_SIZE):
            batch = [(each.kind, each.item) for each in hidden[start : start + FETCH_BATCH_SIZE]]
            waiting = len(hidden) - start - len(batch)
            outcome = await self._fetching.fetch_and_publish(
                mailbox, batch, self._find_notified, waiting=waiting
            )
            set_aside |= outcome.set_aside
            if outcome.failure:
                raise outcome.failure
        return set_aside

    async def _finish(self, mailbox: Mailbox, now: datetime) -> None:
        interval = self._settings.reconcile_every * (0.9 + secrets.randbelow(200) / 1000)
        self._held.lease.check()
        finished = await self._held.finish_window(mailbox, now, now + interval)
        if finished is None:
            return
        if finished.missed_by_notifications is not None:
            MISSED_BY_NOTIFICATIONS.observe(finished.missed_by_notifications)
        await self._state.publish(finished)

    async def _record_failure(self, mailbox: Mailbox, error: GraphFailure) -> None:
        """Records when the window is read again; its completeness ages until then."""
        failures = mailbox.window_failures + 1
        retry_after = error.retry_after if isinstance(error, GraphUnavailableError) else None
        interval, jitter = self._settings.reconcile_every, random.random()
        retry_at = next_window_attempt(failures, self._clock(), retry_after, jitter, interval)
        await self._held.set_fields(window_failures=failures, window_retry_at=retry_at)
        WINDOWS_FAILED.inc()
        log.warning(
            "window not read completely, retrying later",
            extra={
                "tenant": mailbox.tenant,
                "mailbox": mailbox.mailbox,
                "error": str(error),
                "failures": failures,
            },
        )


def _is_unsure(observed: ObservedItem, live: Mapping[str, CapturedItem]) -> bool:
    """True of a live item in a folder that this reading's tree lacks: the folder may be newer than the tree.

    The item counts as not shown, and is fetched by its id when the tree is read again.
    """
    is_folder_unknown = observed.reason == NotCapturedReason.UNKNOWN_FOLDER
    return is_folder_unknown and observed.item in live


def _is_due(mailbox: Mailbox, now: datetime, *, reconcile: bool) -> bool:
    if mailbox.window_retry_at is not None and mailbox.window_retry_at > now:
        return False
    if mailbox.items_dropped_at or (reconcile and mailbox.series_changed_at):
        last = mailbox.complete_as_of
        if last is None or last + timedelta(seconds=mailbox.window_spacing) <= now:
            return True
    if not reconcile:
        return False
    return bool(mailbox.window_due) or mailbox.next_window_at is None or mailbox.next_window_at <= now
