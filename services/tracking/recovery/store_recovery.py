"""Decides when the store may be used, and recovers it when it is lost or an older copy.

    comparing -> (recovering ->) reading -> in use -> comparing, when the store is behind what was seen of it

*Comparing* looks for proof that the store does not fit the topics. *Recovering* reads the tables in the order
of `TABLES`, all replicas together; its state is in the store. *Reading* waits until the store has all of
`records` and `tracked-activities` as they ended at this replica's start. Only in use, the API answers, the
outbox publishes, and `content` is read.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from services.tracking.domain.recovery import DESCRIPTIONS, Cause, is_long, judge
from services.tracking.metrics import RECOVERIES, RECOVERING
from services.tracking.publishing.republication import request_republication
from services.tracking.read_positions import name_of
from services.tracking.store import Recovery, Store, StoreState
from shared.broker import KafkaClient, TopicPartition
from shared.clock import Clock, next_version
from shared.errors import RetryableError
from shared.heartbeat import Heartbeat
from shared.retry import OutageLog
from shared.service import StopSignal
from shared.topics import CONTENT, MAILBOXES, MATCHES, RECORDS, TRACKED_ACTIVITIES, Topic

from .evidence import Evidence, accept_commits, collect_evidence
from .reading import Reading
from .tables import TableRecovery

log = logging.getLogger(__name__)

TABLES: tuple[Topic[Any, Any], ...] = (RECORDS, MAILBOXES, TRACKED_ACTIVITIES, MATCHES)
"""In the order in which a recovery reads them."""
READ_BEFORE_USE = (RECORDS, TRACKED_ACTIVITIES)
"""Who may read a record, and what is untracked, is known before the first answer."""
POLL_INTERVAL = timedelta(seconds=0.1)
"""Interval of a replica whose store is not in use yet."""
RENEW_INTERVAL = timedelta(seconds=2)
"""A store that was replaced is found at the next request, or after this time."""


class StoreRecovery:
    """The store as one replica knows it.

    Args:
        store: the database.
        kafka: the topics.
        clock: the server's clock.
        in_use: the store is in use from the beginning; for tests without Kafka.
    """

    def __init__(self, store: Store, kafka: KafkaClient, clock: Clock, *, in_use: bool = False) -> None:
        self.heartbeat = Heartbeat()
        self._store = store
        self._kafka = kafka
        self._tables = TableRecovery(store, clock)
        self._clock = clock
        self._why: str | None = None if in_use else "the store is being compared with the topics"
        self._seen = 0
        self._is_behind = False
        self._joined: JoinedRecovery | None = None
        self._reading: Reading | None = None
        self._readable: set[str] = set()
        self._readable_changed = asyncio.Condition()
        self._topic_ids: dict[str, str] = {}

    # -- for the other parts of the service -------------------------------------------------------

    async def refusal(self) -> str | None:
        """Why the store must not be used now, or None.

        Raises:
            RetryableError: MongoDB is unavailable.
        """
        if self._why is None and (seen := self._seen):
            state = await self._store.state.find()
            if state is None or state.version < seen:
                self.on_store_behind()
            elif state.recovery:
                self._why = _describe(state.recovery)
        return self._why

    @property
    def in_use(self) -> bool:
        """Whether the store may be used, as this replica last knew."""
        return self._why is None

    def on_store_behind(self) -> None:
        """The store has less than this replica has seen of it: it is another one, or an older copy."""
        self._is_behind = True
        self._why = DESCRIPTIONS[Cause.RESTORED]

    async def wait_until_readable(self, topic: Topic[Any, Any]) -> None:
        """Returns when the topic may be read from its stored positions."""
        async with self._readable_changed:
            await self._readable_changed.wait_for(lambda: topic.name in self._readable)

    async def run(self, stop_signal: StopSignal) -> None:
        """The loop."""
        outage = OutageLog(log, "the store cannot be compared with the topics, retrying")
        while not stop_signal:
            self.heartbeat.beat()
            try:
                await self._step()
            except RetryableError as error:
                outage.failed(error)
            else:
                outage.succeeded()
            RECOVERING.set(not self.in_use)
            await stop_signal.sleep(POLL_INTERVAL if self._why else RENEW_INTERVAL)

    # -- steps ------------------------------------------------------------------------------------

    async def _step(self) -> None:
        state = await self._renew()
        if state and state.recovery:
            await self._take_part(state.recovery)
        elif self._is_behind or self._reading is None:
            await self._compare()
        elif self._why:
            await self._read(self._reading)
        else:
            await self._watch()

    async def _renew(self) -> StoreState | None:
        """The store's state; it is not renewed before the store is in use, since it has the age of a copy."""
        seen, state = self._seen, None
        if self.in_use:
            state = await self._store.state.renew(seen, next_version(self._clock(), seen))
        state = state or await self._store.state.find()
        if seen and (state is None or state.version < seen):
            self.on_store_behind()
        elif state:
            self._seen = max(seen, state.version) if seen else 0
        return state

    async def _compare(self) -> None:
        """Looks for proof that the store does not fit the topics."""
        evidence = await collect_evidence(self._store, self._kafka)
        now = self._clock()
        cause = judge(
            evidence.progress,
            is_empty=evidence.is_empty,
            has_published=evidence.has_published,
            age=now - evidence.since if evidence.since else None,
        )
        if self._is_behind:
            cause = Cause.LOST if evidence.is_empty else Cause.RESTORED
        if cause:
            await self._open_recovery(cause, evidence)
            return
        if self._kafka.full_name(TRACKED_ACTIVITIES) in evidence.new_topics:
            await self._resend()
        await self._store.state.create(next_version(now))
        state = await self._store.state.find()
        self._seen = max(self._seen, state.version) if state else 0
        names = {name for topic in READ_BEFORE_USE for name in self._kafka.topic_names(topic)}
        self._reading = Reading(
            self._store, self._kafka, {tp: end for tp, end in evidence.ends.items() if tp.topic in names}
        )
        self._why = "records and tracked-activities are being read"
        await self._allow(*TABLES)

    async def _read(self, reading: Reading) -> None:
        """Waits until the store has what this replica needs before its first answer."""
        if unread := await reading.count_unread():
            self._why = f"records and tracked-activities are being read, {unread} offsets are left"
        elif await self._store.topic_states.has_newer():
            await self._open_recovery(Cause.RESTORED, await collect_evidence(self._store, self._kafka))
        else:
            self._why = None
            await self._allow(CONTENT)
            log.info("store compared with the topics, in use")

    async def _watch(self) -> None:
        """Finds topics that were made anew, and states on the topic that the store should have."""
        if await self._store.topic_states.has_newer():
            self._reading, self._why = None, DESCRIPTIONS[Cause.RESTORED]
            return
        names = [
            name for consumer in self._kafka.consumers for name in self._kafka.topic_names(consumer.topic)
        ]
        ids = await self._kafka.topic_ids(names)
        known, self._topic_ids = self._topic_ids, ids
        changed = {name for name in known if known[name] != ids.get(name)}
        if self._kafka.full_name(TRACKED_ACTIVITIES) in changed:
            await self._resend()
        for consumer in self._kafka.consumers:
            if changed.intersection(self._kafka.topic_names(consumer.topic)):
                log.warning(
                    "topic was made anew, reading it from its start", extra={"topic": consumer.topic.name}
                )
                await consumer.seek_again()

    async def _resend(self) -> None:
        tenants = await self._store.tracked_activities.find_tenants()
        await request_republication(self._store, dict.fromkeys(tenants, False), self._clock())
        log.warning("tracked-activities was made anew, publishing again", extra={"tenants": len(tenants)})

    async def _allow(self, *topics: Topic[Any, Any]) -> None:
        async with self._readable_changed:
            self._readable |= {topic.name for topic in topics}
            self._readable_changed.notify_all()

    # -- a recovery -------------------------------------------------------------------------------

    async def _open_recovery(self, cause: Cause, evidence: Evidence) -> None:
        now = self._clock()
        since = evidence.since
        names = {name for topic in TABLES for name in self._kafka.topic_names(topic)}
        last_version = evidence.state.version if evidence.state else 0
        recovery = Recovery(
            # Also the next generation of positions, although another server's clock may be ahead.
            next_version(now, max(self._seen, last_version, evidence.generation)),
            cause,
            since,
            cause is not Cause.LOST and (since is None or is_long(now - since)),
            evidence.new_topics,
            [(tp.topic, tp.partition, end) for tp, end in evidence.ends.items() if tp.topic in names],
        )
        await self._store.state.open_recovery(recovery)

    async def _take_part(self, recovery: Recovery) -> None:
        self._why = _describe(recovery)
        if self._joined is None or self._joined.recovery.id != recovery.id:
            self._joined = await self._join(recovery)
        for topic in TABLES:
            await self._allow(topic)
            if unread := await self._joined.readings[topic.name].count_unread():
                self._why = f"{_describe(recovery)}; {topic.name} is being read, {unread} offsets are left"
                return
            if topic.name not in self._joined.done:
                await self._tables.after(topic, self._kafka.topic_names(topic), recovery)
                self._joined.done.add(topic.name)
        if recovery.cause is not Cause.AWAY:
            await self._tables.close_what_no_topic_holds(recovery)
        if self._kafka.full_name(TRACKED_ACTIVITIES) in recovery.new_topics:
            await self._resend()
        await accept_commits(self._store, self._kafka, recovery.id)
        if await self._store.state.finish_recovery(recovery.id):
            log.warning("store recovered", extra={"cause": recovery.cause.value})
        self._reading = None  # compares again

    async def _join(self, recovery: Recovery) -> "JoinedRecovery":
        log.warning(
            "store does not fit the topics, recovering",
            extra={
                "cause": recovery.cause.value,
                "since": recovery.since,
                "all of the tables": recovery.is_long,
            },
        )
        RECOVERIES.labels(recovery.cause.value).inc()
        self._readable.clear()
        await self._store.create_indexes()
        ends = {TopicPartition(topic, number): end for topic, number, end in recovery.ends}
        if recovery.is_long:
            again = [name_of(tp) for tp in ends if tp.topic not in recovery.new_topics]
            await self._store.read_positions.begin_generation(again, recovery.id)
        for consumer in self._kafka.consumers:
            await consumer.seek_again()
        self._is_behind, self._seen = False, max(self._seen, recovery.id)
        readings = {}
        for topic in TABLES:
            names = self._kafka.topic_names(topic)
            own = {tp: end for tp, end in ends.items() if tp.topic in names}
            readings[topic.name] = Reading(self._store, self._kafka, own)
        return JoinedRecovery(recovery, readings)


@dataclass(frozen=True, slots=True)
class JoinedRecovery:
    """A recovery that this replica takes part in.

    Attributes:
        readings: by the name of the table.
        done: names of the tables whose steps are done.
    """

    recovery: Recovery
    readings: Mapping[str, Reading]
    done: set[str] = field(default_factory=set)


def _describe(recovery: Recovery) -> str:
    since = f", last in use at {recovery.since.isoformat(timespec='seconds')}" if recovery.since else ""
    return f"{DESCRIPTIONS[recovery.cause]}{since}"
