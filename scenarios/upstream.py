"""An upstream CRM system, as Kafka sees it: a publisher of records.

Key `tenant/type/id`, the complete record as JSON, a tombstone for a deleted record. It uses aiokafka
directly and none of the services' code; docs/topics.md is its specification.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaProducer

Record = dict[str, Any]


class Upstream:
    """A publisher of records; use it as a context manager.

    Args:
        bootstrap: the bootstrap servers of Kafka.
        topic: the name of the topic of records.
        options: of the producer.
    """

    def __init__(self, bootstrap: str, topic: str = "records", **options: Any) -> None:
        self._bootstrap = bootstrap
        self._options = options
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, enable_idempotence=True, linger_ms=5, **self._options
        )
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer:
            await self._producer.stop()

    async def publish(self, records: Iterable[Record]) -> int:
        """Publish records in order, and wait for Kafka's acknowledgements; return their number."""
        return await self._send((record, orjson.dumps(record)) for record in records)

    async def delete(self, records: Iterable[Record]) -> int:
        """Publish tombstones of records, which need only `tenant`, `type` and `id`; return their number."""
        return await self._send((record, None) for record in records)

    async def _send(self, messages: Iterable[tuple[Record, bytes | None]]) -> int:
        if self._producer is None:
            raise RuntimeError("Upstream is used without its context manager")
        acknowledgements = [
            await self._producer.send(
                self._topic, value, key=f"{record['tenant']}/{record['type']}/{record['id']}".encode()
            )
            for record, value in messages
        ]
        await asyncio.gather(*acknowledgements)
        return len(acknowledgements)
