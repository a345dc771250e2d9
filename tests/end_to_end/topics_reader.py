"""Reads all topics of a system, as its readers do."""

import contextlib
from collections import defaultdict
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared.keys import ItemKey, K
from shared.messages import InvalidMessage, ValidMessage, ValueMessage, decode
from shared.topics import MATCHES, TOPICS, Topic

from .waiting import wait_until

V = TypeVar("V")

Pairs = set[tuple[str, str]]
"""(type, id) of records."""


class TopicsReader:
    """Reads all topics of a system, dead letters included, from their start.

    Attributes:
        log: the topic's name -> Kafka's records, those of each partition in order.
        keys: the topic's name -> every key that was ever written.
    """

    def __init__(self, bootstrap: str, prefix: str, partitions: int) -> None:
        self.log: defaultdict[str, list[ConsumerRecord[bytes, bytes]]] = defaultdict(list)
        self.keys: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
        self._prefix = prefix
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            metadata_max_age_ms=1000,
        )
        # On the reader's own connection a query for ends waits behind the fetch, up to 0.5 s.
        self._ends = AIOKafkaConsumer(bootstrap_servers=bootstrap)
        names = [f"{prefix}{name}" for topic in TOPICS for name in (topic.name, topic.dead_letters)]
        self._partitions = [TopicPartition(name, number) for name in names for number in range(partitions)]

    async def run(self) -> None:
        """Reads until the task is cancelled."""
        try:
            await self._ends.start()
            await self._consumer.start()
            self._consumer.assign(self._partitions)
            await self._consumer.seek_to_beginning(*self._partitions)
            while True:
                with contextlib.suppress(KafkaError):  # a test may kill Kafka and start it again
                    for tp, records in (await self._consumer.getmany(timeout_ms=50)).items():
                        name = tp.topic.removeprefix(self._prefix)
                        self.log[name] += records
                        self.keys[name].update(_split(record.key) for record in records)
        finally:
            await self._consumer.stop()
            await self._ends.stop()

    async def catch_up(self) -> None:
        """Waits until everything is read that is on the topics now."""
        ends = await self._ends.end_offsets(self._partitions)

        async def is_at_end() -> bool:
            return all([await self._consumer.position(tp) >= end for tp, end in ends.items()])

        await wait_until(is_at_end)

    def messages(self, topic: Topic[K, V]) -> list[ValidMessage[K, V]]:
        """Every message that was ever written; fails if one is invalid."""
        return [_decode_valid(topic, record) for record in self.log[topic.name]]

    def values(self, topic: Topic[K, V], key: K) -> list[V | None]:
        """The values that were ever written with this key; None for a tombstone."""
        return [
            message.value if isinstance(message, ValueMessage) else None
            for message in self.messages(topic)
            if message.key == key
        ]

    def table(self, topic: Topic[K, V]) -> dict[K, ValueMessage[K, V]]:
        """A compacted topic as a table: the last message of each key, without the deleted keys."""
        last = {record.key: record for record in self.log[topic.name]}
        messages = [_decode_valid(topic, record) for record in last.values()]
        return {message.key: message for message in messages if isinstance(message, ValueMessage)}

    def matches(self) -> dict[ItemKey, Pairs]:
        """The topic `matches` as a table: item -> its records."""
        table = self.table(MATCHES)
        return {
            key: {(match.type, match.id) for match in message.value.matches} for key, message in table.items()
        }

    def dead_letters(self, topic: Topic[Any, Any]) -> list[tuple[bytes | None, bytes | None, dict[str, str]]]:
        """Key, value and headers of each dead letter of a topic."""
        return [
            (record.key, record.value, {name: value.decode() for name, value in record.headers})
            for record in self.log[topic.dead_letters]
        ]


def _split(key: bytes | None) -> tuple[str, ...]:
    return tuple((key or b"").decode(errors="replace").split("/", 2))


def _decode_valid(topic: Topic[K, V], record: "ConsumerRecord[bytes, bytes]") -> ValidMessage[K, V]:
    message = decode(topic, record)
    assert not isinstance(message, InvalidMessage), f"{message.position}: {message.error.reason}"
    return message
