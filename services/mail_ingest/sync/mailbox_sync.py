"""One sync of a mailbox: all jobs of its holder, in passes, while the lease is held."""

from dataclasses import dataclass
from datetime import datetime

from services.mail_ingest.content.item_texts import ItemTexts
from services.mail_ingest.content.responder import ContentResponder
from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.publishing.mailbox_state import MailboxStatePublisher
from services.mail_ingest.publishing.outbox import OutboxPublisher
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.lease import Lease
from services.mail_ingest.store.pipelines import ACTIVE_STATUSES
from shared.clock import Clock
from shared.events import MailboxStatus

from .blocking import MailboxBlocking
from .content_requests import ContentRequests
from .followed_items import FollowedItems
from .item_fetching import ItemFetching
from .item_reader import GraphFailure, ItemReader
from .mass_loss import MassLoss
from .notified_items import NotifiedItems
from .pending_items import PendingItems
from .profile import MailboxProfile
from .stuck_items import StuckItems
from .stuck_retries import StuckRetries
from .subscriptions import SubscriptionManager
from .tenant_blocking import TenantBlocking
from .window import WindowReconciliation
from .withdrawal import Withdrawal

MAX_PASSES = 5
"""A mailbox with more work waits for its next sync, so that other mailboxes get one before."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the sync of every mailbox uses."""

    store: Store
    graph: Graph
    outbox: OutboxPublisher
    clock: Clock
    settings: IngestSettings
    kinds: KindTable


class MailboxSync:
    """The sync of one mailbox.

    Raises, from every method:
        LeaseLostError: another worker may hold the mailbox.
        GraphUnavailableError, MailboxBlockedError: Graph does not answer; what was done is kept.
        RetryableError: Kafka or MongoDB is unavailable.
    """

    def __init__(self, dependencies: Dependencies, lease: Lease) -> None:
        store, graph, outbox = dependencies.store, dependencies.graph, dependencies.outbox
        clock, settings, kinds = dependencies.clock, dependencies.settings, dependencies.kinds
        held = store.mailboxes.held(lease)
        profile = MailboxProfile(graph, held)
        reader = ItemReader(graph, profile, clock, kinds)
        activities = ActivityPublisher(store, held, outbox, clock, kinds)
        stuck = StuckItems(store, held, clock)
        mass_loss = MassLoss(store, stuck, clock)
        followed = FollowedItems(store, graph, held, reader, outbox, clock, kinds)
        fetching = ItemFetching(store, reader, activities, stuck, mass_loss, followed, kinds)
        responder = ContentResponder(ItemTexts(store.request_slots, graph), outbox, clock, kinds)
        self._store = store
        self._clock = clock
        self._settings = settings
        self._held = held
        self._stuck = stuck
        self._profile = profile
        self._state = MailboxStatePublisher(store, held, outbox, clock)
        self._tenant = TenantBlocking(store, held, profile, self._state, clock, settings)
        self._blocking = MailboxBlocking(held, profile, self._state, self._tenant, clock, settings)
        self._content_requests = ContentRequests(held, responder, reader, activities, followed)
        self._subscriptions = SubscriptionManager(store, graph, held, self._state, clock, kinds)
        self._withdrawal = Withdrawal(store, held, activities, self._subscriptions, clock)
        self._pending_items = PendingItems(store, activities, fetching, stuck)
        self._notified_items = NotifiedItems(held, fetching)
        self._stuck_retries = StuckRetries(store, held, fetching, clock)
        self._window = WindowReconciliation(
            store,
            graph,
            held,
            profile,
            reader,
            activities,
            fetching,
            stuck,
            followed,
            self._state,
            clock,
            settings,
            kinds,
        )

    async def run(self) -> None:
        """Runs passes, until nothing is left or the maximum is reached."""
        for _ in range(MAX_PASSES):
            if not await self._run_pass(await self._held.read()):
                return

    async def next_due_at(self) -> datetime | None:
        """When the mailbox has work again, as far as that is known now."""
        mailbox = await self._held.read()
        if mailbox.status is MailboxStatus.BLOCKED and mailbox.retry_at:
            return mailbox.retry_at
        times = [await self._store.items.next_expiry(mailbox.key)]
        if mailbox.status in ACTIVE_STATUSES:
            times += [
                mailbox.subscriptions_due_at,
                mailbox.next_window_at if self._settings.reconcile else None,
            ]
        if mailbox.status is not MailboxStatus.PAUSED:
            stuck = await self._stuck.find_ids(mailbox)
            if await self._store.items.find_pending(mailbox.key, 1, stuck):
                times.append(self._clock())
        soonest = min((time for time in times if time), default=None)
        return max(soonest, mailbox.retry_at) if soonest and mailbox.retry_at else soonest

    async def record_failure(self, error: GraphFailure) -> None:
        """Records a failure of Graph that ended the sync."""
        await self._blocking.record_failure(error)

    async def _run_pass(self, mailbox: Mailbox) -> bool:
        """Does one step of each job.

        Returns:
            Whether there may be more work at once.
        """
        if mailbox.publish_pending:
            await self._state.publish(mailbox)
        if mailbox.content_requests:
            await self._content_requests.answer(mailbox)
        if mailbox.status is MailboxStatus.REMOVED:
            return await self._withdrawal.withdraw_removed(mailbox)
        more = await self._withdrawal.withdraw_expired(mailbox)
        if mailbox.status is MailboxStatus.PAUSED:
            return more
        is_blocked = mailbox.status is MailboxStatus.BLOCKED
        if is_blocked and mailbox.retry_at and mailbox.retry_at > self._clock():
            return more
        if not await self._tenant.permits_requests(mailbox):
            return more
        if is_blocked:
            await self._blocking.unblock(mailbox)
            return True
        mailbox = await self._profile.complete(mailbox)
        if mailbox.subscriptions_due_at is None or mailbox.subscriptions_due_at <= self._clock():
            await self._subscriptions.reconcile(mailbox)
            mailbox = await self._held.read()
        more |= await self._pending_items.publish(mailbox)
        more |= await self._notified_items.process(mailbox)
        more |= await self._stuck_retries.retry(mailbox)
        await self._window.reconcile_if_due(mailbox)
        if mailbox.failures:
            await self._held.set_fields(failures=0)
        return more
