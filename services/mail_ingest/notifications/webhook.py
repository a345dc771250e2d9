"""The public interface: Graph's notifications go to Kafka, and only then is Graph answered.

A notification of another subscription than ours, or without the subscription's secret, is counted and
dropped, and still answered with 202, so that a caller who guesses learns nothing. No request to Graph is
made.
"""

import asyncio
import hmac
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from services.mail_ingest.domain.subscriptions import LIFECYCLE_PATH, NOTIFICATION_PATH, GraphSubscription
from services.mail_ingest.metrics import NOTIFICATIONS_ACCEPTED, NOTIFICATIONS_DROPPED, WEBHOOKS_UNAVAILABLE
from services.mail_ingest.recovery.gate import StoreGate
from services.mail_ingest.store.database import Store
from shared.broker import Producer
from shared.clock import Clock, next_version
from shared.errors import RetryableError
from shared.events import Event, ItemNotified, LifecycleNotified
from shared.http_limits import REQUESTS_REFUSED
from shared.messages import OutgoingMessage
from shared.problems import problem_response
from shared.topics import GRAPH_NOTIFICATIONS

from .graph_notification import (
    MAX_VALUES,
    GraphNotification,
    TooManyValuesError,
    parse_collection,
    parse_notification,
)
from .subscription_cache import SubscriptionCache

INTERFACE = "webhook"
"""Its name in the metrics."""
RESPONSE_DEADLINE = timedelta(seconds=1)
"""Graph waits three seconds, and throttles notifications to slow webhooks."""
MAX_BODY_BYTES = 2 * 1024 * 1024
"""Of one POST request: twice the size of `MAX_VALUES` notifications. The server refuses a larger one."""
SLICE = 250
"""Notifications that are published at once, so that no request keeps the others waiting: 4 ms."""
RETRY_AFTER_SECONDS = "5"


class Webhook:
    """Handles Graph's POST requests."""

    def __init__(self, store: Store, producer: Producer, clock: Clock, gate: StoreGate) -> None:
        self._gate = gate
        self._subscriptions = SubscriptionCache(store)
        self._producer = producer
        self._clock = clock

    def create_app(self) -> FastAPI:
        """The public interface: two routes, no documentation."""
        router = APIRouter()
        for path in (NOTIFICATION_PATH, LIFECYCLE_PATH):
            router.add_api_route(path, self.post, methods=["POST"])
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.include_router(router)
        return app

    async def post(self, request: Request) -> Response:
        """Answers Graph's handshake, or accepts notifications."""
        token = request.query_params.get("validationToken")
        if token is not None:
            return Response(token, media_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})
        deadline = time.monotonic() + RESPONSE_DEADLINE.total_seconds()
        try:
            values = parse_collection(await request.body())
        except TooManyValuesError:
            return _refuse(413, "too_many_values", f"a request may have {MAX_VALUES} notifications")
        if values is None:
            return _refuse(400, "malformed", "the body is not a collection of notifications")
        try:
            self._gate.check()
            messages = await self._publish(_readable(values), deadline)
        except (RetryableError, TimeoutError):
            WEBHOOKS_UNAVAILABLE.inc()
            return problem_response(
                503,
                "unavailable",
                self._gate.reason or "the notifications cannot be stored now",
                headers={"Retry-After": RETRY_AFTER_SECONDS},
            )
        for message in messages:
            NOTIFICATIONS_ACCEPTED.labels(message.value.ce_type if message.value else "").inc()
        return Response(status_code=202)

    async def _publish(
        self, notifications: Sequence[GraphNotification], deadline: float
    ) -> Sequence[OutgoingMessage]:
        """Publishes what is ours, by the deadline in monotonic seconds.

        Raises:
            RetryableError, TimeoutError: MongoDB or Kafka does not answer in time.
        """
        client_states: dict[str, set[str]] = {}
        for notification in notifications:
            client_states.setdefault(notification.subscription, set()).add(notification.client_state)
        async with asyncio.timeout(deadline - time.monotonic()):
            candidates = await self._subscriptions.find_candidates(client_states)
        version = next_version(self._clock())
        published: list[OutgoingMessage] = []
        for start in range(0, len(notifications), SLICE):
            messages = self._to_messages(notifications[start : start + SLICE], candidates, version)
            left = timedelta(seconds=max(0.0, deadline - time.monotonic()))
            await self._producer.send(*messages, deadline=left)
            published += messages
        return published

    def _to_messages(
        self,
        notifications: Sequence[GraphNotification],
        candidates: Mapping[str, Sequence[GraphSubscription]],
        version: int,
    ) -> list[OutgoingMessage]:
        """The messages for our own notifications; the others are counted and dropped."""
        messages = []
        for notification in notifications:
            possible = candidates[notification.subscription]
            subscription = _with_secret(possible, notification.client_state)
            if subscription is None:
                is_known = bool(possible) and not possible[0].is_being_created
                reason = "wrong client state" if is_known else "unknown subscription"
                NOTIFICATIONS_DROPPED.labels(reason).inc()
                continue
            event = _to_event(notification, subscription)
            if event is None:
                NOTIFICATIONS_DROPPED.labels("no item").inc()
                continue
            messages.append(OutgoingMessage(GRAPH_NOTIFICATIONS, subscription.owner, event, version))
        return messages


def _to_event(notification: GraphNotification, subscription: GraphSubscription) -> Event | None:
    """The event. Mailbox and kind come from our own subscription, never from the notification."""
    if notification.lifecycle:
        return LifecycleNotified(subscription=notification.subscription, event=notification.lifecycle)
    if notification.resource:
        return ItemNotified(
            kind=subscription.kind, item=notification.resource.id, change=notification.change or ""
        )
    return None


def _with_secret(candidates: Iterable[GraphSubscription], client_state: str) -> GraphSubscription | None:
    """The first candidate with this secret, compared in constant time."""
    given = client_state.encode(errors="replace")
    return next((each for each in candidates if hmac.compare_digest(each.client_state.encode(), given)), None)


def _readable(values: Iterable[Any]) -> list[GraphNotification]:
    """The notifications; a malformed value is counted and dropped."""
    notifications = []
    for value in values:
        notification = parse_notification(value)
        if notification is None:
            NOTIFICATIONS_DROPPED.labels("malformed").inc()
        else:
            notifications.append(notification)
    return notifications


def _refuse(status: int, reason: str, detail: str) -> Response:
    REQUESTS_REFUSED.labels(INTERFACE, reason).inc()
    return problem_response(status, reason, detail)
