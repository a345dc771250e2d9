"""A service's standing with one Kafka cluster: names, decoders, what groups have done, and failing."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from .bus import Received, decode, decode_record
from .clock import Clock
from .errors import Transient
from .producer import Producer
from .settings import KafkaSettings
from .topics import RECORDS, Topic

Decoder = Callable[["ConsumerRecord[bytes, bytes]"], Received[Any]]


class Cluster:
    """What every reader and writer of one service shares.

    Args:
        settings: where Kafka is and how it is secured.
        source: the service's name: CloudEvents `source`, and its groups' names with it.
        clock: for `ce_time`.
    """

    def __init__(self, settings: KafkaSettings, source: str, clock: Clock) -> None:
        self.settings = settings
        self.source = source
        self.clock = clock
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.producer = Producer(settings, source, clock, self.fail)
        self.away_at = 0.0
        self._admin: AIOKafkaAdminClient | None = None

    def name(self, topic: Topic | str) -> str:
        """What a topic or a group is called on this cluster."""
        return self.settings.topic_prefix + (topic.name if isinstance(topic, Topic) else topic)

    def record_topics(self) -> dict[str, Decoder]:
        """The topics of record events, by their names here, each with its decoder."""
        return {
            self.name(topic): _record_decoder(tenants)
            for topic, tenants in self.settings.records_topics.items()
        }

    def decoders(self, topic: Topic) -> dict[str, Decoder]:
        """The names of a topic here, and how its messages are read."""
        if topic is RECORDS:
            return self.record_topics()
        return {self.name(topic): lambda record: decode(topic, record)}

    async def ping(self) -> bool:
        """Does Kafka answer within a second?"""
        try:
            async with asyncio.timeout(1):
                await self._connected().describe_cluster()
        except (TimeoutError, KafkaError, Transient):
            self.away_at = time.time()
            return False
        return True

    def fail(self, error: BaseException) -> None:
        """The third fate: the process must stop."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def partitions(self, topic: Topic | str) -> list[TopicPartition]:
        """A topic's partitions, in order."""
        name = self.name(topic) if isinstance(topic, Topic) else topic
        return [TopicPartition(name, number) for number in sorted(await self.producer.partitions_for(name))]

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Up to where a group has done its work; 0 where it has never said so."""
        found = await self._connected().list_consumer_group_offsets(group, partitions=list(partitions))
        return {tp: max(0, found[tp].offset) if tp in found else 0 for tp in partitions}

    def _connected(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            raise Transient("not connected to Kafka")
        return self._admin


def _record_decoder(tenants: Sequence[str]) -> Decoder:
    return lambda record: decode_record(RECORDS, tenants, record)
