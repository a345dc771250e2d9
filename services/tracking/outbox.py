"""Note, say, confirm: what documents are noted for, said on Kafka.

A document that is `unsent` is taken for a moment, said as it then is, and confirmed if it has not
changed since. A crash says a thing twice. Replicas share the work: what one has taken another
leaves alone, until the first is dead by MongoDB's clock; one that slept through that finds a newer
revision when it confirms, and the newer one is said again, so that the last word on each key is the
newest.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from datetime import timedelta
from time import monotonic
from uuid import uuid4

from shared.broker import Kafka
from shared.bus import Outgoing
from shared.clock import Clock, micros
from shared.errors import Rejected, Transient
from shared.events import FetchContent
from shared.records import RecordKey
from shared.service import Stopping
from shared.topics import CONTENT_REQUESTS, TRACKED_ACTIVITIES

from .domain.activity import Claim, Tracked, event
from .domain.visibility import DefaultReaders, Record
from .metrics import CLAIMS, SAID
from .store import Store

log = logging.getLogger(__name__)

LOOKS_EVERY = timedelta(seconds=0.5)
"""What another replica noted and died over waits this long, beside its fifteen seconds."""
AT_ONCE = 100
"""Documents taken at a time."""
DEADLINE = timedelta(seconds=10)
"""Kafka's answer must be here well before what was taken is free again."""


class Outbox:
    """Says what is unsent, for as long as the service runs.

    Args:
        subjects: whether events carry the subject.
    """

    def __init__(
        self, store: Store, kafka: Kafka, readers: DefaultReaders, clock: Clock, *, subjects: bool
    ) -> None:
        self._store = store
        self._kafka = kafka
        self._readers = readers
        self._clock = clock
        self._subjects = subjects
        self._token = uuid4().hex
        self._noted = asyncio.Event()
        self._came_round = monotonic()

    def wake(self) -> None:
        """Something was noted."""
        self._noted.set()

    def silent_for(self) -> float:
        """Seconds since the loop last came round."""
        return monotonic() - self._came_round

    async def run(self, stopping: Stopping) -> None:
        """The loop."""
        while not stopping:
            self._came_round = monotonic()
            self._noted.clear()
            try:
                if await self.say():
                    continue
            except Transient as away:
                log.warning("the outbox will try again", extra={"why": str(away)})
            await self._rest(stopping)

    async def _rest(self, stopping: Stopping) -> None:
        noted = asyncio.create_task(self._noted.wait())
        stop = asyncio.create_task(stopping.sleep(LOOKS_EVERY))
        await asyncio.wait({noted, stop}, return_when=asyncio.FIRST_COMPLETED)
        for task in (noted, stop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def say(self) -> int:
        """Says what is unsent now, the first hundred of each; answers how many were."""
        CLAIMS.labels("late").inc(await self._store.claims.fail_late(self._clock()))
        return await self._say_claims() + await self._say_tracked()

    async def _say_claims(self) -> int:
        claims = await self._store.claims.take(self._token, AT_ONCE)
        if claims:
            await self._kafka.producer.send(*map(_request, claims), deadline=DEADLINE)
            await self._store.claims.confirm(claims)
            SAID.labels(CONTENT_REQUESTS.name).inc(len(claims))
        return len(claims)

    async def _say_tracked(self) -> int:
        taken = await self._store.tracked.take(self._token, AT_ONCE)
        if not taken:
            return 0
        records = await self._store.records.many(
            entry.record for tracked in taken for entry in tracked.regarding
        )
        results = await asyncio.gather(
            *(self._announce(tracked, records) for tracked in taken), return_exceptions=True
        )
        said = [tracked for tracked, result in zip(taken, results, strict=True) if result is None]
        if said:
            await self._store.tracked.confirm(said, self._clock())
            SAID.labels(TRACKED_ACTIVITIES.name).inc(len(said))
        _raise_first(result for result in results if isinstance(result, BaseException))
        return len(said)

    async def _announce(self, tracked: Tracked, records: dict[RecordKey, Record]) -> None:
        key = tracked.tenant, tracked.id
        messages = [
            Outgoing(
                TRACKED_ACTIVITIES,
                key,
                event(tracked, records.get, self._readers.resolved, subjects=self._subjects),
                tracked.revision,
            )
        ]
        if not tracked.is_live:
            messages.append(Outgoing(TRACKED_ACTIVITIES, key, None, tracked.revision))
        try:
            await self._kafka.producer.send(*messages, deadline=DEADLINE)
        except Rejected as reason:
            # Its note stays, and the others go on.
            log.error(
                "a tracked activity cannot be announced", extra={"activity": tracked.id, "why": reason.reason}
            )  # noqa: TRY400  # nothing failed here
            raise


def _request(claim: Claim) -> Outgoing:
    tenant, mailbox, item = claim.item
    value = FetchContent(claim=claim.id, item=item, kind=claim.kind, deadline=claim.deadline)
    return Outgoing(CONTENT_REQUESTS, (tenant, mailbox), value, micros(claim.opened_at))


def _raise_first(errors: Iterable[BaseException]) -> None:
    for error in errors:
        if not isinstance(error, Rejected):
            raise error
