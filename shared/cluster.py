"""One service's access to one Kafka cluster: names, decoders, partitions, offsets, fatal errors.

aiokafka is used only in `shared`. Errors of queries leave this package as `RetryableError`; errors of a
connection or a send leave it unchanged when a retry cannot resolve them.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from .aiokafka_patches import patch_aiokafka
from .clock import Clock
from .errors import RetryableError
from .leaders import verify_leaders
from .messages import MessageDecoder, message_decoder, record_decoder
from .producer import Producer
from .record_batches import patch_aiokafka_record_batches
from .settings import KafkaSettings
from .topic_ids import request_topic_ids
from .topics import RECORDS, Topic

PING_TIMEOUT = timedelta(seconds=0.7)
"""`/health/ready` answers within a second."""
QUERY_TIMEOUT = timedelta(seconds=2)
"""Timeout of a query for offsets or lag; the query raises RetryableError when Kafka does not answer."""


class KafkaCluster:
    """The part that all readers and writers of a service share.

    Args:
        settings: address and security of Kafka.
        source: the service's name: the CloudEvents `source`, and a part of its groups' names.
        clock: for `ce_time`.

    Attributes:
        failed: completes with the first fatal error; the process then stops.
        last_unreachable: monotonic time at which a new client last did not reach Kafka; None when each did.
        readers: the open consumers without a group.
        generation: number of times that all clients were replaced; a reader of an older one begins anew.
    """

    def __init__(self, settings: KafkaSettings, source: str, clock: Clock) -> None:
        patch_aiokafka_record_batches()
        patch_aiokafka()
        self.settings = settings
        self.source = source
        self.clock = clock
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.producer = Producer(settings, source, clock, self.fail)
        self.last_unreachable: float | None = None
        self.readers: set[AIOKafkaConsumer] = set()
        self.generation = 0
        self._admin: AIOKafkaAdminClient | None = None
        self._offsets: AIOKafkaConsumer | None = None

    # -- names ------------------------------------------------------------------------------------

    def full_name(self, topic: Topic[Any, Any] | str) -> str:
        """The name of a topic or a group on this cluster, with TOPIC_PREFIX."""
        return self.settings.topic_prefix + (topic.name if isinstance(topic, Topic) else topic)

    def short_name(self, full_name: str) -> str:
        """The name without TOPIC_PREFIX."""
        return full_name.removeprefix(self.settings.topic_prefix)

    def topic_names(self, topic: Topic[Any, Any]) -> list[str]:
        """The names of a topic on this cluster; `records` may have several (RECORDS_TOPICS)."""
        return list(self.decoders(topic))

    def decoders(
        self, topic: Topic[Any, Any], decoder: MessageDecoder[Any, Any] | None = None
    ) -> dict[str, MessageDecoder[Any, Any]]:
        """Name on this cluster -> decoder of its messages.

        Args:
            topic: the topic; `RECORDS` stands for all topics of record events.
            decoder: replaces the topic's own decoder, for a reader that needs a narrower value type.
        """
        if topic is RECORDS:
            topics = self.settings.records_topics.items()
            return {self.full_name(name): decoder or record_decoder(tenants) for name, tenants in topics}
        return {self.full_name(topic): decoder or message_decoder(topic)}

    # -- partitions and offsets -------------------------------------------------------------------

    async def partitions(self, topic: Topic[Any, Any]) -> list[TopicPartition]:
        """The partitions of a topic in order, under all its names."""
        return [
            TopicPartition(name, number)
            for name in self.topic_names(topic)
            for number in sorted(await self.producer.partitions_for(name))
        ]

    def partition(self, topic: Topic[Any, Any], number: int) -> TopicPartition:
        """One partition of a topic."""
        return TopicPartition(self.full_name(topic), number)

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The end of each partition, of any topic: all that was acknowledged before this call lies before it.

        The leaders are verified first: one that was replaced returns an end of its own. A client of its own
        requests the ends: a connection on which Kafka waits for new messages, up to 0.5 s, answers nothing
        else meanwhile.

        Raises:
            RetryableError: Kafka does not answer, or most brokers do not name the same leaders.
        """
        if not partitions:
            return {}
        if self._offsets is None:
            raise RetryableError("not connected to Kafka")
        if not await verify_leaders(self._offsets._client, partitions):  # noqa: SLF001  # no public name
            raise RetryableError("most replicas of a partition do not name its leader")
        try:
            return dict(await self._offsets.end_offsets(list(partitions)))
        except KafkaError as error:
            raise RetryableError(f"Kafka does not return end offsets: {type(error).__name__}") from error

    async def committed_offsets(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """The offset that a group has committed in each partition; 0 where it has committed none.

        Raises:
            RetryableError: Kafka does not answer.
        """
        try:
            found = await self._connected_admin().list_consumer_group_offsets(
                group, partitions=list(partitions)
            )
        except KafkaError as error:
            raise RetryableError(
                f"Kafka does not return committed offsets: {type(error).__name__}"
            ) from error
        return {tp: max(0, found[tp].offset) if tp in found else 0 for tp in partitions}

    async def topic_ids(self, names: Sequence[str]) -> dict[str, str]:
        """Name of each topic on this cluster -> the id that Kafka gave it at its creation.

        Raises:
            RetryableError: Kafka does not answer, or does not know a topic.
        """
        return await request_topic_ids(self._connected_admin(), names)

    # -- state ------------------------------------------------------------------------------------

    async def ping(self) -> bool:
        """True when the leader of each partition that this service consumes is verified in time."""
        if self._offsets is None:
            return False
        client = self._offsets._client  # noqa: SLF001  # no public name
        try:
            async with asyncio.timeout(PING_TIMEOUT.total_seconds()):
                partitions = [
                    TopicPartition(name, number)
                    for name in self._used_topics()
                    for number in await self.producer.partitions_for(name)
                ]
                return await verify_leaders(client, partitions)
        except (TimeoutError, RetryableError):
            return False

    def _used_topics(self) -> list[str]:
        """The names of the topics that must be there for the service to work."""
        return []

    def fail(self, error: BaseException) -> None:
        """Reports a fatal error: the process must stop."""
        if not self.failed.done():
            self.failed.set_exception(error)

    def _connected_admin(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            raise RetryableError("not connected to Kafka")
        return self._admin
