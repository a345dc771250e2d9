"""The metadata of every Kafka client: the leader of a partition is the one that most of its replicas name.

aiokafka requests metadata from one broker, any of those that it knows. A broker that is cut off from its
peers, but not from its clients, names itself the leader for ever; and a client that knows no broker but one
is lost with it. Here each request goes to all known brokers at the same time.

* A leader counts when more than half of the replicas name it. Every record that was acknowledged before the
  request is in its log: the acknowledgement needed two of three replicas that knew the leader of the time
  (`acks=all`, `min.insync.replicas` 2), and one of these is among the two that name this one.
* Without such a majority the client keeps the leader that it knows, and the partition is not *verified*.
* A broker that most of the answers do not name is disconnected: what waits for it fails, and moves on.
* When the known brokers make no majority, KAFKA_BOOTSTRAP_SERVERS are requested for others, as at the start.

`install` replaces the methods of aiokafka's client, because it has no option for any of this.
"""

# ruff: noqa: SLF001  # aiokafka has no public names for its metadata

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, CloseReason, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from .clock import to_milliseconds

ANSWER_TIMEOUT = timedelta(seconds=2)
"""A broker that does not answer within this time has no vote."""
CONNECTIONS = "metadata"
"""The group of the connections for metadata: on others Kafka waits for new messages, up to 0.5 s."""
UPDATES = 3
"""The first update may have begun before it was requested, and the second one without a new topic."""
NO_LEADER = -1

Broker: TypeAlias = tuple[int, str, int, Any]
"""Id, host, port, rack."""
Partition: TypeAlias = tuple[int, int, int, list[int], list[int]]
"""Error code, number, leader, replicas, in-sync replicas."""
Answer: TypeAlias = Any
"""A MetadataResponse of aiokafka, which has no types."""


def install() -> None:
    """Makes all clients of the process request metadata from all brokers."""
    AIOKafkaClient._reached_at = 0.0
    AIOKafkaClient.bootstrap = _bootstrap
    AIOKafkaClient._metadata_update = _update_metadata


def seconds_since_reached(client: AIOKafkaClient) -> float:
    """Seconds since a broker last answered a client's request for metadata."""
    return time.monotonic() - float(client._reached_at)


async def verify_leaders(client: AIOKafkaClient, partitions: Collection[TopicPartition]) -> bool:
    """Requests metadata anew; True when most replicas of each of these partitions name its leader."""
    began = time.monotonic()
    for topic in {tp.topic for tp in partitions}:
        client.add_topic(topic)
    for _ in range(UPDATES):
        await client.force_metadata_update()
        verified_at: dict[TopicPartition, float] = getattr(client.cluster, "verified_at", {})
        if client._reached_at >= began and all(verified_at.get(tp, 0.0) >= began for tp in partitions):
            return True
    return False


def is_outdated(client: AIOKafkaClient, latest: AIOKafkaClient) -> bool:
    """Whether a client knows other brokers or leaders than one that has just verified them."""
    known, new = client.cluster, latest.cluster
    if {broker.nodeId for broker in known.brokers()} != {broker.nodeId for broker in new.brokers()}:
        return True
    leaders = {tp: new.leader_for_partition(tp) for tp in getattr(new, "verified_at", {})}
    return any(known.leader_for_partition(tp) not in (None, leader) for tp, leader in leaders.items())


# -- in place of aiokafka's methods ---------------------------------------------------------------


async def _bootstrap(client: AIOKafkaClient) -> None:
    request = MetadataRequest([], allow_auto_topic_creation=False)
    requests = [_request_from_address(client, host, port, request) for host, port, _ in client.hosts]
    tasks = [asyncio.create_task(each) for each in requests]
    try:
        for task in asyncio.as_completed(tasks):
            if answer := await task:
                break
        else:
            raise KafkaConnectionError(f"Unable to bootstrap from {client.hosts}")
    finally:
        await _cancel(tasks)
    client._reached_at = time.monotonic()
    client.cluster.update_metadata(answer)
    if client._sync_task is None:
        client._sync_task = asyncio.create_task(client._md_synchronizer())


async def _update_metadata(client: AIOKafkaClient, cluster: ClusterMetadata, topics: Iterable[str]) -> bool:
    """Updates a client's metadata; True when the leader of every partition is verified."""
    began = time.monotonic()
    request = MetadataRequest(list(topics) or None, allow_auto_topic_creation=False)
    votes = await _Poll(client, request).run()
    if not votes.answers:
        cluster.failed_update(None)
        return False
    client._reached_at = time.monotonic()
    cluster.update_metadata(votes.metadata(cluster))
    cluster.verified_at = getattr(cluster, "verified_at", {}) | dict.fromkeys(votes.leaders(), began)
    for (node, _), connection in client._conns.items():
        if cluster.broker_metadata(node) is None:
            connection.close(reason=CloseReason.SHUTDOWN)
    return votes.complete


# -- requests -------------------------------------------------------------------------------------


class _Poll:
    """One request for metadata to all brokers.

    Args:
        client: whose brokers are requested, and over whose connections.
        request: the request.
    """

    def __init__(self, client: AIOKafkaClient, request: MetadataRequest) -> None:
        self._client = client
        self._request = request
        self._votes = Votes()
        self._requested: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> "Votes":
        """The answers: a majority for each partition, or all that come in time."""
        try:
            self._send_to(map(tuple, self._client.cluster.brokers()))
            await self._until_complete()
            if not self._votes.complete:
                for host, port, _ in self._client.hosts:
                    self._tasks.add(asyncio.create_task(self._discover(host, port)))
                await self._until_complete()
            return self._votes
        finally:
            await _cancel(self._tasks)

    async def _until_complete(self) -> None:
        while self._tasks and not self._votes.complete:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self._tasks -= done
            for task in done:
                task.result()

    def _send_to(self, brokers: Iterable[Broker]) -> None:
        for node, host, port, _ in brokers:
            if node not in self._requested:
                self._requested.add(node)
                self._tasks.add(asyncio.create_task(self._request_vote(node, host, port)))

    async def _request_vote(self, node: int, host: str, port: int) -> None:
        """Adds the answer of a broker, and requests those of the brokers that it names."""
        connection: AIOKafkaConnection | None = self._client._conns.get((node, CONNECTIONS))
        try:
            if connection is None or not _is_usable(connection, host, port):
                if connection is not None:
                    connection.close()
                connection = self._client._conns[node, CONNECTIONS] = await _connect(self._client, host, port)
            answer = await connection.send(self._request)
        except (OSError, KafkaError):
            if connection is not None:
                connection.close()
            return
        self._votes.add(node, answer)
        self._send_to(answer.brokers)

    async def _discover(self, host: str, port: int) -> None:
        """Requests the brokers that the one at an address of KAFKA_BOOTSTRAP_SERVERS names."""
        if answer := await _request_from_address(self._client, host, port, self._request):
            self._send_to(answer.brokers)


async def _cancel(tasks: "Collection[asyncio.Task[Any]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _request_from_address(
    client: AIOKafkaClient, host: str, port: int, request: MetadataRequest
) -> Answer | None:
    """The answer from an address, over a connection of its own; None when there is none in time."""
    try:
        connection = await _connect(client, host, port)
        try:
            return await connection.send(request)
        finally:
            connection.close()
    except (OSError, KafkaError):  # a time-out is an OSError
        return None


async def _connect(client: AIOKafkaClient, host: str, port: int) -> AIOKafkaConnection:
    return await create_conn(
        host,
        port,
        client_id=client._client_id,
        request_timeout_ms=to_milliseconds(ANSWER_TIMEOUT),
        ssl_context=client._ssl_context,
        security_protocol=client._security_protocol,
        max_idle_ms=client._connections_max_idle_ms,
        sasl_mechanism=client._sasl_mechanism,
        sasl_plain_username=client._sasl_plain_username,
        sasl_plain_password=client._sasl_plain_password,
    )


def _is_usable(connection: AIOKafkaConnection, host: str, port: int) -> bool:
    """Whether a connection is open, goes there, and owes no answer: a broker that hangs owes one."""
    same = (connection.host, connection.port) == (host, port)
    return bool(same and connection.connected() and not connection._requests)


# -- answers --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Metadata:
    """What `ClusterMetadata.update_metadata` reads of a MetadataResponse, in the form of its version 1."""

    brokers: list[Broker]
    controller_id: int
    topics: list[tuple[int, str, bool, list[Partition]]]
    API_VERSION: int = 1


@dataclass(slots=True)
class Votes:
    """The answers of brokers to one request for metadata.

    Attributes:
        answers: id of a broker -> its MetadataResponse.
        complete: the leader of each partition in them has a majority.
    """

    answers: dict[int, Answer] = field(default_factory=dict)
    complete: bool = False

    def add(self, node: int, answer: Answer) -> None:
        """Adds the answer of a broker."""
        self.answers[node] = answer
        leaders = self.leaders()
        self.complete = all(tp in leaders for each in self.answers.values() for tp, *_ in _partitions(each))

    def leaders(self) -> dict[TopicPartition, int]:
        """The leader of each partition that most of its replicas name."""
        votes: Counter[tuple[TopicPartition, int]] = Counter()
        needed: dict[tuple[TopicPartition, int], int] = {}
        for node, answer in self.answers.items():
            for tp, _, leader, replicas, _ in _partitions(answer):
                votes[tp, leader] += node in replicas
                needed[tp, leader] = max(len(replicas) // 2 + 1, needed.get((tp, leader), 0))
        return {tp: leader for (tp, leader), count in votes.items() if count >= needed[tp, leader]}

    def metadata(self, known: ClusterMetadata) -> Metadata:
        """The metadata on which the answers agree; where they do not, the leader is the one that is known."""
        brokers = self._brokers()
        leaders = self.leaders()
        controllers = Counter(answer.controller_id for answer in self.answers.values())
        topics: dict[str, tuple[int, bool, dict[int, Partition]]] = {}
        for answer in self.answers.values():
            for error, name, is_internal, partitions in answer.topics:
                if name not in topics or (topics[name][0] and not error):
                    topics[name] = error, is_internal, {}
                for error_code, number, _, replicas, isr, *_ in partitions:
                    leader = leaders.get(tp := TopicPartition(name, number), known.leader_for_partition(tp))
                    leader = leader if leader in brokers else NO_LEADER
                    topics[name][2].setdefault(number, (error_code, number, leader, replicas, isr))
        listed = [(error, name, flag, list(of.values())) for name, (error, flag, of) in topics.items()]
        return Metadata(list(brokers.values()), controllers.most_common(1)[0][0], listed)

    def _brokers(self) -> dict[int, Broker]:
        """The brokers that most of the answers name: those that the controller counts among the living."""
        named = Counter(broker[0] for answer in self.answers.values() for broker in answer.brokers)
        return {
            broker[0]: tuple(broker)
            for answer in self.answers.values()
            for broker in answer.brokers
            if named[broker[0]] * 2 > len(self.answers)
        }


def _partitions(answer: Answer) -> Iterator[tuple[TopicPartition, int, int, list[int], list[int]]]:
    """Partition, error code, leader, replicas and in-sync replicas."""
    for error, name, _, partitions in answer.topics:
        if not error:
            for error_code, number, leader, replicas, isr, *_ in partitions:
                yield TopicPartition(name, number), error_code, leader, replicas, isr
