"""Acquires the leases of mailboxes with work, a limited number at a time, and runs a sync for each.

A mailbox that fails harms no other: a refusal of Graph becomes the mailbox's status, a temporary failure
is retried later, and a worker that lost its lease stops.
"""

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.metrics import LEASES_LOST
from services.mail_ingest.store.held_mailbox import HeldMailbox
from services.mail_ingest.store.lease import Lease, LeaseLostError
from shared.errors import RetryableError
from shared.heartbeat import Heartbeat
from shared.retry import OutageLog
from shared.service import StopSignal

from .mailbox_sync import Dependencies, MailboxSync

log = logging.getLogger(__name__)

POLL_INTERVAL = timedelta(milliseconds=300)
"""How soon a worker finds work that another process recorded; work of this process wakes it at once."""
UNAVAILABLE_PAUSE = timedelta(seconds=1)
"""Between attempts while Kafka or MongoDB is unavailable."""
STOP_TIMEOUT = timedelta(seconds=5)
"""When the service stops, syncs in progress have this time; the next holder continues those cut short."""
RENEWALS_PER_LEASE = 3


class SyncWorkers:
    """The loop that runs the syncs of this replica."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._settings = dependencies.settings
        self._clock = dependencies.clock
        self.heartbeat = Heartbeat()
        self._name = uuid4().hex[:12]
        self._leases_requested = 0
        self._syncs: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._outage = OutageLog(log, "waiting for MongoDB to look for work")

    def wake(self) -> None:
        """Makes the loop look for work at once."""
        self._work.set()

    async def run(self, stop_signal: StopSignal) -> None:
        """Runs until the service stops."""
        stop = asyncio.create_task(stop_signal.wait())
        try:
            while not stop_signal:
                self.heartbeat.beat()
                self._work.clear()
                has_free_worker = len(self._syncs) < self._settings.workers
                started = has_free_worker and await self._start_sync()
                if not started:
                    await self._rest(stop)
        finally:
            stop.cancel()
            if self._syncs:
                await asyncio.wait(self._syncs, timeout=STOP_TIMEOUT.total_seconds())
            for sync in self._syncs:
                sync.cancel()
            await asyncio.gather(*self._syncs, return_exceptions=True)

    async def _rest(self, stop: "asyncio.Task[None]") -> None:
        """Waits until there is work, a sync ends, or the poll interval is over."""
        work = asyncio.create_task(self._work.wait())
        watched: set[asyncio.Task[None] | asyncio.Task[bool]] = {work, stop, *self._syncs}
        if len(self._syncs) >= self._settings.workers:
            watched.discard(work)
        await asyncio.wait(
            watched, timeout=POLL_INTERVAL.total_seconds(), return_when=asyncio.FIRST_COMPLETED
        )
        work.cancel()

    async def _start_sync(self) -> bool:
        """Starts a sync of the mailbox that has been due for longest.

        Returns:
            Whether there was one.
        """
        self._leases_requested += 1
        holder, requested_at = f"{self._name}.{self._leases_requested}", time.monotonic()
        try:
            key = await self._store.mailboxes.acquire_lease(holder, self._settings.lease)
        except RetryableError as error:
            self._outage.failed(error)
            await asyncio.sleep(UNAVAILABLE_PAUSE.total_seconds())
            return False
        self._outage.succeeded()
        if key is None:
            return False
        lease = Lease(key, holder, self._settings.lease, requested_at)
        sync = asyncio.create_task(self._run_sync(lease), name="mailbox sync")
        self._syncs.add(sync)
        sync.add_done_callback(self._syncs.discard)
        return True

    async def _run_sync(self, lease: Lease) -> None:
        """Runs a sync, and handles its end."""
        held = self._store.mailboxes.held(lease)
        async with self._renewing(held):
            try:
                await self._finish_sync(MailboxSync(self._dependencies, lease), held)
            except LeaseLostError:
                LEASES_LOST.inc()
                log.warning("lease lost, stopping this sync", extra=_fields(lease))
            except RetryableError as error:
                log.warning(
                    "mailbox sync failed, retrying",
                    extra=_fields(lease)
                    | {"error": str(error), "retry_in": UNAVAILABLE_PAUSE.total_seconds()},
                )
                await asyncio.sleep(UNAVAILABLE_PAUSE.total_seconds())
                await self._release_now(held)
            except asyncio.CancelledError:
                await self._release_now(held)
                raise
            except Exception as error:  # noqa: BLE001  # the lease ends by itself, and the next holder retries
                _log_unexpected(error, lease)

    async def _finish_sync(self, sync: MailboxSync, held: HeldMailbox) -> None:
        """Runs a sync and releases the lease; a refusal of Graph and an error of our own are recorded."""
        try:
            await sync.run()
        except (GraphUnavailableError, MailboxBlockedError) as error:
            await sync.record_failure(error)
        except (LeaseLostError, RetryableError):
            raise
        except Exception as error:  # noqa: BLE001  # an error in one mailbox must not stop the others
            _log_unexpected(error, held.lease)
            await sync.record_failure(MailboxBlockedError(BlockReason.UNEXPECTED))
        await held.release_lease(await sync.next_due_at())

    async def _release_now(self, held: HeldMailbox) -> None:
        """Releases the lease for the next holder; when MongoDB is unavailable it ends by itself."""
        try:
            await held.release_lease(self._clock())
        except RetryableError as error:
            log.info("lease not released, it will expire", extra=_fields(held.lease) | {"error": str(error)})

    @contextlib.asynccontextmanager
    async def _renewing(self, held: HeldMailbox) -> AsyncIterator[None]:
        """Renews a lease for as long as the block runs."""
        renewals = asyncio.create_task(self._renew(held))
        try:
            yield
        finally:
            renewals.cancel()

    async def _renew(self, held: HeldMailbox) -> None:
        lease = held.lease
        while True:
            await asyncio.sleep(lease.duration.total_seconds() / RENEWALS_PER_LEASE)
            requested_at = time.monotonic()
            try:
                if not await held.renew_lease():
                    lease.revoke()
                    return
            except RetryableError:
                continue  # without a renewal it ends by itself, here and in MongoDB
            lease.extend(requested_at)


def _fields(lease: Lease) -> dict[str, object]:
    return {"tenant": lease.key.tenant, "mailbox": lease.key.mailbox}


def _log_unexpected(error: Exception, lease: Lease) -> None:
    """Logs the error's class and the innermost place in our own code; its text may hold private data."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "mail_ingest" in frame.filename]
    where = f"{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    log.error(
        "mailbox sync failed unexpectedly, retrying later",
        extra=_fields(lease) | {"error": type(error).__name__, "at": where},
    )
