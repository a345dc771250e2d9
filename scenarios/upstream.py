"""An upstream CRM system as it looks from Kafka: it publishes records, and knows nothing of ours.

Key `tenant/type/id`, the whole record as JSON, a tombstone for a deleted one. That is all there is
to it; docs/topics.md has the rest.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

Record = dict[str, Any]


class Upstream:
    """A publisher of record events.

    Args:
        bootstrap: Kafka's address.
        topic: what `records` is called there.
    """

    def __init__(self, bootstrap: str, topic: str = "records") -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, enable_idempotence=True, linger_ms=5
        )
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer:
            await self._producer.stop()

    async def publish(self, records: Iterable[Record]) -> int:
        """Publishes records, in order, and waits until Kafka has them; answers how many."""
        return await self._send((record, orjson.dumps(record)) for record in records)

    async def delete(self, records: Iterable[Record]) -> int:
        """Deletes records; of each `tenant`, `type` and `id` are enough."""
        return await self._send((record, None) for record in records)

    async def _send(self, messages: Iterable[tuple[Record, bytes | None]]) -> int:
        if self._producer is None:
            raise RuntimeError("use it as a context manager")
        sent = [
            await self._producer.send(
                self._topic, value, key=f"{record['tenant']}/{record['type']}/{record['id']}".encode()
            )
            for record, value in messages
        ]
        await asyncio.gather(*sent)
        return len(sent)


Table = dict[bytes, tuple[bytes, dict[str, bytes]]]


async def read_all(bootstrap: str, topic: str) -> tuple[Table, int]:
    """A compacted topic from its start to its present end.

    Returns:
        Key -> (value, headers) of what is there, tombstones left out; and the sum of its end offsets,
        which is how many messages were ever written to it.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    partitions = [TopicPartition(topic, partition["partition"]) for partition in described["partitions"]]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    table: Table = {}
    try:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while [tp for tp in partitions if await consumer.position(tp) < ends[tp]]:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    table.pop(record.key, None)
                    if record.value is not None:
                        table[record.key] = record.value, dict(record.headers)
    finally:
        await consumer.stop()
    return table, sum(ends.values())
