"""Keeps a mailbox subscribed: creates, renews and replaces its Graph subscriptions."""

import logging
import secrets
from datetime import datetime, timedelta
from uuid import uuid4

from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.domain.subscriptions import (
    GraphSubscription,
    SubscriptionPlan,
    plan_subscriptions,
    renewal_time,
    requested_expiry,
)
from services.mail_ingest.graph.errors import (
    GraphUnavailableError,
    ItemNotFoundError,
    MailboxBlockedError,
)
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock
from shared.events import ActivityKind

log = logging.getLogger(__name__)

CLIENT_STATE_BYTES = 48
"""Random bytes of a subscription's secret; Graph accepts up to 128 characters."""
RETRY_PAUSE = timedelta(seconds=15)
"""Wait after Graph refused or lacked a subscription; capture goes on meanwhile."""


class SubscriptionManager:
    """The subscriptions of one mailbox, for the holder of its lease."""

    def __init__(self, store: Store, graph: Graph, held: HeldMailbox, clock: Clock, kinds: KindTable) -> None:
        self._store = store
        self._graph = graph
        self._held = held
        self._clock = clock
        self._kinds = kinds

    async def reconcile(self, mailbox: Mailbox) -> None:
        """Does what is due, and stores when the subscriptions need work again.

        A failure of Graph is retried later.

        Raises:
            MailboxBlockedError: Graph refuses the mailbox.
        """
        now = self._clock()
        existing = await self._store.subscriptions.find_by_owner(mailbox.key)
        retry_at: datetime | None = None
        try:
            created = await self._carry_out(plan_subscriptions(existing, now, self._kinds), mailbox, now)
            if created and existing:
                # Nobody was notified of changes between the old subscription and the new one.
                await self._store.mailboxes.request_window(mailbox.key)
        except GraphUnavailableError as error:
            wait = error.retry_after or RETRY_PAUSE
            log.warning(
                "subscription failed, retrying",
                extra={
                    "tenant": mailbox.tenant,
                    "mailbox": mailbox.mailbox,
                    "error": str(error),
                    "retry_in": wait.total_seconds(),
                },
            )
            retry_at = now + wait
        current = await self._store.subscriptions.find_by_owner(mailbox.key)
        renewals = [each.renew_at for each in current if each.renew_at]
        await self._held.schedule_subscriptions(
            mailbox.subscriptions_due_at, retry_at or min(renewals, default=now + RETRY_PAUSE)
        )

    async def delete_all(self, mailbox: Mailbox) -> None:
        """Deletes all subscriptions; those that Graph does not delete expire by themselves."""
        for subscription in await self._store.subscriptions.find_by_owner(mailbox.key):
            try:
                if subscription.graph_id:
                    await self._graph.subscriptions.delete(mailbox.key, subscription.graph_id)
            except (GraphUnavailableError, MailboxBlockedError) as error:
                log.info(
                    "subscription not deleted, it will expire",
                    extra={"tenant": mailbox.tenant, "mailbox": mailbox.mailbox, "error": str(error)},
                )
            await self._store.subscriptions.delete([subscription.key])

    async def _carry_out(self, plan: SubscriptionPlan, mailbox: Mailbox, now: datetime) -> bool:
        """Does the work of a plan.

        Returns:
            Whether a subscription was created.
        """
        for subscription in plan.delete:
            if subscription.graph_id and not subscription.removed:
                await self._graph.subscriptions.delete(mailbox.key, subscription.graph_id)
            await self._store.subscriptions.delete([subscription.key])
        lost = [each.kind for each in plan.renew if not await self._renew(mailbox, each, now)]
        for kind in (*plan.create, *lost):
            await self._create(mailbox, kind, now)
        return bool(plan.create or lost)

    async def _create(self, mailbox: Mailbox, kind: ActivityKind, now: datetime) -> None:
        subscription = GraphSubscription(
            str(uuid4()), mailbox.key, kind, secrets.token_urlsafe(CLIENT_STATE_BYTES)
        )
        self._held.lease.check()
        # Stored before the request: Graph may notify before it answers.
        await self._store.subscriptions.insert(subscription)
        graph_id, expires = await self._graph.subscriptions.create(
            mailbox.key, self._kinds[kind], subscription.client_state, requested_expiry(now)
        )
        await self._store.subscriptions.set_created(
            subscription.key, graph_id, renewal_time(now, expires), expires
        )

    async def _renew(self, mailbox: Mailbox, subscription: GraphSubscription, now: datetime) -> bool:
        """Renews a subscription, which also re-authorises it.

        Returns:
            False when Graph no longer has it.
        """
        try:
            expires = await self._graph.subscriptions.renew(
                mailbox.key, subscription.graph_id or "", requested_expiry(now)
            )
        except ItemNotFoundError:
            await self._store.subscriptions.delete([subscription.key])
            return False
        await self._store.subscriptions.set_renewed(subscription, renewal_time(now, expires), expires)
        return True
