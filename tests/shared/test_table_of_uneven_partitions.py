"""Reading a table ends when all of its partitions are read to their ends, on the real Kafka."""

from aiokafka.partitioner import DefaultPartitioner

from shared.broker import CHUNK, Kafka
from shared.clock import system_clock
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES

from .members import READER, Bus

MANY = 2 * CHUNK + CHUNK // 2
"""Messages of the long partition; the short one is read with the first chunk."""


async def test_a_table_is_read_to_the_end_of_its_longest_partition(settings: KafkaSettings, bus: Bus) -> None:
    await bus.put_activities("short", partition=0)
    kafka = Kafka(settings, READER, system_clock)
    await kafka.start()
    try:
        keys = [f"contoso/mia/{number}".encode() for number in range(100)]
        key = next(key for key in keys if DefaultPartitioner()(key, range(4), ()) == 1)
        name = kafka.name(ACTIVITIES)
        await kafka.producer.send_raw([(name, key, b"{}", [])] * MANY)
        read = [message async for chunk in kafka.read_table(ACTIVITIES, [0, 1]) for message in chunk.messages]
    finally:
        await kafka.stop()
    assert len(read) == MANY + 1
