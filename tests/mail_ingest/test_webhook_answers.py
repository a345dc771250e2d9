"""What Graph is answered, and when: 202 after Kafka has a notification, 503 where it has not."""

import asyncio
import time
from datetime import timedelta
from typing import Any, cast

import httpx2
import pytest
from services.mail_ingest.webhook import Webhook
from shared.bus import Outgoing

from services.mail_ingest.domain.subscriptions import Subscription
from services.mail_ingest.store import Store
from shared.broker import Producer
from shared.errors import Transient
from shared.events import ItemHinted, Kind

from .graphs import NOW

SECRET = "the-secret-of-this-subscription"


class Subscriptions:
    """A store that has one subscription; Graph may not have named it yet."""

    def __init__(self, graph_id: str | None = "s1", takes: float = 0.0) -> None:
        self.only = Subscription("1", "contoso/ann", Kind.EMAIL, SECRET, graph_id)
        self.takes = takes

    async def subscription(self, graph_id: str) -> Subscription | None:
        await asyncio.sleep(self.takes)
        return self.only if self.only.graph_id == graph_id else None

    async def pending(self) -> list[Subscription]:
        return [self.only] if self.only.graph_id is None else []


class Kafka:
    """Has what is sent once it is told to take it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.takes = asyncio.Event()
        self.takes.set()
        self.sent: list[Outgoing] = []
        self.error = error

    async def send(self, *messages: Outgoing, deadline: timedelta) -> None:  # noqa: ARG002  # as the producer takes it
        await self.takes.wait()
        if self.error:
            raise self.error
        self.sent += messages

    @property
    def items(self) -> list[str]:
        return [message.value.item for message in self.sent if isinstance(message.value, ItemHinted)]


def notification(item: str, **changes: Any) -> dict[str, Any]:
    made = {
        "subscriptionId": "s1",
        "clientState": SECRET,
        "changeType": "created",
        "resourceData": {"id": item},
    }
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


async def post(kafka: Kafka, *notifications: dict[str, Any], store: Subscriptions | None = None) -> int:
    webhook = Webhook(cast("Store", store or Subscriptions()), cast("Producer", kafka), lambda: NOW)
    transport = httpx2.ASGITransport(webhook.app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://webhook") as client:
        return (await client.post("/graph/notifications", json={"value": notifications})).status_code


async def test_202_comes_only_after_kafka_has_the_notifications() -> None:
    kafka = Kafka()
    kafka.takes.clear()
    posting = asyncio.create_task(post(kafka, notification("one")))
    done, _ = await asyncio.wait({posting}, timeout=0.5)
    assert not done

    kafka.takes.set()
    assert await posting == 202
    assert kafka.items == ["one"]


async def test_503_where_kafka_has_not_taken_them() -> None:
    assert await post(Kafka(Transient("away")), notification("one")) == 503


async def test_503_within_a_second_where_the_store_does_not_answer() -> None:
    began = time.monotonic()
    assert await post(Kafka(), notification("one"), store=Subscriptions(takes=60)) == 503
    assert time.monotonic() - began < 5  # one second, and a machine under load


@pytest.mark.parametrize("wrong", ["another-secret", SECRET[:5], "", None, f"{SECRET}x"])
async def test_a_wrong_client_state_is_dropped_with_202(wrong: str | None) -> None:
    kafka = Kafka()
    assert await post(kafka, notification("wrong", clientState=wrong), notification("right")) == 202
    assert kafka.items == ["right"]


async def test_a_subscription_that_graph_has_not_named_is_recognised_by_its_client_state() -> None:
    kafka = Kafka()
    assert await post(kafka, notification("early"), store=Subscriptions(graph_id=None)) == 202
    assert kafka.items == ["early"]
