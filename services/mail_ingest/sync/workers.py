"""Acquires the leases of mailboxes with work, a limited number at a time, and runs a sync for each.

A mailbox that fails harms no other: a refusal of Graph becomes the mailbox's status, a temporary failure
is retried later, and a worker that lost its lease stops.
"""

import asyncio
import contextlib
import logging
import math
import time
import traceback
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.metrics import LEASES_LOST
from services.mail_ingest.recovery.gate import StoreGate
from services.mail_ingest.store.documents import Mailbox, Work
from services.mail_ingest.store.held_mailbox import HeldMailbox
from services.mail_ingest.store.lease import Lease, LeaseLostError, lease_prefix
from shared.errors import InvalidMessageError, RetryableError
from shared.heartbeat import Heartbeat
from shared.retry import OutageLog
from shared.service import StopSignal

from .mailbox_sync import Dependencies, MailboxSync

log = logging.getLogger(__name__)

POLL_INTERVALS = {Work.FRESH: 1.0, Work.ROUTINE: 2.0}
"""Seconds until work is found that another process recorded; that of this process wakes the loop at once."""
RESERVED_PART = 1 / 4
"""The part of the workers that does fresh work alone; at least one, where there are several."""
ROUTINE_BURST = timedelta(seconds=1)
"""Routine syncs that were not begun within this time may be made up for at once."""
UNAVAILABLE_PAUSE = timedelta(seconds=1)
"""Between attempts while Kafka or MongoDB is unavailable."""
CLOSED_PAUSE = timedelta(seconds=0.2)
"""Until the gate is looked at again."""
STOP_TIMEOUT = timedelta(seconds=5)
"""When the service stops, syncs in progress have this time; the next holder continues those cut short."""
RENEWALS_PER_LEASE = 3


class SyncWorkers:
    """The loop that runs the syncs of this replica.

    Fresh work comes first, and some workers do nothing else, so that an item that Graph has just notified
    does not wait while windows, renewals and resends are worked off. Routine syncs begin at a bounded rate.
    """

    def __init__(self, dependencies: Dependencies, gate: StoreGate) -> None:
        self._gate = gate
        self._dependencies = dependencies
        self._store = dependencies.store
        self._settings = dependencies.settings
        self._clock = dependencies.clock
        self.heartbeat = Heartbeat()
        self._name = f"{lease_prefix(self._settings.instance)}{uuid4().hex[:12]}"
        self._leases_requested = 0
        self._syncs: dict[asyncio.Task[None], Work] = {}
        self._next_look = dict.fromkeys(Work, 0.0)
        self._not_before = dict.fromkeys(Work, 0.0)
        self._woken = asyncio.Event()
        self._outage = OutageLog(log, "waiting for MongoDB to look for work")

    def wake(self, work: Work) -> None:
        """Makes the loop look for work of this class at once."""
        self._next_look[work] = 0.0
        self._woken.set()

    async def run(self, stop_signal: StopSignal) -> None:
        """Runs until the service stops."""
        stop = asyncio.create_task(stop_signal.wait())
        try:
            while not stop_signal:
                self.heartbeat.beat()
                self._woken.clear()
                if not self._gate.is_open:
                    await stop_signal.sleep(CLOSED_PAUSE)
                elif not (await self._start_sync(Work.FRESH) or await self._start_sync(Work.ROUTINE)):
                    await self._rest(stop)
        finally:
            stop.cancel()
            syncs = list(self._syncs)
            if syncs:
                await asyncio.wait(syncs, timeout=STOP_TIMEOUT.total_seconds())
            for sync in syncs:
                sync.cancel()
            await asyncio.gather(*syncs, return_exceptions=True)

    async def _rest(self, stop: "asyncio.Task[None]") -> None:
        """Waits until there is work, a sync ends, or it is time to look for work again."""
        woken = asyncio.create_task(self._woken.wait())
        looks = [self._look_at(work) for work in Work if self._has_free_worker(work)]
        seconds = min(looks, default=math.inf) - time.monotonic()
        await asyncio.wait(
            {woken, stop, *self._syncs},
            timeout=min(max(seconds, 0.0), max(POLL_INTERVALS.values())),
            return_when=asyncio.FIRST_COMPLETED,
        )
        woken.cancel()

    def _has_free_worker(self, work: Work) -> bool:
        if len(self._syncs) >= self._settings.workers:
            return False
        return work is Work.FRESH or list(self._syncs.values()).count(work) < self._routine_workers

    @property
    def _routine_workers(self) -> int:
        workers = self._settings.workers
        return workers - max(1, int(workers * RESERVED_PART)) if workers > 1 else workers

    def _look_at(self, work: Work) -> float:
        """When to look for work of a class again, in monotonic seconds."""
        return max(self._next_look[work], self._not_before[work])

    async def _start_sync(self, work: Work) -> bool:
        """Starts a sync of the mailbox whose work of a class has been due for longest.

        Returns:
            Whether there was one.
        """
        requested_at = time.monotonic()
        if not self._has_free_worker(work) or self._look_at(work) > requested_at:
            return False
        self._next_look[work] = requested_at + POLL_INTERVALS[work]
        self._leases_requested += 1
        holder = f"{self._name}.{self._leases_requested}"
        try:
            mailbox = await self._store.mailbox_leases.acquire_lease(
                work, holder, self._settings.lease, self._clock()
            )
        except (RetryableError, InvalidMessageError) as error:
            self._outage.failed(error)
            await asyncio.sleep(UNAVAILABLE_PAUSE.total_seconds())
            return False
        self._outage.succeeded()
        if mailbox is None:
            return False
        self._next_look[work] = 0.0
        if work is Work.ROUTINE:
            earliest = max(self._not_before[work], requested_at - ROUTINE_BURST.total_seconds())
            self._not_before[work] = earliest + 1 / self._settings.routine_rate
        lease = Lease(mailbox.key, holder, self._settings.lease, requested_at)
        sync = asyncio.create_task(self._run_sync(lease, mailbox, work), name="mailbox sync")
        self._syncs[sync] = work
        sync.add_done_callback(self._syncs.pop)
        return True

    async def _run_sync(self, lease: Lease, mailbox: Mailbox, work: Work) -> None:
        """Runs a sync, and handles its end."""
        held = self._store.mailbox_leases.held(lease)
        async with self._renewing(held):
            try:
                await self._finish_sync(MailboxSync(self._dependencies, lease), held, mailbox, work)
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

    async def _finish_sync(self, sync: MailboxSync, held: HeldMailbox, mailbox: Mailbox, work: Work) -> None:
        """Runs a sync and releases the lease; a refusal of Graph and an error of our own are recorded."""
        is_unfinished = False
        try:
            await sync.run(mailbox, work)
        except (GraphUnavailableError, MailboxBlockedError) as error:
            await sync.record_failure(error)
        except (LeaseLostError, RetryableError):
            raise
        except Exception as error:  # noqa: BLE001  # an error in one mailbox must not stop the others
            _log_unexpected(error, held.lease)
            is_unfinished = True
            await sync.record_failure(MailboxBlockedError(BlockReason.UNEXPECTED))
        await held.release_lease(is_unfinished=is_unfinished)

    async def _release_now(self, held: HeldMailbox) -> None:
        """Releases the lease for the next holder; when MongoDB is unavailable it ends by itself."""
        try:
            await held.release_lease(is_unfinished=True)
        except (RetryableError, InvalidMessageError) as error:
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
            except (RetryableError, InvalidMessageError):
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
