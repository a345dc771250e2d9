"""The table that a compacted topic holds, read by a consumer without a group."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

Table = dict[bytes, tuple[bytes, dict[str, bytes]]]
"""Key -> (value, headers)."""


async def read_topic_table(bootstrap: str, topic: str) -> tuple[Table, int]:
    """Read a compacted topic from its beginning to its current end.

    Returns:
        The latest message of each key, without tombstones; and the sum of the end offsets, which is the
        number of all messages ever written to the topic.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (description,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    partitions = [TopicPartition(topic, partition["partition"]) for partition in description["partitions"]]
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
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    table.pop(message.key, None)
                    if message.value is not None:
                        table[message.key] = message.value, dict(message.headers)
    finally:
        await consumer.stop()
    return table, sum(ends.values())
