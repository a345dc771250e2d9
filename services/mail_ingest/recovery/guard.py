"""Opens the gate when the database is as new as the topics, recovers it where it is not, and looks on."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import uuid4

from services.mail_ingest.metrics import RECOVERIES, RECOVERING, TOPICS_MADE_ANEW
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.marks import TopicMark
from shared.broker import Batch, KafkaClient, OnBatch, TableTail
from shared.clock import Clock
from shared.errors import RetryableError
from shared.heartbeat import Heartbeat
from shared.retry import OutageLog
from shared.service import StopSignal

from .comparison import Comparison, LossSign, StoreComparison
from .gate import COMPARING, StoreGate
from .late_messages import LateMessages
from .take_in import Progress, TakeIn

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=3)
CLOSED_PAUSE = timedelta(seconds=0.5)
RECOVERY_CLAIM = "*recovery"
"""In the collection `instances`; no INSTANCE is called so."""
CLAIM_SILENCE = timedelta(seconds=20)
"""A replica that recovers the database shows itself after every chunk."""


class StoreGuard:
    """The loop that keeps the gate.

    Attributes:
        gate: closed until the database may be used.
    """

    def __init__(
        self,
        store: Store,
        kafka: KafkaClient,
        comparison: StoreComparison,
        gate: StoreGate,
        clock: Clock,
        look_every: timedelta = LOOK_EVERY,
    ) -> None:
        self.gate = gate
        self._look_every = look_every
        self.heartbeat = Heartbeat()
        self._store = store
        self._kafka = kafka
        self._comparison = comparison
        self._clock = clock
        self._process = uuid4().hex
        self._known: dict[str, TopicMark] = {}
        self._last_sign: LossSign | None = None
        self._progress = Progress()
        self._readers = contextlib.AsyncExitStack()
        self._tails: dict[str, tuple[TableTail[Any, Any], LateMessages]] = {}

    async def run(self, stop_signal: StopSignal) -> None:
        """Compares, recovers and looks on, until the service stops."""
        outage = OutageLog(log, "waiting to compare the database with the topics")
        try:
            while not stop_signal:
                self.heartbeat.beat()
                try:
                    await (self._look() if self.gate.is_open else self._open())
                    outage.succeeded()
                except RetryableError as error:
                    outage.failed(error)
                await stop_signal.sleep(self._look_every if self.gate.is_open else CLOSED_PAUSE)
        finally:
            await self._readers.aclose()

    def guarded(self, on_batch: OnBatch[Any, Any]) -> OnBatch[Any, Any]:
        """A handler of batches that does nothing while the gate is closed, and records what it has done.

        It is recorded before its offsets are committed, so a commit beyond the record proves that another
        database has taken the place of this one.
        """

        async def handle(batch: Batch[Any, Any]) -> None:
            self.gate.check()
            await on_batch(batch)
            await self._record_handled(batch)

        return handle

    async def verify(self) -> None:
        """Raises StoreClosedError when what the database lacks proves nothing, because it is another one."""
        await self._is_in_place()
        self.gate.check()

    async def _record_handled(self, batch: Batch[Any, Any]) -> None:
        offsets: dict[str, dict[int, int]] = {}
        for message in batch.messages:
            of_topic = offsets.setdefault(message.position.topic, {})
            partition, after = message.position.partition, message.position.offset + 1
            of_topic[partition] = max(after, of_topic.get(partition, 0))
        for name, handled in offsets.items():
            await self._advance(name, handled)
            self.gate.check()

    async def describe(self) -> dict[str, Any]:
        """What it does, and what it has done, for `/status`."""
        return {
            "database": self.gate.reason or "in use",
            "last recovery": self._last_sign,
            **{name.replace("_", " "): count for name, count in asdict(self._progress).items()},
        }

    async def _look(self) -> None:
        """Compares the marks, and the messages since, with the documents."""
        ids = await self._kafka.topic_ids(self._comparison.names)
        if any(ids[name] != mark.topic_id for name, mark in self._known.items()):
            await self._close("a topic was made anew")
            return
        if not await self._is_in_place():
            return
        for name, (tail, late) in list(self._tails.items()):
            async for chunk in tail.read():
                late.add(chunk)
            if not await late.decide(self._clock()):
                await self._close("a message is newer than its document")
                return
            if not self._known[name].covers(TopicMark(self._known[name].topic_id, late.decided_before)):
                await self._advance(name, late.decided_before)

    async def _is_in_place(self) -> bool:
        """Closes the gate, and returns False, when another database has taken the place of this one."""
        stored = await self._store.marks.find_all()
        if not all(name in stored and stored[name].covers(mark) for name, mark in self._known.items()):
            await self._close("another database has taken the place of this one")
            return False
        return True

    async def _advance(self, name: str, offsets: Mapping[int, int]) -> None:
        if not await self._store.marks.advance(name, self._known[name], offsets):
            await self._close("another database has taken the place of this one")
            return
        self._known[name] = self._known[name].joined(offsets)

    async def _close(self, why: str) -> None:
        if not self.gate.is_open:  # the loop compares, or recovers, already
            return
        log.warning("the database is not used until it is compared with the topics", extra={"why": why})
        self.gate.close(COMPARING)
        self._tails.clear()
        await self._readers.aclose()

    async def _open(self) -> None:
        compared = await self._comparison.compare(self._known)
        if compared.sign or compared.unmarked:
            compared = await self._recover_once()
        await self._readers.aclose()
        for name, topic in self._comparison.written.items():
            offsets = compared.marks[name].offsets
            start = {tp: offsets.get(tp.partition, 0) for tp in await self._kafka.partitions(topic)}
            tail = await self._readers.enter_async_context(self._kafka.tail(topic, start))
            self._tails[name] = tail, LateMessages(topic.name, self._comparison.states[name])
        self._known = compared.marks
        RECOVERING.set(0)
        self.gate.open()
        log.info("the database is as new as the topics")

    async def _recover_once(self) -> Comparison:
        """Does what is needed, unless another replica does it.

        Returns:
            The comparison with the marks that hold afterwards.
        """
        await self._keep_claim(claim=True)
        try:
            compared = await self._comparison.compare(self._known)  # another replica may have done it
            if compared.sign:
                await self._recover(compared, compared.sign)
            if compared.made_anew & self._comparison.written.keys():
                await self._publish_again(compared)
            if compared.sign or compared.unmarked:
                await self._store.marks.replace(compared.marks)
            return compared
        finally:
            await self._store.instances.release(RECOVERY_CLAIM, self._process)

    async def _recover(self, compared: Comparison, sign: LossSign) -> None:
        log.warning("recovering the database from the topics", extra={"sign": sign})
        RECOVERIES.labels(sign).inc()
        RECOVERING.set(1)
        self.gate.close(f"the database is recovered from the topics: {sign}")
        self._last_sign, self._progress = sign, Progress()
        take_in = TakeIn(self._store, self._kafka, self._clock, self._keep_claim, self._progress)
        ends = await take_in.run(self._comparison.written.keys() - compared.unmarked)
        for name, offsets in ends.items():
            compared.marks[name] = TopicMark(compared.marks[name].topic_id, offsets)
        log.warning("the database is recovered, its mailboxes are reconciled", extra=asdict(self._progress))

    async def _publish_again(self, compared: Comparison) -> None:
        """What `resend` does: a topic that was made anew lacks what was published before."""
        names = sorted(compared.made_anew & self._comparison.written.keys())
        log.warning("topics were made anew, all is published again", extra={"topics": names})
        self.gate.close(f"topics were made anew: {', '.join(names)}")
        for name in names:
            TOPICS_MADE_ANEW.labels(self._kafka.short_name(name)).inc()
        async for _ in self._store.resend(None, None, self._clock()):
            await self._keep_claim()

    async def _keep_claim(self, *, claim: bool = False) -> None:
        """Raises RetryableError unless this replica is the one that recovers the database."""
        self.heartbeat.beat()
        if claim:
            registered = await self._store.instances.claim(RECOVERY_CLAIM, self._process, CLAIM_SILENCE)
            is_ours = registered.process == self._process
        else:
            is_ours = bool(await self._store.instances.show_alive(RECOVERY_CLAIM, self._process))
        if not is_ours:
            raise RetryableError("another replica recovers the database")
