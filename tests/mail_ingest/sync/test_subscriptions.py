"""The client state of a subscription: random, and stored before Graph gets it."""

import time
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from services.mail_ingest.domain.kinds import KINDS, KindRow
from services.mail_ingest.domain.subscriptions import GraphSubscription
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.lease import Lease
from services.mail_ingest.sync.subscriptions import SubscriptionManager
from shared.events import MailboxStatus
from shared.keys import MailboxKey
from tests.mail_ingest.graphs import ANN, NOW


class StubStore:
    """The store's subscriptions; there are none at first."""

    def __init__(self) -> None:
        self.states: list[str] = []

    async def find_by_owner(self, _owner: MailboxKey) -> list[GraphSubscription]:
        return []

    async def insert(self, subscription: GraphSubscription) -> None:
        self.states.append(subscription.client_state)

    async def set_created(self, *_: Any) -> None: ...


class StubGraph:
    """Graph's subscriptions: each client state, and whether it was stored when Graph got it."""

    def __init__(self, store: StubStore) -> None:
        self.states: dict[str, bool] = {}
        self._store = store

    async def create(
        self, _mailbox: MailboxKey, _row: KindRow, client_state: str, expires: datetime
    ) -> tuple[str, datetime]:
        self.states[client_state] = client_state in self._store.states
        return f"graph-{len(self.states)}", expires


class StubHeldMailbox:
    """A mailbox under a lease that has just begun."""

    def __init__(self) -> None:
        self.lease = Lease(ANN, "holder", timedelta(minutes=1), time.monotonic())

    async def schedule_subscriptions(self, *_: Any) -> None: ...


async def subscribe() -> StubGraph:
    """Creates the first subscriptions of a mailbox."""
    store = StubStore()
    graph = StubGraph(store)
    manager = SubscriptionManager(
        cast("Any", SimpleNamespace(subscriptions=store)),
        cast("Any", SimpleNamespace(subscriptions=graph)),
        cast("Any", StubHeldMailbox()),
        lambda: NOW,
        KINDS,
    )
    await manager.reconcile(Mailbox(ANN.tenant, ANN.mailbox, MailboxStatus.ENROLLED, NOW))
    return graph


async def test_client_state_is_stored_before_graph_gets_it() -> None:
    assert list((await subscribe()).states.values()) == [True, True]


async def test_each_subscription_has_a_random_client_state() -> None:
    states = [*(await subscribe()).states, *(await subscribe()).states]
    assert len(set(states)) == 4
    assert min(map(len, states)) >= 32
