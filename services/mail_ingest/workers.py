"""Takes the leases of mailboxes that have something to do, so many at once, and gives each its turn.

A mailbox that fails harms no other: what Graph refuses becomes its state, what passes is tried
again later, and a lease that was lost is simply left.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from shared.errors import Transient
from shared.events import MailboxStatus
from shared.service import Stopping

from .domain.standing import UNEXPECTED, Standing, after_block, after_passing
from .errors import Blocked, Unavailable
from .metrics import LEASES_LOST
from .saying import Lease, LeaseLost
from .turn import Tools, Turn

log = logging.getLogger(__name__)

IDLE = timedelta(milliseconds=300)
"""How soon work that another process noted is seen; what is noted here is seen at once."""
AWAY = timedelta(seconds=1)
"""Between attempts while Kafka or MongoDB is away."""
FINISH = timedelta(seconds=5)
"""Turns under way have this long when the service stops; a turn cut short is taken up by the next holder."""
RENEWALS = 3
"""Renewals in the time of a lease."""


class Workers:
    """The loop that works."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store, self._settings, self._clock = tools.store, tools.settings, tools.clock
        self._name = uuid4().hex[:12]
        self._taken = 0
        self._turns: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._came_round = time.monotonic()

    def wake(self) -> None:
        """There is something to do."""
        self._work.set()

    def silent_for(self) -> float:
        """Seconds since the loop last came round."""
        return time.monotonic() - self._came_round

    async def run(self, stopping: Stopping) -> None:
        """Until the service stops."""
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping:
                self._came_round = time.monotonic()
                self._work.clear()
                took = len(self._turns) < self._settings.workers and await self._take()
                if not took:
                    await self._rest(stop)
        finally:
            stop.cancel()
            if self._turns:
                await asyncio.wait(self._turns, timeout=FINISH.total_seconds())
            for turn in self._turns:
                turn.cancel()
            await asyncio.gather(*self._turns, return_exceptions=True)

    async def _rest(self, stop: "asyncio.Task[None]") -> None:
        """Until there is work, a turn ends, or it is time to look."""
        work = asyncio.create_task(self._work.wait())
        watched: set[asyncio.Task[None] | asyncio.Task[bool]] = {work, stop, *self._turns}
        if len(self._turns) >= self._settings.workers:
            watched.discard(work)
        await asyncio.wait(watched, timeout=IDLE.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        work.cancel()

    async def _take(self) -> bool:
        """Starts a turn at a mailbox, if one has something to do."""
        self._taken += 1
        holder, asked = f"{self._name}.{self._taken}", time.monotonic()
        try:
            mailbox = await self._store.take(holder, self._settings.lease)
        except Transient as away:
            log.warning("cannot look for work", extra={"why": str(away)})
            await asyncio.sleep(AWAY.total_seconds())
            return False
        if mailbox is None:
            return False
        turn = asyncio.create_task(
            self._turn(Lease(mailbox.key, holder, self._settings.lease, asked)), name="turn"
        )
        self._turns.add(turn)
        turn.add_done_callback(self._turns.discard)
        return True

    async def _turn(self, lease: Lease) -> None:
        """A turn, and what its end means for the mailbox."""
        async with self._renewed(lease):
            try:
                await self._finish(Turn(self._tools, lease), lease)
            except LeaseLost:
                LEASES_LOST.inc()
                log.warning("a lease was lost")
            except Transient as away:
                log.warning("a turn must wait", extra={"why": str(away)})
                await asyncio.sleep(AWAY.total_seconds())
                await self._let_go(lease)
            except asyncio.CancelledError:
                await self._let_go(lease)
                raise
            except Exception as error:  # noqa: BLE001  # the lease ends by itself, and the next holder tries
                _say_what_failed(error)

    async def _finish(self, turn: Turn, lease: Lease) -> None:
        """A whole turn; what Graph refuses is kept, and so is that something went wrong here."""
        try:
            await turn.run()
        except (Unavailable, Blocked) as refused:
            await self._refused(turn, lease, refused)
        except (LeaseLost, Transient):
            raise
        except Exception as error:  # noqa: BLE001  # one mailbox's oddity stops nobody else's capture
            _say_what_failed(error)
            await self._refused(turn, lease, Blocked(UNEXPECTED))
        await self._store.release(lease.key, lease.holder, await turn.next_at())

    async def _let_go(self, lease: Lease) -> None:
        """For whoever comes next; where MongoDB is away the lease ends by itself."""
        try:
            await self._store.release(lease.key, lease.holder, self._clock())
        except Transient:
            log.info("a lease is left to end")

    async def _refused(self, turn: Turn, lease: Lease, refused: Unavailable | Blocked) -> None:
        """Keeps what a failure means: when to try again, and whether the mailbox is blocked."""
        mailbox = await self._store.held(lease.key, lease.holder)
        if mailbox is None:
            raise LeaseLost
        failures, now = mailbox.failures + 1, self._clock()
        standing: Standing
        if isinstance(refused, Blocked):
            standing = after_block(failures, now, refused.reason, self._settings.retry_blocked)
        else:
            standing = after_passing(failures, now, refused.retry_after, throttled=refused.throttled)
        await self._store.keep(lease.key, lease.holder, retry_at=standing.retry_at, failures=failures)
        if standing.reason is None or (
            mailbox.status is MailboxStatus.BLOCKED and mailbox.reason == standing.reason
        ):
            return
        if isinstance(refused, Blocked) and refused.tenant_wide:
            await self._store.block_tenant(mailbox.tenant, standing.reason, now, standing.retry_at)
        log.warning(
            "a mailbox is blocked",
            extra={"tenant": mailbox.tenant, "mailbox": mailbox.mailbox, "reason": standing.reason},
        )
        states = [MailboxStatus.ENROLLED, MailboxStatus.BLOCKED]
        await turn.note_state(of=states, status=MailboxStatus.BLOCKED, reason=standing.reason, since=now)

    @asynccontextmanager
    async def _renewed(self, lease: Lease) -> AsyncIterator[None]:
        """Renews a lease for as long as the block takes."""
        renewing = asyncio.create_task(self._renew(lease))
        try:
            yield
        finally:
            renewing.cancel()

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(lease.time.total_seconds() / RENEWALS)
            asked = time.monotonic()
            try:
                if not await self._store.renew(lease.key, lease.holder, lease.time):
                    lease.lost()
                    return
            except Transient:
                continue  # it ends by itself, here and there
            lease.extended(asked)


def _say_what_failed(error: Exception) -> None:
    """Its class and the innermost place in our own code; its message may hold what the mailbox holds."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "mail_ingest" in frame.filename]
    where = f"{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    log.error("a turn failed", extra={"error": type(error).__name__, "at": where})
