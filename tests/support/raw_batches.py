"""Batches of Kafka records as clients of other languages write them: the names of headers are any bytes."""

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

NO_COMPRESSION, GZIP = 0, 1
MAX_BATCH_BYTES = 2**26


class RawMessage(NamedTuple):
    """A message as it is written."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()


class _RawName(str):
    """A header's name of any bytes."""

    __slots__ = ("raw",)
    raw: bytes

    def encode(self, *_: str) -> bytes:
        return self.raw


def _name(raw: bytes) -> str:
    name = _RawName()
    name.raw = raw
    return name


def encode_batch(messages: Sequence[RawMessage], compression: int = NO_COMPRESSION) -> bytes:
    """One batch in Kafka's format."""
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, 0, MAX_BATCH_BYTES)
    for offset, (key, value, headers) in enumerate(messages):
        added = builder.append(offset, None, key, value, [(_name(name), each) for name, each in headers])
        assert added, "the batch is full"
    return bytes(builder.build())


async def send_batch(
    producer: AIOKafkaProducer,
    topic: str,
    messages: Sequence[RawMessage],
    partition: int = 0,
    compression: int = NO_COMPRESSION,
) -> None:
    """Writes the messages as one batch; the producer is not idempotent."""
    batch = producer.create_batch()
    for _ in messages:
        batch.append(timestamp=None, key=b"", value=b"")
    batch._build()
    batch._buffer = encode_batch(messages, compression)
    await (await producer.send_batch(batch, topic, partition=partition))
