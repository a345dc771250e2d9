"""Which process owns INSTANCE: a replica that returns takes its leases back, and a twin is refused.

Two processes with one INSTANCE would end each other's leases for ever. The one that is alive keeps the
name, and the other one ends with status 2.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

from services.mail_ingest.metrics import INSTANCE_TWINS
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.instances import RunningInstance
from shared.errors import InvalidMessageError, MisconfiguredError, RetryableError
from shared.retry import OutageLog, retry_until_available
from shared.service import StopSignal

log = logging.getLogger(__name__)

ALIVE_EVERY = timedelta(seconds=1)
SILENT_FOR = 2.5 * ALIVE_EVERY
"""A process that has not shown itself for this time has ended, or stands still."""
CLAIM_PAUSE = timedelta(seconds=0.2)


class InstanceClaim:
    """The claim of this process to its INSTANCE; without a name there is none.

    Attributes:
        refused: processes that wanted the same INSTANCE while this one was alive.
    """

    def __init__(self, store: Store, instance: str | None) -> None:
        self.refused = 0
        self._store = store
        self._instance = instance
        self._process = uuid4().hex

    async def acquire(self) -> None:
        """Registers this process, and ends the leases of the one that ran under its name before.

        A process that was killed is silent from then on; that its successor waits until this is certain
        takes no longer than `SILENT_FOR`.

        Raises:
            MisconfiguredError: another process runs under this INSTANCE.
        """
        if not self._instance:
            return
        instance, outage = self._instance, OutageLog(log, "waiting for MongoDB")
        first = current = await retry_until_available(self._claim, outage)
        while current.process != self._process:
            if current.process == first.process and current.seen != first.seen:
                await self._store.instances.report_refusal(instance, current.process)
                raise MisconfiguredError(_twin(instance))
            await asyncio.sleep(CLAIM_PAUSE.total_seconds())
            current = await retry_until_available(self._claim, outage)
            if current.process != first.process:
                first = current
        self.refused = current.refused
        await retry_until_available(lambda: self._store.mailbox_leases.end_leases(instance), outage)

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Acquires the name for the time of the block."""
        await self.acquire()
        try:
            yield
        finally:
            if self._instance:
                with contextlib.suppress(RetryableError):
                    await self._store.instances.release(self._instance, self._process)

    async def count_refused(self) -> int:
        """For `/status`."""
        return self.refused

    async def run(self, stop_signal: StopSignal) -> None:
        """Shows that this process is alive, until the service stops.

        Raises:
            MisconfiguredError: another process has taken the name, because this one stood still.
        """
        outage = OutageLog(log, "waiting for MongoDB to show that this process is alive")
        while self._instance and not stop_signal:
            began = time.monotonic()
            try:
                await self._show_alive(self._instance)
                outage.succeeded()
            except (RetryableError, InvalidMessageError) as error:
                outage.failed(error)
            left = ALIVE_EVERY.total_seconds() - (time.monotonic() - began)
            await stop_signal.sleep(timedelta(seconds=max(0.0, left)))
        await stop_signal.wait()

    async def _show_alive(self, instance: str) -> None:
        alive = await self._store.instances.show_alive(instance, self._process)
        if alive is None:  # the name was taken, or an older copy of the database does not know this process
            alive = await self._claim()
        if alive.process != self._process:
            raise MisconfiguredError(_twin(instance))
        if alive.refused > self.refused:
            log.error("another process has the same INSTANCE, it is refused", extra={"instance": instance})
            INSTANCE_TWINS.inc(alive.refused - self.refused)
            self.refused = alive.refused

    async def _claim(self) -> RunningInstance:
        return await self._store.instances.claim(self._instance or "", self._process, SILENT_FOR)


def _twin(instance: str) -> str:
    return f"another process runs under INSTANCE={instance}; each replica needs a name of its own"
