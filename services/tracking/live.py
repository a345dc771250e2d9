"""Live timelines: a stream of server-sent events for each page that is open.

A stream says that something has changed, never what: the page reads its timeline again, and every
rule about who sees what is applied there. It begins with `ready`; a page that reads its timeline
after that has missed nothing, so a reconnection leaves no gap. Whatever replica made a change,
MongoDB's change stream tells it to all.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from time import monotonic

from shared.errors import Transient
from shared.records import RecordKey
from shared.service import Stopping

from .domain.visibility import User
from .store import Change, Store, joined
from .timelines import NotThere, Timelines

log = logging.getLogger(__name__)

DEBOUNCE = timedelta(milliseconds=100)
"""Changes that come together are told together."""
BEAT = timedelta(seconds=15)
"""A silent stream says that it is there: proxies cut what is silent for a minute."""
LASTS = timedelta(minutes=10)
"""Then the page comes again, with a fresh token: nobody listens longer than she may."""
AGAIN = timedelta(seconds=0.5)
"""Between two attempts to reach MongoDB."""


class _Stream:
    def __init__(self, user: User, key: RecordKey | None) -> None:
        self.owner = joined((user.tenant, user.oid))
        self.record = key and joined(key)
        self.changed = asyncio.Event()

    def concerned(self, change: Change) -> bool:
        return change.everything or change.owner == self.owner or self.record in change.records


class Live:
    """All open streams of this replica."""

    def __init__(self, store: Store, timelines: Timelines) -> None:
        self._changes = store.changes
        self._timelines = timelines
        self._streams: set[_Stream] = set()
        self._wanted = asyncio.Event()
        self._closing = False
        self._came_round = monotonic()

    def silent_for(self) -> float:
        """Seconds since the loop last came round."""
        return monotonic() - self._came_round

    async def streams(self) -> int:
        """How many are open."""
        return len(self._streams)

    async def events(self, user: User, key: RecordKey | None) -> AsyncIterator[bytes]:
        """The stream of one page: on a record that she may read, or of what is her own on any."""
        stream, number, ends = _Stream(user, key), 0, monotonic() + LASTS.total_seconds()
        self._streams.add(stream)
        self._wanted.set()
        try:
            yield _event("ready", number)
            while not self._closing and monotonic() < ends:
                try:
                    await asyncio.wait_for(stream.changed.wait(), BEAT.total_seconds())
                except TimeoutError:
                    yield b": here\n\n"
                    continue
                if not self._closing:
                    await asyncio.sleep(DEBOUNCE.total_seconds())
                stream.changed.clear()
                number += 1
                try:
                    if key:
                        await self._timelines.check(user, key)
                except NotThere:
                    yield _event("gone", number)
                    return
                except Transient:
                    return  # the page comes again
                yield _event("changed", number)
        finally:
            self._streams.discard(stream)

    async def run(self, stopping: Stopping) -> None:
        """The loop; at its end every stream ends, so that nothing holds up the drain."""
        watching, stop = asyncio.create_task(self._watch()), asyncio.create_task(stopping.wait())
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
        told = False
        while True:
            self._came_round = monotonic()
            try:
                await self._until_wanted()
                async for change in self._changes.watch():
                    told, self._came_round = False, monotonic()
                    self._tell(change)
                    if not self._streams:
                        break
            except Transient as away:
                if not told:
                    log.warning("changes are told again as soon as MongoDB is back", extra={"why": str(away)})
                told = True
                await asyncio.sleep(AGAIN.total_seconds())

    def _tell(self, change: Change | None) -> None:
        for stream in self._streams:
            if change and stream.concerned(change):
                stream.changed.set()

    async def _until_wanted(self) -> None:
        """Nobody watches the database for nobody."""
        if not self._streams:
            self._changes.forget()
        while not self._streams:
            self._wanted.clear()
            self._came_round = monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), 1)


def _event(name: str, number: int) -> bytes:
    return f"event: {name}\nid: {number}\ndata: {{}}\n\n".encode()
