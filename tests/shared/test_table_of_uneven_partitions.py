"""Reading a table ends when all of its partitions are read to their ends."""

from aiokafka.partitioner import DefaultPartitioner

from shared.broker import KafkaClient
from shared.clock import system_clock
from shared.settings import KafkaSettings
from shared.tables import CHUNK_MESSAGES
from shared.topics import ACTIVITIES

from .kafka_world import KafkaObserver

LONG = 2 * CHUNK_MESSAGES + CHUNK_MESSAGES // 2
"""Messages of the long partition; another one has a single message, and a third one has none."""


async def test_a_table_is_read_to_the_end_of_its_longest_partition(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    await observer.write_activities("short", partition=0)
    kafka = KafkaClient(settings, "matcher", system_clock)
    await kafka.start()
    try:
        keys = [f"contoso/mia/{number}".encode() for number in range(100)]
        key = next(key for key in keys if DefaultPartitioner()(key, range(4), ()) == 1)
        name = kafka.full_name(ACTIVITIES)
        await kafka.producer.send_encoded([(name, key, b"{}", [])] * LONG)
        read = [
            message async for chunk in kafka.read_table(ACTIVITIES, [0, 1, 2]) for message in chunk.messages
        ]
    finally:
        await kafka.stop()
    assert len(read) == LONG + 1
