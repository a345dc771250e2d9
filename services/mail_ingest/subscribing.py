"""Keeps a mailbox subscribed: makes, renews and replaces its subscriptions."""

import logging
import secrets
from datetime import datetime, timedelta
from uuid import uuid4

from shared.clock import Clock
from shared.events import Kind

from .documents import Mailbox
from .domain.subscriptions import Plan, Subscription, expiration, plan, renewal
from .errors import Blocked, Gone, Unavailable
from .graph import Graph
from .saying import Lease
from .store import Store

log = logging.getLogger(__name__)

CLIENT_STATE_BYTES = 48
"""Random ones; Graph takes up to 128 characters."""
AGAIN = timedelta(seconds=15)
"""After Graph refused or missed a subscription; capture goes on meanwhile."""


class Subscribing:
    """What the holder of a mailbox's lease does about its subscriptions."""

    def __init__(self, store: Store, graph: Graph, clock: Clock, lease: Lease) -> None:
        self._store, self._graph, self._clock, self._lease = store, graph, clock, lease

    async def see_to(self, mailbox: Mailbox) -> None:
        """Does what is due, and notes when something is due again.

        Raises Blocked where the mailbox is; where Graph merely cannot now, it is tried again later.
        """
        now = self._clock()
        existing = await self._store.subscriptions(mailbox.key)
        again: datetime | None = None
        try:
            if await self._carry_out(plan(existing, now), mailbox, now) and existing:
                await self._store.hint({}, [mailbox.key])  # what came in between was told to nobody
        except Unavailable as away:
            log.warning("a subscription must wait", extra={"why": str(away)})
            again = now + (away.retry_after or AGAIN)
        renewals = [each.renew_at for each in await self._store.subscriptions(mailbox.key) if each.renew_at]
        await self._store.subscriptions_seen_to(
            mailbox.key,
            self._lease.holder,
            mailbox.subscriptions_at,
            again or min(renewals, default=now + AGAIN),
        )

    async def end(self, mailbox: Mailbox) -> None:
        """Ends all; where Graph does not answer they end by themselves."""
        for subscription in await self._store.subscriptions(mailbox.key):
            try:
                if subscription.graph_id:
                    await self._graph.unsubscribe(mailbox.tenant, mailbox.mailbox, subscription.graph_id)
            except (Unavailable, Blocked) as refused:
                log.info("a subscription is left to expire", extra={"why": str(refused)})
            await self._store.drop_subscriptions([subscription.key])

    async def _carry_out(self, todo: Plan, mailbox: Mailbox, now: datetime) -> bool:
        """Says whether one was made anew."""
        for subscription in todo.forget:
            if subscription.graph_id and not subscription.removed:
                await self._graph.unsubscribe(mailbox.tenant, mailbox.mailbox, subscription.graph_id)
            await self._store.drop_subscriptions([subscription.key])
        lost = [
            subscription.kind
            for subscription in todo.renew
            if not await self._renew(mailbox, subscription, now)
        ]
        for kind in (*todo.create, *lost):
            await self._create(mailbox, kind, now)
        return bool(todo.create or lost)

    async def _create(self, mailbox: Mailbox, kind: Kind, now: datetime) -> None:
        subscription = Subscription(
            str(uuid4()), mailbox.key, kind, secrets.token_urlsafe(CLIENT_STATE_BYTES)
        )
        self._lease.check()
        # Kept before it is asked for: Graph may notify before it answers.
        await self._store.add_subscription(subscription)
        graph_id, expires = await self._graph.subscribe(
            mailbox.tenant, mailbox.mailbox, kind, subscription.client_state, expiration(now)
        )
        await self._store.named(subscription.key, graph_id, renewal(now, expires), expires)

    async def _renew(self, mailbox: Mailbox, subscription: Subscription, now: datetime) -> bool:
        """Renews one, which re-authorises it, too; says whether Graph still has it."""
        try:
            expires = await self._graph.renew(
                mailbox.tenant, mailbox.mailbox, subscription.graph_id or "", expiration(now)
            )
        except Gone:
            await self._store.drop_subscriptions([subscription.key])
            return False
        await self._store.renewed(subscription, renewal(now, expires), expires)
        return True
