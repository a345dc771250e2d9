"""The lag of a consumer, for `/status` and the metrics."""

from typing import Any

from aiokafka import TopicPartition

from .consumer import TopicConsumer
from .telemetry import LAG_MESSAGES, LAG_SECONDS


class ConsumerLag:
    """Messages and seconds that one consumer is behind."""

    def __init__(self, consumer: TopicConsumer[Any, Any]) -> None:
        self._consumer = consumer
        self._cluster = consumer.cluster
        self._measured: set[TopicPartition] = set()

    async def assigned(self) -> dict[TopicPartition, int]:
        """Messages that wait in each partition of this replica, the batch in hand included.

        Raises:
            RetryableError: Kafka does not answer in time, or partitions are being assigned.
        """
        return await self._consumer.waiting(sorted(self._consumer.assigned))

    async def total(self) -> int:
        """Messages that wait in the whole topic, for all replicas of this service; raises as `assigned`."""
        waiting = await self._consumer.waiting(await self._cluster.partitions(self._consumer.topic))
        return sum(waiting.values())

    async def update_gauges(self) -> None:
        """Updates the gauges of this replica's partitions; raises as `assigned`."""
        now_ms = int(self._cluster.clock().timestamp() * 1000)
        lag = await self.assigned()
        for tp, waiting in lag.items():
            processed_ms = self._consumer.last_processed_ms(tp) or now_ms
            age = max(0.0, (now_ms - processed_ms) / 1000) if waiting else 0.0
            LAG_MESSAGES.labels(*self._labels(tp)).set(waiting)
            LAG_SECONDS.labels(*self._labels(tp)).set(age)
        for tp in self._measured - lag.keys():  # now another replica's
            LAG_MESSAGES.remove(*self._labels(tp))
            LAG_SECONDS.remove(*self._labels(tp))
        self._measured = set(lag)

    def _labels(self, tp: TopicPartition) -> tuple[str, str, str]:
        return self._cluster.source, self._cluster.short_name(tp.topic), str(tp.partition)
