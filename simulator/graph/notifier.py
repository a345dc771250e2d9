"""Notifications on their way to webhooks: batched, timed out, retried, and astray when told so."""

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

log = logging.getLogger(__name__)

FIRST_TIMEOUT = 3.0
RETRY_TIMEOUT = 10.0
HANDSHAKE_TIMEOUT = 10.0
GIVE_UP_AFTER = 4 * 3600.0
"""Seconds, as Graph's documentation has them."""

BATCH = 50
"""Notifications in one POST at most."""

GATHER = 0.01
"""Seconds that a notification waits for others to come along."""

AT_ONCE = 4
"""POSTs in flight to one URL."""

LONGEST_PAUSE = 600.0
REORDERED_BY = 1.0


@dataclass(order=True, slots=True)
class _Due:
    at: float
    number: int
    attempt: int = field(compare=False)
    since: float = field(compare=False)
    notifications: list[Notification] = field(compare=False)


class Notifier:
    """Delivers a world's notifications, one task for each URL.

    `retry_base` is the pause in seconds before the first retry; every further one doubles it.
    """

    def __init__(self, world: World, recorder: Recorder, tls: ssl.SSLContext, retry_base: float) -> None:
        self._world = world
        self._recorder = recorder
        self.retry_base = retry_base
        self._numbers = count()
        self._routes: dict[str, _Route] = {}
        limits = httpx2.Limits(max_connections=200, max_keepalive_connections=50)
        self._client = httpx2.AsyncClient(verify=tls, limits=limits, trust_env=False)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Listen to the world from now on."""
        self._loop = asyncio.get_running_loop()
        self._world.listeners.append(self._hear)

    async def stop(self) -> None:
        """Listen no more; what waits is dropped."""
        self._world.listeners.remove(self._hear)
        for route in self._routes.values():
            await route.stop()
        await self._client.aclose()

    @property
    def pending(self) -> int:
        """Notifications that wait, are on their way, or will be tried again."""
        return sum(route.pending for route in self._routes.values())

    async def handshake(self, url: str) -> bool:
        """Whether a notification URL gives back the validation token that it is sent."""
        token = f"Validation: Testing client application reachability for subscription Request-Id: {uuid4()}"
        joint = "&" if "?" in url else "?"
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                answer = await self._client.post(
                    f"{url}{joint}validationToken={quote(token, safe='')}",
                    headers={"content-type": "text/plain; charset=utf-8"},
                    timeout=HANDSHAKE_TIMEOUT,
                )
        except (httpx2.HTTPError, TimeoutError) as error:
            log.info("handshake with %s failed: %s", url, type(error).__name__)
            return False
        plain = answer.headers.get("content-type", "").startswith("text/plain")
        return answer.status_code == 200 and plain and answer.text == token

    async def post(self, url: str, batch: list[Notification], within: float) -> bool:
        """One POST; whether it was taken within so many seconds."""
        body = {"value": [n.body for n in batch]}
        self._recorder.record("changeNotificationCollection", body)
        counts = self._world.counters.notifications
        counts["posts"] += 1
        try:
            async with asyncio.timeout(within):
                answer = await self._client.post(
                    url,
                    content=orjson.dumps(body),
                    headers={"content-type": "application/json; charset=utf-8"},
                    timeout=within,
                )
        except (httpx2.HTTPError, TimeoutError):
            counts["unanswered"] += len(batch)
            return False
        taken = 200 <= answer.status_code < 300
        if answer.status_code == 202:
            counts["answered_202"] += len(batch)
        else:
            counts["answered_other"] += len(batch)
        return taken

    def _hear(self, notification: Notification) -> None:
        """Called by whoever changes the world, from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue, notification)

    def _queue(self, notification: Notification) -> None:
        for delay, each in self._disturbed(notification):
            self._route(each.url).put(delay, [each])

    def _disturbed(self, notification: Notification) -> Iterable[tuple[float, Notification]]:
        """The notification and its companions, each with the seconds that it waits."""
        faults, dice = self._world.faults.delivery, self._world.faults.dice
        counts = self._world.counters.notifications
        out = [(0.0, notification)]
        subscription = self._world.subscriptions.get(notification.subscription)
        followed = notification.change == CREATED and faults.followed_by_updated
        if followed and subscription is not None and UPDATED in subscription.changes:
            body = {**notification.body, "changeType": UPDATED}
            out.append((faults.update_after, replace(notification, change=UPDATED, body=body)))
        for after, each in out:
            delay = after
            if faults.loss and dice.random() < faults.loss:
                counts["lost"] += 1
                continue
            if faults.delay:
                delay += dice.random() * faults.delay
            if faults.reorder and dice.random() < faults.reorder:
                delay += dice.random() * REORDERED_BY
            yield delay, each
            if faults.duplicates and dice.random() < faults.duplicates:
                counts["duplicated"] += 1
                yield delay + dice.random() * REORDERED_BY, each

    def _route(self, url: str) -> "_Route":
        if url not in self._routes:
            self._routes[url] = _Route(self, self._world, url, self._numbers)
        return self._routes[url]


class _Route:
    """The way to one URL: what waits for it, and the task that sends it."""

    def __init__(self, notifier: Notifier, world: World, url: str, numbers: "count[int]") -> None:
        self._notifier = notifier
        self._world = world
        self._url = url
        self._numbers = numbers
        self._waiting: list[_Due] = []
        self._wake = asyncio.Event()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._in_flight = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    @property
    def pending(self) -> int:
        return self._in_flight + sum(len(due.notifications) for due in self._waiting)

    def put(self, delay: float, batch: list[Notification], attempt: int = 0, since: float = 0.0) -> None:
        now = self._loop.time()
        due = _Due(now + delay, next(self._numbers), attempt, since or now, batch)
        heapq.heappush(self._waiting, due)
        if self._waiting[0] is due:
            self._wake.set()

    async def stop(self) -> None:
        for task in (self._task, *self._sending):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now = self._loop.time()
            pause = self._waiting[0].at + GATHER - now if self._waiting else None
            if pause is None or pause > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                if pause is None or self._waiting[0].at + GATHER > self._loop.time():
                    continue
            await self._free.acquire()
            due = self._next()
            self._in_flight += len(due.notifications)
            task = self._loop.create_task(self._send(due))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _next(self) -> _Due:
        """What to send now: a retry as it was, or all that is new, up to a batch."""
        first = heapq.heappop(self._waiting)
        now = self._loop.time()
        while (
            first.attempt == 0
            and self._waiting
            and self._waiting[0].attempt == 0
            and self._waiting[0].at <= now
            and len(first.notifications) < BATCH
        ):
            first.notifications += heapq.heappop(self._waiting).notifications
        return first

    async def _send(self, due: _Due) -> None:
        batch = due.notifications
        counts = self._world.counters.notifications
        try:
            within = RETRY_TIMEOUT if due.attempt else FIRST_TIMEOUT
            counts["retried" if due.attempt else "sent"] += len(batch)
            if await self._notifier.post(self._url, batch, within):
                counts["delivered"] += len(batch)
                return
            pause = min(self._notifier.retry_base * 2**due.attempt, LONGEST_PAUSE)
            if self._loop.time() + pause - due.since > GIVE_UP_AFTER:
                counts["given_up"] += len(batch)
            else:
                self.put(pause, batch, due.attempt + 1, due.since)
        finally:
            self._in_flight -= len(batch)
            self._free.release()
