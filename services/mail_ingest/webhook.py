"""The public port: Graph's notifications go to Kafka, and only then is Graph answered.

A notification that is not of one of our subscriptions, or has not its secret, is counted and
dropped, and still answered with 202: whoever guesses learns nothing. No call to Graph is made.
"""

import asyncio
import hmac
import json
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shared.broker import Producer
from shared.bus import Outgoing
from shared.clock import Clock, stamp
from shared.errors import Transient
from shared.events import Event, ItemHinted, LifecycleNotified
from shared.topics import GRAPH_NOTIFICATIONS

from .domain.subscriptions import Subscription
from .metrics import ACCEPTED, DROPPED, UNAVAILABLE
from .store import Store

ANSWER_WITHIN = timedelta(seconds=1)
"""Graph waits three seconds, and remembers who is slow."""
MOST_BYTES = 4 * 1024 * 1024
"""Of one POST; Graph's own batches are a few hundred kB at most."""
REMEMBERED = timedelta(seconds=10)
"""How long a subscription is not looked up again."""
MOST_REMEMBERED = 100_000

Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class _Border(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class ResourceData(_Border):
    """What a change notification is about; the only id in it that is believed."""

    id: Text


class Notification(_Border):
    """One value of a notification, as Graph sends it: a change, or a subscription's lifecycle event."""

    subscription: Text = Field(alias="subscriptionId")
    client_state: str = Field("", alias="clientState")
    change: Text | None = Field(None, alias="changeType")
    resource: ResourceData | None = Field(None, alias="resourceData")
    lifecycle: Text | None = Field(None, alias="lifecycleEvent")


class Ours:
    """Our subscriptions by Graph's id; those that Graph has not named yet, by their secret."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._remembered: dict[str, tuple[Subscription, float]] = {}

    async def find(self, notifications: Iterable[Notification]) -> dict[str, list[Subscription]]:
        """Which of ours each subscription id may stand for."""
        now = time.monotonic()
        found: dict[str, list[Subscription]] = {}
        unknown: set[str] = set()
        for graph_id in {notification.subscription for notification in notifications}:
            subscription, until = self._remembered.get(graph_id, (None, 0.0))
            if subscription is None or until < now:
                subscription = await self._store.subscription(graph_id)
            if subscription is None:
                unknown.add(graph_id)
            else:
                if len(self._remembered) >= MOST_REMEMBERED:
                    self._remembered.clear()
                if until < now:
                    self._remembered[graph_id] = subscription, now + REMEMBERED.total_seconds()
                found[graph_id] = [subscription]
        if unknown:
            # Graph may notify before it has answered with the subscription's id, and may have answered since we asked.
            pending = await self._store.pending()
            for graph_id in unknown:
                named = await self._store.subscription(graph_id)
                found[graph_id] = [named, *pending] if named else pending
        return found


class Webhook:
    """Takes Graph's POSTs."""

    def __init__(self, store: Store, producer: Producer, clock: Clock) -> None:
        self._ours = Ours(store)
        self._producer = producer
        self._clock = clock

    def app(self) -> FastAPI:
        """The public interface: two routes, no documentation."""
        router = APIRouter()
        for path in ("/graph/notifications", "/graph/lifecycle"):
            router.add_api_route(path, self.post, methods=["POST"])
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.include_router(router)
        return app

    async def post(self, request: Request) -> Response:
        """A handshake, or notifications."""
        token = request.query_params.get("validationToken")
        if token is not None:
            return Response(token, media_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})
        deadline = time.monotonic() + ANSWER_WITHIN.total_seconds()
        body = await _body(request)
        if body is None:
            return Response(status_code=413)
        values = _values(body)
        if values is None:
            return Response(status_code=400)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                messages = await self._accept(
                    [notification for value in values if (notification := _read(value))]
                )
            left = timedelta(seconds=max(0.0, deadline - time.monotonic()))
            await self._producer.send(*messages, deadline=left)
        except (Transient, TimeoutError):
            UNAVAILABLE.inc()
            return Response(status_code=503, headers={"Retry-After": "5"})
        for message in messages:
            ACCEPTED.labels(message.value.ce_type if message.value else "").inc()
        return Response(status_code=202)

    async def _accept(self, notifications: list[Notification]) -> list[Outgoing]:
        """What of it is ours, as messages; the rest is counted."""
        ours = await self._ours.find(notifications)
        version = stamp(self._clock())
        messages = []
        for notification in notifications:
            candidates = ours[notification.subscription]
            subscription = next(
                (each for each in candidates if _same(each.client_state, notification.client_state)), None
            )
            event = _event(notification, subscription)
            if subscription is None:
                DROPPED.labels(
                    "wrong client state"
                    if candidates and not candidates[0].pending
                    else "unknown subscription"
                ).inc()
            elif event is None:
                DROPPED.labels("says nothing").inc()
            else:
                tenant, mailbox = subscription.owner.split("/", 1)
                messages.append(Outgoing(GRAPH_NOTIFICATIONS, (tenant, mailbox), event, version))
        return messages


def _event(notification: Notification, subscription: Subscription | None) -> Event | None:
    """The mailbox and the kind are our subscription's, never the notification's."""
    if subscription is None:
        return None
    if notification.lifecycle:
        return LifecycleNotified(subscription=notification.subscription, event=notification.lifecycle)
    if notification.resource:
        return ItemHinted(
            kind=subscription.kind, item=notification.resource.id, change=notification.change or ""
        )
    return None


def _same(ours: str, theirs: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(ours.encode(), theirs.encode(errors="replace"))


async def _body(request: Request) -> bytes | None:
    """All of it, or None where it is too long."""
    if int(request.headers.get("content-length") or 0) > MOST_BYTES:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _values(body: bytes) -> list[Any] | None:
    """The values of a notification collection, or None where it is none."""
    try:
        values = json.loads(body)["value"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return values if isinstance(values, list) else None


def _read(value: Any) -> Notification | None:
    try:
        return Notification.model_validate(value)
    except ValidationError:
        DROPPED.labels("malformed").inc()
        return None
