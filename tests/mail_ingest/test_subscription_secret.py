"""The client state of a subscription: random, and stored before Graph gets it."""

import time
from datetime import datetime, timedelta
from typing import Any, cast

from services.mail_ingest.documents import Mailbox
from services.mail_ingest.saying import Lease
from services.mail_ingest.subscribing import Subscribing

from services.mail_ingest.domain.subscriptions import Subscription
from services.mail_ingest.graph import Graph
from services.mail_ingest.store import Store
from shared.events import Kind, MailboxStatus

from .graphs import NOW


class Stored:
    """Subscriptions in memory."""

    def __init__(self) -> None:
        self.states: list[str] = []

    async def subscriptions(self, _owner: str) -> list[Subscription]:
        return []

    async def add_subscription(self, subscription: Subscription) -> None:
        self.states.append(subscription.client_state)

    async def named(self, *_: Any) -> None: ...

    async def subscriptions_seen_to(self, *_: Any) -> None: ...


class Subscribed:
    """Graph; notes whether each client state that it gets was stored by then."""

    def __init__(self, store: Stored) -> None:
        self._store = store
        self.states: dict[str, bool] = {}

    async def subscribe(
        self, _tenant: str, _mailbox: str, _kind: Kind, client_state: str, expires: datetime
    ) -> tuple[str, datetime]:
        self.states[client_state] = client_state in self._store.states
        return f"graph-{len(self.states)}", expires


async def subscribe() -> Subscribed:
    """A mailbox gets its first subscriptions."""
    store = Stored()
    graph = Subscribed(store)
    lease = Lease("contoso/ann", "holder", timedelta(minutes=1), time.monotonic())
    mailbox = Mailbox("contoso", "ann", MailboxStatus.ENROLLED, 1, NOW)
    await Subscribing(cast("Store", store), cast("Graph", graph), lambda: NOW, lease).see_to(mailbox)
    return graph


async def test_the_client_state_is_stored_before_graph_gets_it() -> None:
    assert list((await subscribe()).states.values()) == [True, True]


async def test_each_subscription_has_a_random_client_state() -> None:
    states = [*(await subscribe()).states, *(await subscribe()).states]
    assert len(set(states)) == 4
    assert min(map(len, states)) >= 32
