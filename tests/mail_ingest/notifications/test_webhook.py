"""The webhook's responses: 202 after Kafka has the notifications, 503 when it has not."""

import asyncio
import time
from collections.abc import Collection
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest

from services.mail_ingest.domain.subscriptions import GraphSubscription
from services.mail_ingest.notifications.graph_notification import MAX_VALUES
from services.mail_ingest.notifications.subscription_cache import SubscriptionCache
from services.mail_ingest.notifications.webhook import Webhook
from services.mail_ingest.recovery.gate import StoreGate
from services.mail_ingest.store.database import Store
from shared.broker import Producer
from shared.errors import RetryableError
from shared.events import ActivityKind, ItemNotified
from shared.messages import OutgoingMessage
from tests.mail_ingest.gates import open_gate
from tests.mail_ingest.graphs import ANN, NOW

SECRET = "the-secret-of-this-subscription"


class StubSubscriptions:
    """The store's subscriptions: one, which Graph may not have named yet."""

    def __init__(self, graph_id: str | None = "s1", latency: float = 0.0) -> None:
        self.only = GraphSubscription("1", ANN, ActivityKind.EMAIL, SECRET, graph_id)
        self.latency = latency
        self.queries = 0

    async def find_notified(
        self, graph_ids: Collection[str], client_states: Collection[str]
    ) -> list[GraphSubscription]:
        self.queries += 1
        await asyncio.sleep(self.latency)
        is_unnamed = self.only.is_being_created and self.only.client_state in client_states
        return [self.only] if is_unnamed or self.only.graph_id in graph_ids else []


class StubProducer:
    """A producer that fails, or stores the messages while it is available."""

    def __init__(self, error: Exception | None = None) -> None:
        self.available = asyncio.Event()
        self.available.set()
        self.sent: list[OutgoingMessage] = []
        self.error = error

    async def send(self, *messages: OutgoingMessage, deadline: timedelta) -> None:  # noqa: ARG002  # the producer's signature
        await self.available.wait()
        if self.error:
            raise self.error
        self.sent += messages

    @property
    def items(self) -> list[str]:
        return [message.value.item for message in self.sent if isinstance(message.value, ItemNotified)]


def notification(item: str, **changes: Any) -> dict[str, Any]:
    values = {
        "subscriptionId": "s1",
        "clientState": SECRET,
        "changeType": "created",
        "resourceData": {"id": item},
    }
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


async def post(
    kafka: StubProducer, *notifications: dict[str, Any], subscriptions: StubSubscriptions | None = None
) -> int:
    """Posts notifications, and returns the status of the response."""
    return (await respond(kafka, open_gate(), *notifications, subscriptions=subscriptions)).status_code


async def respond(
    kafka: StubProducer,
    gate: StoreGate,
    *notifications: dict[str, Any],
    subscriptions: StubSubscriptions | None = None,
) -> httpx2.Response:
    """Posts notifications, and returns the response."""
    store = SimpleNamespace(subscriptions=subscriptions or StubSubscriptions())
    webhook = Webhook(cast("Store", store), cast("Producer", kafka), lambda: NOW, gate)
    transport = httpx2.ASGITransport(webhook.create_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://webhook") as client:
        return await client.post("/graph/notifications", json={"value": notifications})


async def test_202_is_sent_only_after_kafka_has_the_notifications() -> None:
    kafka = StubProducer()
    kafka.available.clear()
    posting = asyncio.create_task(post(kafka, notification("one")))
    done, _ = await asyncio.wait({posting}, timeout=0.5)
    assert not done

    kafka.available.set()
    assert await posting == 202
    assert kafka.items == ["one"]


async def test_503_is_sent_when_kafka_does_not_have_them() -> None:
    assert await post(StubProducer(RetryableError("unavailable")), notification("one")) == 503


async def test_503_names_the_reason_while_the_database_is_recovered() -> None:
    gate = open_gate()
    gate.close("the database is recovered from the topics: database_empty")
    kafka, subscriptions = StubProducer(), StubSubscriptions()

    response = await respond(kafka, gate, notification("one"), subscriptions=subscriptions)

    assert response.status_code == 503
    assert response.json()["detail"] == gate.reason
    assert response.headers["Retry-After"]
    assert (subscriptions.queries, kafka.items) == (0, []), "an older copy would not know the subscription"


async def test_503_is_sent_within_a_second_when_the_store_does_not_answer() -> None:
    began = time.monotonic()
    slow = StubSubscriptions(latency=60)
    assert await post(StubProducer(), notification("one"), subscriptions=slow) == 503
    assert time.monotonic() - began < 5  # one second, and a machine under load


@pytest.mark.parametrize("wrong", ["another-secret", SECRET[:5], "", None, f"{SECRET}x"])
async def test_notification_with_a_wrong_client_state_is_dropped_with_202(wrong: str | None) -> None:
    kafka = StubProducer()
    assert await post(kafka, notification("wrong", clientState=wrong), notification("right")) == 202
    assert kafka.items == ["right"]


async def test_subscription_that_graph_has_not_named_is_recognised_by_its_client_state() -> None:
    kafka = StubProducer()
    unnamed = StubSubscriptions(graph_id=None)
    assert await post(kafka, notification("early"), subscriptions=unnamed) == 202
    assert kafka.items == ["early"]


async def test_all_notifications_of_a_request_need_one_query_and_cached_ones_none() -> None:
    subscriptions = StubSubscriptions()
    store = cast("Store", SimpleNamespace(subscriptions=subscriptions))
    cache = SubscriptionCache(store)
    kafka = StubProducer()
    many = [notification(f"item-{number}") for number in range(MAX_VALUES)]

    assert await post(kafka, *many, subscriptions=subscriptions) == 202
    assert subscriptions.queries == 1
    assert kafka.items == [f"item-{number}" for number in range(MAX_VALUES)]

    await cache.find_candidates({"s1": {SECRET}})
    assert await cache.find_candidates({"s1": {"any"}}) == {"s1": [subscriptions.only]}
    assert subscriptions.queries == 2
