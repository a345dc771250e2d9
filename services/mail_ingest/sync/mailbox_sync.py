"""One sync of a mailbox: the work of one class, in passes, while the lease is held."""

from dataclasses import dataclass

from services.mail_ingest.content.item_texts import ItemTexts
from services.mail_ingest.content.responder import ContentResponder
from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.publishing.mailbox_state import MailboxStatePublisher
from services.mail_ingest.publishing.outbox import OutboxPublisher
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox, Work
from services.mail_ingest.store.lease import Lease
from shared.clock import Clock
from shared.events import MailboxStatus

from .blocking import MailboxBlocking
from .content_requests import ContentRequests
from .entering_items import EnteringItems
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
        held = store.mailbox_leases.held(lease)
        profile = MailboxProfile(graph, held, clock, settings, kinds)
        reader = ItemReader(graph, profile, clock, kinds)
        activities = ActivityPublisher(store, held, outbox, clock, kinds)
        stuck = StuckItems(store, held, clock)
        mass_loss = MassLoss(store, stuck, clock)
        followed = FollowedItems(store, graph, held, reader, outbox, clock, kinds)
        fetching = ItemFetching(store, reader, activities, stuck, mass_loss, followed, kinds)
        responder = ContentResponder(ItemTexts(store.request_slots, graph), outbox, clock, kinds)
        self._clock = clock
        self._held = held
        self._profile = profile
        self._state = MailboxStatePublisher(store, held, outbox, clock)
        self._tenant = TenantBlocking(store, held, graph, self._state, clock, settings)
        self._blocking = MailboxBlocking(held, graph, self._state, self._tenant, clock, settings)
        self._content_requests = ContentRequests(held, responder, reader, activities, followed, mass_loss)
        self._subscriptions = SubscriptionManager(store, graph, held, self._state, clock, kinds)
        self._withdrawal = Withdrawal(store, held, activities, self._subscriptions, clock)
        self._pending_items = PendingItems(store, held, activities, fetching, stuck)
        self._notified_items = NotifiedItems(held, fetching, clock, settings)
        self._entering_items = EnteringItems(store, held, fetching, clock)
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

    async def run(self, mailbox: Mailbox, work: Work) -> None:
        """Runs passes, until no work of the class is left or the maximum is reached.

        Args:
            mailbox: as it was when the lease was granted.
            work: the class.
        """
        run_pass = self._run_fresh_pass if work is Work.FRESH else self._run_routine_pass
        for _ in range(MAX_PASSES):
            if not await run_pass(mailbox):
                return
            mailbox = await self._held.read()

    async def record_failure(self, error: GraphFailure) -> None:
        """Records a failure of Graph that ended the sync."""
        await self._blocking.record_failure(error)

    async def _run_fresh_pass(self, mailbox: Mailbox) -> bool:
        """Does one step of what somebody waits for, and nothing else.

        Returns:
            Whether there may be more at once.
        """
        now = self._clock()
        await self._answer_content_requests(mailbox)
        is_sought = mailbox.sought_items_due_at is not None and mailbox.sought_items_due_at <= now
        if mailbox.status is not MailboxStatus.ENROLLED or not (mailbox.notified_items or is_sought):
            return False
        if mailbox.retry_at and mailbox.retry_at > now:
            return False
        if not await self._tenant.permits_requests(mailbox):
            return False
        mailbox = await self._profile.complete(mailbox)
        more = await self._notified_items.process(mailbox)
        more |= await self._stuck_retries.seek(mailbox)
        await self._forget_failures(mailbox)
        return more

    async def _run_routine_pass(self, mailbox: Mailbox) -> bool:
        """Does one step of each job.

        Returns:
            Whether there may be more at once.
        """
        if mailbox.publish_pending:
            await self._state.publish(mailbox)
        await self._answer_content_requests(mailbox)
        if mailbox.status is MailboxStatus.REMOVED:
            return await self._withdrawal.withdraw_removed(mailbox)
        more = await self._withdrawal.withdraw_expired(mailbox)
        if mailbox.status is MailboxStatus.PAUSED:
            return more
        if mailbox.retry_at and mailbox.retry_at > self._clock():
            return more
        if not await self._tenant.permits_requests(mailbox):
            return more
        if mailbox.status is MailboxStatus.BLOCKED:
            await self._blocking.unblock(mailbox)
            return True
        return await self._capture(mailbox) or more

    async def _capture(self, mailbox: Mailbox) -> bool:
        """Does one step of each job that needs Graph's answers; what is notified comes first."""
        mailbox = await self._profile.complete(mailbox)
        more = await self._notified_items.process(mailbox)
        more |= await self._stuck_retries.seek(mailbox)
        if mailbox.subscriptions_due_at is None or mailbox.subscriptions_due_at <= self._clock():
            await self._subscriptions.reconcile(mailbox)
            mailbox = await self._held.read()
        more |= await self._pending_items.publish(mailbox)
        more |= await self._entering_items.publish(mailbox)
        more |= await self._stuck_retries.retry(mailbox)
        await self._window.reconcile_if_due(mailbox)
        await self._forget_failures(mailbox)
        return more

    async def _answer_content_requests(self, mailbox: Mailbox) -> None:
        needs_graph = mailbox.status is MailboxStatus.ENROLLED
        if needs_graph and mailbox.content_retry_at and mailbox.content_retry_at > self._clock():
            return
        if not mailbox.content_requests:
            return
        if await self._content_requests.answer(mailbox) and mailbox.retry_at:
            # Each failed attempt has made the back-off of the mailbox's other work longer, up to minutes.
            await self._held.set_fields(retry_at=None)

    async def _forget_failures(self, mailbox: Mailbox) -> None:
        if mailbox.failures or mailbox.outages:
            await self._held.set_fields(failures=0, outages=0)
