"""A mailbox's subscriptions: their client states, and what happens when Graph refuses one."""

import time
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.mail_ingest.domain.kinds import KINDS, KindRow
from services.mail_ingest.domain.subscriptions import GraphSubscription
from services.mail_ingest.graph.errors import (
    GraphUnavailableError,
    MailboxBlockedError,
    SubscriptionRefusedError,
)
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.lease import Lease
from services.mail_ingest.sync.subscriptions import SubscriptionManager
from shared.events import ActivityKind, MailboxStatus
from shared.keys import MailboxKey
from tests.mail_ingest.graphs import ANN, NOW

EMAIL, MEETING = ActivityKind.EMAIL, ActivityKind.MEETING


class StubStore:
    """The store's subscriptions; there are none at first."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self._stored: dict[str, GraphSubscription] = {}

    async def find_by_owner(self, _owner: MailboxKey) -> list[GraphSubscription]:
        return list(self._stored.values())

    async def insert(self, subscription: GraphSubscription) -> None:
        self.states.append(subscription.client_state)
        self._stored[subscription.key] = subscription

    async def set_created(self, key: str, graph_id: str, renew_at: datetime, expires: datetime) -> None:
        self._stored[key] = replace(self._stored[key], graph_id=graph_id, renew_at=renew_at, expires=expires)

    async def set_renewed(self, seen: GraphSubscription, renew_at: datetime, expires: datetime) -> None:
        self._stored[seen.key] = replace(seen, renew_at=renew_at, expires=expires)

    async def delete(self, keys: Collection[str]) -> None:
        for key in keys:
            del self._stored[key]


class StubGraph:
    """Graph's subscriptions: each client state, and whether it was stored when Graph got it.

    Attributes:
        refused: the kinds whose subscriptions Graph refuses, with the reason.
        renewal: why Graph does not renew; None: it does.
    """

    def __init__(self, store: StubStore) -> None:
        self.states: dict[str, bool] = {}
        self.refused: dict[ActivityKind, Exception] = {}
        self.renewal: Exception | None = None
        self._store = store

    async def create(
        self, _mailbox: MailboxKey, row: KindRow, client_state: str, expires: datetime
    ) -> tuple[str, datetime]:
        self.states[client_state] = client_state in self._store.states
        if row.kind in self.refused:
            raise self.refused[row.kind]
        return f"graph-{len(self.states)}", expires

    async def delete(self, _mailbox: MailboxKey, _graph_id: str) -> None: ...

    async def renew(self, _mailbox: MailboxKey, _graph_id: str, expires: datetime) -> datetime:
        if self.renewal:
            raise self.renewal
        return expires


class StubHeldMailbox:
    """A mailbox under a lease that has just begun, and its state as it is published."""

    def __init__(self) -> None:
        self.lease = Lease(ANN, "holder", timedelta(minutes=1), time.monotonic())
        self.mailbox = Mailbox(ANN.tenant, ANN.mailbox, MailboxStatus.ENROLLED, NOW)
        self.published: list[str | None] = []
        self.windows_requested = 0

    async def schedule_subscriptions(self, _seen: datetime | None, next_at: datetime) -> None:
        self.mailbox = replace(self.mailbox, subscriptions_due_at=next_at)

    async def set_fields(self, **fields: Any) -> None:
        self.mailbox = replace(self.mailbox, **fields)

    async def record_and_publish(self, *, no_notifications: str | None, **_: Any) -> None:
        self.mailbox = replace(self.mailbox, no_notifications=no_notifications)
        self.published.append(no_notifications)

    async def request_window(self, _: MailboxKey) -> None:
        self.windows_requested += 1


class Subscribed:
    """The subscriptions of a mailbox, with a clock."""

    def __init__(self) -> None:
        self.store = StubStore()
        self.graph = StubGraph(self.store)
        self.held = StubHeldMailbox()
        self.now = NOW
        self._manager = SubscriptionManager(
            cast("Any", SimpleNamespace(subscriptions=self.store, mailbox_work=self.held)),
            cast("Any", SimpleNamespace(subscriptions=self.graph)),
            cast("Any", self.held),
            cast("Any", self.held),
            lambda: self.now,
            KINDS,
        )

    @property
    def mailbox(self) -> Mailbox:
        return self.held.mailbox

    async def reconcile(self) -> timedelta:
        """Does what is due; returns the pause until the subscriptions are due again."""
        await self._manager.reconcile(self.mailbox)
        assert self.mailbox.subscriptions_due_at
        pause = self.mailbox.subscriptions_due_at - self.now
        self.now = self.mailbox.subscriptions_due_at
        return pause

    async def kinds(self) -> list[ActivityKind]:
        """The kinds that Graph notifies of."""
        return [each.kind for each in await self.store.find_by_owner(ANN) if each.is_usable(self.now)]


async def subscribe() -> StubGraph:
    """Creates the first subscriptions of a mailbox."""
    subscribed = Subscribed()
    await subscribed.reconcile()
    return subscribed.graph


async def test_refused_subscription_harms_no_other_and_is_on_the_mailboxs_state() -> None:
    subscribed = Subscribed()
    subscribed.graph.refused = {EMAIL: SubscriptionRefusedError("exchange_401")}

    await subscribed.reconcile()

    assert await subscribed.kinds() == [MEETING]
    assert len(await subscribed.store.find_by_owner(ANN)) == 1, (
        "a refused one would be a candidate for any id"
    )
    assert subscribed.held.published == ["exchange_401"]


async def test_refused_subscription_is_requested_again_at_growing_intervals() -> None:
    subscribed = Subscribed()
    subscribed.graph.refused = dict.fromkeys(KINDS, SubscriptionRefusedError("exchange_403"))

    pauses = [await subscribed.reconcile() for _ in range(12)]

    for shorter, longer in pairwise(pauses[:8]):
        assert longer > 1.5 * shorter
    assert timedelta(hours=1) <= pauses[-1] <= timedelta(hours=1.25)
    assert subscribed.held.published == ["exchange_403"]

    subscribed.graph.refused = {}
    renewal_in = await subscribed.reconcile()
    assert timedelta(hours=12) <= renewal_in <= timedelta(hours=24)
    assert (subscribed.held.published[-1], subscribed.mailbox.subscription_failures) == (None, 0)
    assert subscribed.held.windows_requested == 1, "nobody was notified of changes meanwhile"


@pytest.mark.parametrize(
    "error, reason",
    [
        (SubscriptionRefusedError("access_policy"), "access_policy"),
        (GraphUnavailableError("away"), "unavailable"),
    ],
)
async def test_mailbox_whose_renewal_fails_is_notified_until_its_subscription_ends(
    error: Exception, reason: str
) -> None:
    subscribed = Subscribed()
    await subscribed.reconcile()
    subscribed.graph.renewal = error

    assert await subscribed.reconcile() < timedelta(seconds=20)
    assert (await subscribed.kinds(), subscribed.held.published) == ([EMAIL, MEETING], [])

    subscribed.now += timedelta(days=7)
    subscribed.graph.refused = dict.fromkeys(KINDS, error)
    await subscribed.reconcile()
    assert subscribed.held.published == [reason]


async def test_refusal_of_the_authority_is_about_the_tenant() -> None:
    subscribed = Subscribed()
    refused = MailboxBlockedError("credential_refused", tenant_wide=True)
    subscribed.graph.refused = dict.fromkeys(KINDS, refused)

    with pytest.raises(MailboxBlockedError, match="credential_refused"):
        await subscribed.reconcile()


async def test_client_state_is_stored_before_graph_gets_it() -> None:
    assert list((await subscribe()).states.values()) == [True, True]


async def test_each_subscription_has_a_random_client_state() -> None:
    states = [*(await subscribe()).states, *(await subscribe()).states]
    assert len(set(states)) == 4
    assert min(map(len, states)) >= 32
