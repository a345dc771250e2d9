"""Streams of server-sent events, one for each open page.

A stream reports that something has changed, never what: the page reads its timeline again, and the
timeline's own rules decide what the user sees. A stream begins with `ready`; a page that reads its
timeline after that has missed nothing, so a reconnection leaves no gap. Every replica receives the
changes of all replicas, from MongoDB's change stream.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from time import monotonic

from services.tracking.domain.errors import NotFoundError
from services.tracking.domain.visibility import User
from services.tracking.publishing.outbox_loop import Refusal
from services.tracking.store import Change, Store
from services.tracking.timeline.access import TimelineAccess
from shared.errors import RetryableError
from shared.heartbeat import Heartbeat
from shared.keys import RecordKey, join_key
from shared.retry import RETRY_PAUSE, OutageLog
from shared.service import StopSignal

log = logging.getLogger(__name__)

DEBOUNCE = timedelta(milliseconds=100)
"""Changes within this time become one event."""
KEEPALIVE_INTERVAL = timedelta(seconds=15)
"""Interval of comments on a silent stream: proxies close a stream that is silent for a minute."""
STREAM_LIFETIME = timedelta(minutes=10)
"""The page then connects again with a new token, so that no stream outlives its token for long."""
IDLE_CHECK_INTERVAL = timedelta(seconds=1)
"""Interval of the heartbeat while no stream is open."""


class _Stream:
    def __init__(self, user: User, key: RecordKey | None) -> None:
        self.owner = join_key(user.mailbox_key)
        self.record = key and join_key(key)
        self.changed = asyncio.Event()


class TimelineStreams:
    """All open streams of this replica.

    Args:
        store: whose changes are watched.
        access: checks the user again before each event.
        refusal: why the store must not be used now, or None.
    """

    def __init__(self, store: Store, access: TimelineAccess, refusal: Refusal) -> None:
        self.heartbeat = Heartbeat()
        self._change_feed = store.change_feed
        self._access = access
        self._refusal = refusal
        self._streams: set[_Stream] = set()
        self._opened = asyncio.Event()
        self._closing = False

    async def count_open(self) -> int:
        """The number of open streams."""
        return len(self._streams)

    async def open(self, user: User, key: RecordKey | None) -> AsyncIterator[bytes]:
        """The stream of one page.

        Args:
            user: the user.
            key: a record that the user may read; None: the user's own data on any record.
        """
        stream, number, ends = _Stream(user, key), 0, monotonic() + STREAM_LIFETIME.total_seconds()
        self._streams.add(stream)
        self._opened.set()
        try:
            yield _encode_event("ready", number)
            while not self._closing and monotonic() < ends:
                try:
                    await asyncio.wait_for(stream.changed.wait(), KEEPALIVE_INTERVAL.total_seconds())
                except TimeoutError:
                    yield b": keep-alive\n\n"
                    continue
                if not self._closing:
                    await asyncio.sleep(DEBOUNCE.total_seconds())
                stream.changed.clear()
                number += 1
                try:
                    if await self._refusal():
                        return  # the page connects again, and gets the reason
                    if key:
                        await self._access.find_record(user, key)
                except NotFoundError:
                    yield _encode_event("gone", number)
                    return
                except RetryableError:
                    return  # the page connects again
                yield _encode_event("changed", number)
        finally:
            self._streams.discard(stream)

    async def run(self, stop_signal: StopSignal) -> None:
        """The loop; at its end every stream ends, so that none delays the drain."""
        watching, stop = asyncio.create_task(self._watch()), asyncio.create_task(stop_signal.wait())
        try:
            done, _ = await asyncio.wait({watching, stop}, return_when=asyncio.FIRST_COMPLETED)
            if watching in done:
                await watching
        finally:
            self._closing = True
            for stream in self._streams:
                stream.changed.set()
            for task in (watching, stop):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _watch(self) -> None:
        outage = OutageLog(log, "change stream unavailable, retrying")
        while True:
            self.heartbeat.beat()
            try:
                await self._wait_for_stream()
                async with contextlib.aclosing(self._change_feed.changes()) as changes:
                    async for change in changes:
                        outage.succeeded()
                        self.heartbeat.beat()
                        if change:
                            self._notify(change)
                        if not self._streams:
                            break
            except RetryableError as error:
                outage.failed(error)
                await asyncio.sleep(RETRY_PAUSE.total_seconds())

    def _notify(self, change: Change) -> None:
        for stream in self._streams:
            if change.concerns(stream.owner, stream.record):
                stream.changed.set()

    async def _wait_for_stream(self) -> None:
        """Waits until a stream is open: without one the database is not watched."""
        if not self._streams:
            self._change_feed.forget_position()
        while not self._streams:
            self._opened.clear()
            self.heartbeat.beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._opened.wait(), IDLE_CHECK_INTERVAL.total_seconds())


def _encode_event(name: str, number: int) -> bytes:
    return f"event: {name}\nid: {number}\ndata: {{}}\n\n".encode()
