"""Keeps a mailbox subscribed: creates, renews and replaces its Graph subscriptions.

A mailbox to which Graph refuses a subscription is captured by its windows alone, which takes longer: its
state has the reason, and the subscription is requested again at growing intervals.
"""

import logging
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.domain.retries import (
    FIRST_SUBSCRIPTION_PAUSE,
    BlockReason,
    next_subscription_attempt,
)
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
    SubscriptionRefusedError,
)
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.metrics import SUBSCRIPTIONS_REFUSED
from services.mail_ingest.publishing.mailbox_state import MailboxStatePublisher
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock
from shared.events import ActivityKind, MailboxStatus

log = logging.getLogger(__name__)

CLIENT_STATE_BYTES = 48
"""Random bytes of a subscription's secret; Graph accepts up to 128 characters."""


@dataclass(slots=True)
class _Outcome:
    """What the work of a plan led to.

    Attributes:
        created: the count of new subscriptions.
        reasons: why parts of the work failed.
        retry_after: Graph's longest `Retry-After` among these.
    """

    created: int = 0
    reasons: list[str] = field(default_factory=list)
    retry_after: timedelta | None = None


class SubscriptionManager:
    """The subscriptions of one mailbox, for the holder of its lease."""

    def __init__(
        self,
        store: Store,
        graph: Graph,
        held: HeldMailbox,
        state: MailboxStatePublisher,
        clock: Clock,
        kinds: KindTable,
    ) -> None:
        self._store = store
        self._graph = graph
        self._held = held
        self._state = state
        self._clock = clock
        self._kinds = kinds

    async def reconcile(self, mailbox: Mailbox) -> None:
        """Does what is due, and stores when the subscriptions need work again.

        A refusal, or a failure of Graph, is stored and retried later.

        Raises:
            MailboxBlockedError: the authority refuses the tenant.
        """
        now = self._clock()
        existing = await self._store.subscriptions.find_by_owner(mailbox.key)
        outcome = await self._carry_out(plan_subscriptions(existing, now, self._kinds), mailbox, now)
        if outcome.created and (existing or mailbox.subscription_failures):
            # Nobody was notified of changes between the old subscription and the new one.
            await self._store.mailbox_work.request_window(mailbox.key)
        current = await self._store.subscriptions.find_by_owner(mailbox.key)
        failures = mailbox.subscription_failures + 1 if outcome.reasons else 0
        renewals = [each.renew_at for each in current if each.renew_at]
        next_at = min(renewals, default=now + FIRST_SUBSCRIPTION_PAUSE)
        if failures:
            next_at = next_subscription_attempt(failures, now, outcome.retry_after, random.random())
        if failures != mailbox.subscription_failures:
            await self._held.set_fields(subscription_failures=failures)
        await self._held.schedule_subscriptions(mailbox.subscriptions_due_at, next_at)
        lacks_one = bool(plan_subscriptions(current, now, self._kinds).create)
        await self._publish_reason(mailbox, outcome.reasons[0] if lacks_one and outcome.reasons else None)

    async def _publish_reason(self, mailbox: Mailbox, reason: str | None) -> None:
        """Records and publishes why Graph sends no notifications, when that is new; None: it sends them."""
        if reason == BlockReason.UNAVAILABLE:
            reason = mailbox.no_notifications or BlockReason.UNAVAILABLE
        if reason != mailbox.no_notifications:
            await self._state.record_and_publish(only_from=[MailboxStatus.ENROLLED], no_notifications=reason)

    async def delete_all(self, mailbox: Mailbox) -> None:
        """Deletes all subscriptions; those that Graph does not delete expire by themselves."""
        for subscription in await self._store.subscriptions.find_by_owner(mailbox.key):
            try:
                if subscription.graph_id:
                    await self._graph.subscriptions.delete(mailbox.key, subscription.graph_id)
            except (GraphUnavailableError, MailboxBlockedError, SubscriptionRefusedError) as error:
                log.info(
                    "subscription not deleted, it will expire",
                    extra={"tenant": mailbox.tenant, "mailbox": mailbox.mailbox, "error": str(error)},
                )
            await self._store.subscriptions.delete([subscription.key])

    async def _carry_out(self, plan: SubscriptionPlan, mailbox: Mailbox, now: datetime) -> _Outcome:
        """Does the work of a plan; a failure of one subscription harms no other."""
        outcome = _Outcome()
        for subscription in plan.delete:
            async with self._failures(mailbox, outcome):
                if subscription.graph_id and not subscription.removed:
                    await self._graph.subscriptions.delete(mailbox.key, subscription.graph_id)
            # One that Graph does not delete is unusable for us, and expires by itself.
            await self._store.subscriptions.delete([subscription.key])
        to_create = list(plan.create)
        for subscription in plan.renew:
            async with self._failures(mailbox, outcome):
                if not await self._renew(mailbox, subscription, now):
                    to_create.append(subscription.kind)
        for kind in to_create:
            async with self._failures(mailbox, outcome):
                await self._create(mailbox, kind, now)
                outcome.created += 1
        return outcome

    @asynccontextmanager
    async def _failures(self, mailbox: Mailbox, outcome: _Outcome) -> AsyncIterator[None]:
        """Adds a failure of Graph in the block to the outcome."""
        try:
            yield
        except SubscriptionRefusedError as error:
            SUBSCRIPTIONS_REFUSED.labels(error.reason).inc()
            outcome.reasons.insert(0, error.reason)
            log.warning(
                "subscription refused, retrying later",
                extra={"tenant": mailbox.tenant, "mailbox": mailbox.mailbox, "reason": error.reason},
            )
        except GraphUnavailableError as error:
            outcome.reasons.append(BlockReason.UNAVAILABLE)
            outcome.retry_after = max(error.retry_after or timedelta(), outcome.retry_after or timedelta())
            log.warning(
                "subscription failed, retrying later",
                extra={"tenant": mailbox.tenant, "mailbox": mailbox.mailbox, "error": str(error)},
            )

    async def _create(self, mailbox: Mailbox, kind: ActivityKind, now: datetime) -> None:
        subscription = GraphSubscription(
            str(uuid4()), mailbox.key, kind, secrets.token_urlsafe(CLIENT_STATE_BYTES)
        )
        self._held.lease.check()
        # Stored before the request: Graph may notify before it answers.
        await self._store.subscriptions.insert(subscription)
        try:
            graph_id, expires = await self._graph.subscriptions.create(
                mailbox.key, self._kinds[kind], subscription.client_state, requested_expiry(now)
            )
        except SubscriptionRefusedError:
            await self._store.subscriptions.delete([subscription.key])
            raise
        await self._store.subscriptions.set_created(
            subscription.key, graph_id, renewal_time(now, expires, random.random()), expires
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
        await self._store.subscriptions.set_renewed(
            subscription, renewal_time(now, expires, random.random()), expires
        )
        return True
