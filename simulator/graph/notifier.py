"""Delivery of notifications to webhooks: in batches, with timeouts, retries, and injected faults."""

import asyncio
import contextlib
import heapq
import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from urllib.parse import quote
from uuid import uuid4

import httpx2
import orjson

from simulator.state.subscriptions import CREATED, UPDATED, Notification
from simulator.state.world import World

from .recorder import Recorder
from .webhook_health import DeliveryRules, WebhookHealth

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 10.0
"""Seconds, from Graph's documentation."""

MAX_BATCH = 50
"""Notifications in one POST."""

BATCHING_DELAY = 0.01
"""Seconds that a notification waits for others of the same batch."""

MAX_CONCURRENT_POSTS = 4
"""POSTs in flight to one URL."""

MAX_RETRY_DELAY = 600.0
MAX_REORDER_DELAY = 1.0


@dataclass(order=True, slots=True)
class _Delivery:
    due: float
    number: int
    attempt: int = field(compare=False)
    queued: float = field(compare=False)
    notifications: list[Notification] = field(compare=False)


class Notifier:
    """Delivers the notifications of a world, with one queue for each URL.

    `retry_base` is the delay in seconds before the first retry; every further retry doubles it.
    """

    def __init__(self, world: World, recorder: Recorder, tls: ssl.SSLContext, retry_base: float) -> None:
        self._world = world
        self._recorder = recorder
        self.retry_base = retry_base
        self.rules = DeliveryRules()
        self._numbers = count()
        self._queues: dict[str, _DeliveryQueue] = {}
        limits = httpx2.Limits(max_connections=200, max_keepalive_connections=50)
        self._client = httpx2.AsyncClient(verify=tls, limits=limits, trust_env=False)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Receive the notifications of the world from now on."""
        self._loop = asyncio.get_running_loop()
        self._world.listeners.append(self._on_notification)

    async def stop(self) -> None:
        """Stop; undelivered notifications are dropped."""
        self._world.listeners.remove(self._on_notification)
        for queue in self._queues.values():
            await queue.stop()
        await self._client.aclose()

    @property
    def pending(self) -> int:
        """Notifications that are queued, in flight, or due for a retry."""
        return sum(queue.pending for queue in self._queues.values())

    def states(self) -> dict[str, str]:
        """The state of each notification URL."""
        return {url: queue.health.state.value for url, queue in self._queues.items()}

    async def handshake(self, url: str) -> bool:
        """Send a validation token to a notification URL; return whether the URL returned it."""
        token = f"Validation: Testing client application reachability for subscription Request-Id: {uuid4()}"
        separator = "&" if "?" in url else "?"
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                response = await self._client.post(
                    f"{url}{separator}validationToken={quote(token, safe='')}",
                    headers={"content-type": "text/plain; charset=utf-8"},
                    timeout=HANDSHAKE_TIMEOUT,
                )
        except (httpx2.HTTPError, TimeoutError) as error:
            log.info("handshake with %s failed, rejecting the subscription: %s", url, type(error).__name__)
            return False
        plain = response.headers.get("content-type", "").startswith("text/plain")
        return response.status_code == 200 and plain and response.text == token

    async def post(self, url: str, batch: list[Notification], timeout: float) -> bool:  # noqa: ASYNC109
        """POST a batch; return whether the webhook accepted it within `timeout` seconds."""
        body = {"value": [n.body for n in batch]}
        self._recorder.record("changeNotificationCollection", body)
        counts = self._world.counters.notifications
        counts["posts"] += 1
        try:
            async with asyncio.timeout(timeout):
                response = await self._client.post(
                    url,
                    content=orjson.dumps(body),
                    headers={"content-type": "application/json; charset=utf-8"},
                    timeout=timeout,
                )
        except (httpx2.HTTPError, TimeoutError):
            counts["unanswered"] += len(batch)
            return False
        accepted = 200 <= response.status_code < 300
        if response.status_code == 202:
            counts["answered_202"] += len(batch)
        else:
            counts["answered_other"] += len(batch)
        return accepted

    def _on_notification(self, notification: Notification) -> None:
        """Queue a notification; the thread that changes the world calls this, so it may be any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._enqueue, notification)

    def _enqueue(self, notification: Notification) -> None:
        for delay, each in self._with_faults(notification):
            self._queue(each.url).offer(delay, each)

    def _with_faults(self, notification: Notification) -> Iterable[tuple[float, Notification]]:
        """The notification, its following `updated`, and duplicates, each with its delay in seconds."""
        faults, random = self._world.faults.delivery, self._world.faults.random
        counts = self._world.counters.notifications
        planned = [(0.0, notification)]
        subscription = self._world.subscriptions.get(notification.subscription)
        followed = notification.change == CREATED and faults.followed_by_updated
        if followed and subscription is not None and UPDATED in subscription.changes:
            body = {**notification.body, "changeType": UPDATED}
            planned.append((faults.update_after, replace(notification, change=UPDATED, body=body)))
        for base_delay, each in planned:
            delay = base_delay
            if faults.loss and random.random() < faults.loss:
                counts["lost"] += 1
                continue
            if faults.delay:
                delay += random.random() * faults.delay
            if faults.reorder and random.random() < faults.reorder:
                delay += random.random() * MAX_REORDER_DELAY
            yield delay, each
            if faults.duplicates and random.random() < faults.duplicates:
                counts["duplicated"] += 1
                yield delay + random.random() * MAX_REORDER_DELAY, each

    def _queue(self, url: str) -> "_DeliveryQueue":
        if url not in self._queues:
            self._queues[url] = _DeliveryQueue(self, self._world, url, self._numbers)
        return self._queues[url]


class _DeliveryQueue:
    """The deliveries to one URL, and the task that sends them when they are due."""

    def __init__(self, notifier: Notifier, world: World, url: str, numbers: "count[int]") -> None:
        self._notifier = notifier
        self._world = world
        self._url = url
        self._numbers = numbers
        self.health = WebhookHealth()
        self._deliveries: list[_Delivery] = []
        self._head_changed = asyncio.Event()
        self._free_posts = asyncio.Semaphore(MAX_CONCURRENT_POSTS)
        self._in_flight = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    @property
    def pending(self) -> int:
        return self._in_flight + sum(len(each.notifications) for each in self._deliveries)

    def offer(self, delay: float, notification: Notification) -> None:
        """Queue a new notification, as the state of the webhook has it: at once, delayed, or not at all."""
        planned = self.health.plan(self._notifier.rules, self._loop.time())
        counts = self._world.counters.notifications
        if planned is None:
            counts["dropped"] += 1
            return
        if planned:
            counts["delayed"] += 1
        self.add(delay + planned, [notification])

    def add(self, delay: float, batch: list[Notification], attempt: int = 0, queued: float = 0.0) -> None:
        now = self._loop.time()
        delivery = _Delivery(now + delay, next(self._numbers), attempt, queued or now, batch)
        heapq.heappush(self._deliveries, delivery)
        if self._deliveries[0] is delivery:
            self._head_changed.set()

    async def stop(self) -> None:
        for task in (self._task, *self._sending):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            self._head_changed.clear()
            now = self._loop.time()
            pause = self._deliveries[0].due + BATCHING_DELAY - now if self._deliveries else None
            if pause is None or pause > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._head_changed.wait()
                if pause is None or self._deliveries[0].due + BATCHING_DELAY > self._loop.time():
                    continue
            await self._free_posts.acquire()
            delivery = self._pop_batch()
            self._in_flight += len(delivery.notifications)
            task = self._loop.create_task(self._send(delivery))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _pop_batch(self) -> _Delivery:
        """The next delivery: an unchanged retry, or all new notifications that are due, up to a batch."""
        first = heapq.heappop(self._deliveries)
        now = self._loop.time()
        while (
            first.attempt == 0
            and self._deliveries
            and self._deliveries[0].attempt == 0
            and self._deliveries[0].due <= now
            and len(first.notifications) < MAX_BATCH
        ):
            first.notifications += heapq.heappop(self._deliveries).notifications
        return first

    async def _send(self, delivery: _Delivery) -> None:
        batch = delivery.notifications
        counts = self._world.counters.notifications
        try:
            rules, started = self._notifier.rules, self._loop.time()
            timeout = rules.retry_timeout if delivery.attempt else rules.first_timeout
            counts["retried" if delivery.attempt else "sent"] += len(batch)
            accepted = await self._notifier.post(self._url, batch, timeout)
            self.health.record(rules, self._loop.time(), self._loop.time() - started)
            if accepted:
                counts["delivered"] += len(batch)
                return
            delay = min(self._notifier.retry_base * 2**delivery.attempt, MAX_RETRY_DELAY)
            if self._loop.time() + delay - delivery.queued > rules.retry_period:
                counts["given_up"] += len(batch)
            else:
                self.add(delay, batch, delivery.attempt + 1, delivery.queued)
        finally:
            self._in_flight -= len(batch)
            self._free_posts.release()
