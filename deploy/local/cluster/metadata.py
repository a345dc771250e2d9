"""What one broker knows about the partitions of its cluster."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

TIMEOUT_MS = 2000

Partition = tuple[str, int]
"""Topic and number."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """A broker's view of the cluster.

    Attributes:
        brokers: the numbers of the brokers that it takes for alive.
        leaders: number of the leader of each partition; -1 for none.
        out_of_sync: the partitions with a replica that is not in sync.
    """

    brokers: frozenset[int]
    leaders: Mapping[Partition, int]
    out_of_sync: frozenset[Partition]


def read_metadata(address: str) -> Metadata | None:
    """Read the view of the broker at `host:port`; None if it does not answer."""
    # A thread of its own, because the caller may run in an event loop.
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(asyncio.run, _request(address)).result()
    if response is None:
        return None
    partitions = {
        (topic["topic"], each["partition"]): each
        for topic in response["topics"]
        for each in topic["partitions"]
    }
    return Metadata(
        brokers=frozenset(broker["node_id"] for broker in response["brokers"]),
        leaders={partition: each["leader"] for partition, each in partitions.items()},
        out_of_sync=frozenset(
            partition for partition, each in partitions.items() if set(each["isr"]) != set(each["replicas"])
        ),
    )


async def _request(address: str) -> dict[str, Any] | None:
    # Not an admin client: that one chooses a broker by itself.
    host, _, port = address.rpartition(":")
    try:
        connection = await create_conn(host, int(port), request_timeout_ms=TIMEOUT_MS)
        try:
            return dict((await connection.send(MetadataRequest())).to_object())
        finally:
            await connection.close()
    except (KafkaError, OSError, TimeoutError):
        return None
