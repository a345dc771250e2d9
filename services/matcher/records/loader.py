"""Reads `records` into the directory, and follows it."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable
from typing import assert_never

from services.matcher.domain.directory import Directory
from services.matcher.domain.directory_entry import SourcePartition
from services.matcher.domain.tenant_directory import DirectoryChange
from services.matcher.metrics import INVALID_RECORDS
from shared.broker import KafkaClient, TableChunk, TopicPartition
from shared.heartbeat import Heartbeat
from shared.keys import RecordKey
from shared.messages import InvalidMessage, ReceivedMessage, TombstoneMessage, ValueMessage
from shared.records import AnyRecord
from shared.service import StopSignal
from shared.topics import RECORDS

log = logging.getLogger(__name__)


def apply_record_message(
    directory: Directory, message: ReceivedMessage[RecordKey, AnyRecord]
) -> DirectoryChange | None:
    """Applies a message of `records` to the directory; None for an invalid message without a key."""
    source = SourcePartition(message.position.topic, message.position.partition)
    match message:
        case ValueMessage():
            return directory.upsert(message.key, message.value, source)
        case TombstoneMessage():
            return directory.delete(message.key, source)
        case InvalidMessage():
            # tracking reads `records` in a group and writes the dead letter; every replica reads it here.
            INVALID_RECORDS.inc()
            return directory.mark_invalid(message.key, source) if message.key else None
        case _:
            assert_never(message)


class DirectoryLoader:
    """Keeps the directory equal to the topic `records`.

    Args:
        on_change: called with each change that may change matches.

    Attributes:
        caught_up: set when all messages that were there at the start are read.
        positions: the offset after the last message read from each partition.
        heartbeat: of the loop.
    """

    def __init__(
        self, kafka: KafkaClient, directory: Directory, on_change: Callable[[DirectoryChange], None]
    ) -> None:
        self.caught_up = asyncio.Event()
        self.positions: dict[TopicPartition, int] = {}
        self.heartbeat = Heartbeat()
        self._kafka = kafka
        self._directory = directory
        self._on_change = on_change

    async def follow_records(self, stop_signal: StopSignal) -> None:
        """Reads `records` from its start, and goes on until the stop signal."""
        self.heartbeat.beat()
        chunks = self._kafka.read_table(RECORDS, follow=True)
        async with contextlib.aclosing(chunks):  # type: ignore[type-var]  # it is an async generator
            async for chunk in chunks:
                self._apply_chunk(chunk)
                self.heartbeat.beat()
                if stop_signal:
                    return

    def _apply_chunk(self, chunk: TableChunk[RecordKey, AnyRecord]) -> None:
        for message in chunk.messages:
            change = apply_record_message(self._directory, message)
            if change and change.affects_matches:
                self._on_change(change)
        self.positions = chunk.positions
        if chunk.caught_up and not self.caught_up.is_set():
            gc.collect()
            gc.freeze()  # the directory stays: later collections need not scan it
            log.info("records caught up, matching starts", extra={"records": len(self._directory)})
            self.caught_up.set()
