"""Who leads a partition: whom most of its replicas name."""

from typing import Any, NamedTuple, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import BrokerMetadata

from shared.broker import KafkaClient
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.leaders import NO_LEADER, Votes, is_outdated, verify_leaders
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES

from .kafka_world import Sink, eventually, member

TP = TopicPartition("records", 0)
UNKNOWN_TOPIC = 3


class Answer(NamedTuple):
    """What `Votes` reads of a MetadataResponse."""

    brokers: list[tuple[int, str, int, None]]
    topics: list[Any]
    controller_id: int = 1


def answer(leader: int, *brokers: int, replicas: tuple[int, ...] = (1, 2, 3), error: int = 0) -> Answer:
    partitions = [] if error else [(0, 0, leader, list(replicas), list(replicas))]
    return Answer(
        [(node, f"host-{node}", 9092, None) for node in brokers], [(error, "records", False, partitions)]
    )


def votes(**answers: Answer) -> Votes:
    """Votes of the brokers `b1`, `b2`, …"""
    counted = Votes()
    for name, each in answers.items():
        counted.add(int(name[1:]), each)
    return counted


def apply(counted: Votes, known: ClusterMetadata) -> ClusterMetadata:
    known.update_metadata(counted.metadata(known))
    return known


def test_two_of_three_replicas_verify_a_leader() -> None:
    one = votes(b2=answer(2, 1, 2, 3))
    assert (one.leaders(), one.complete) == ({}, False)
    two = votes(b2=answer(2, 1, 2, 3), b3=answer(2, 1, 2, 3))
    assert (two.leaders(), two.complete) == ({TP: 2}, True)


def test_the_only_replica_verifies_itself() -> None:
    alone = votes(b1=answer(1, 1, replicas=(1,)))
    assert (alone.leaders(), alone.complete) == ({TP: 1}, True)


def test_a_broker_that_has_no_replica_has_no_vote() -> None:
    counted = votes(b4=answer(2, 1, 2, 3, 4), b5=answer(2, 1, 2, 3, 4), b1=answer(1, 1, 2, 3))
    assert counted.leaders() == {}
    counted.add(3, answer(1, 1, 2, 3))
    assert counted.leaders() == {TP: 1}


def test_a_leader_that_is_cut_off_is_left_and_never_followed_again() -> None:
    """1 is cut off from 2 and 3, which have elected 2."""
    known = apply(votes(b1=answer(1, 1, 2, 3), b2=answer(1, 1, 2, 3)), ClusterMetadata())
    assert known.leader_for_partition(TP) == 1
    apply(votes(b1=answer(1, 1, 2, 3), b2=answer(2, 2, 3)), known)
    assert known.leader_for_partition(TP) == NO_LEADER, "1 is no more among the living of both"
    apply(votes(b1=answer(1, 1, 2, 3), b2=answer(2, 2, 3), b3=answer(2, 2, 3)), known)
    assert (known.leader_for_partition(TP), known.broker_metadata(1)) == (2, None)
    counted = votes(b1=answer(1, 1, 2, 3), b3=answer(2, 2, 3))
    assert apply(counted, known).leader_for_partition(TP) == 2, "without a majority the leader stays"
    assert not counted.complete


def test_without_a_majority_a_new_client_knows_no_leader() -> None:
    known = apply(votes(b1=answer(1, 1, 2, 3)), ClusterMetadata())
    assert known.leader_for_partition(TP) == NO_LEADER


def test_a_topic_that_one_broker_does_not_know_yet_is_there() -> None:
    counted = votes(b1=answer(0, 1, 2, 3, error=UNKNOWN_TOPIC), b2=answer(2, 1, 2, 3), b3=answer(2, 1, 2, 3))
    assert apply(counted, ClusterMetadata()).partitions_for_topic("records") == {0}
    assert counted.complete


# -- on the real Kafka ----------------------------------------------------------------------------


@pytest.fixture
async def kafka_client(settings: KafkaSettings) -> Any:
    kafka = KafkaClient(settings, "matcher", system_clock)
    await kafka.start()
    yield kafka
    await kafka.stop()


def lose(client: AIOKafkaClient) -> None:
    """Makes a client know one broker alone, which is gone."""
    for connection in client._conns.values():
        connection.close()
    client.cluster._brokers = {7: BrokerMetadata(7, "127.0.0.1", 1, None)}


async def test_a_client_that_knows_no_living_broker_bootstraps_again(kafka_client: KafkaClient) -> None:
    assert kafka_client._offsets is not None
    client = kafka_client._offsets._client
    (partition, *_) = await kafka_client.partitions(ACTIVITIES)
    lose(client)
    assert await verify_leaders(client, [partition])
    assert await kafka_client.end_offsets([partition]) == {partition: 0}


async def test_what_one_client_learns_all_others_use(settings: KafkaSettings) -> None:
    """One that waits for a broker that is gone would wait until its own metadata is too old."""
    async with member(settings, Sink()) as consumer:
        await eventually(lambda: consumer.assigned)
        kafka = cast("KafkaClient", consumer.cluster)
        for client in kafka._clients_in_use():
            client._metadata_max_age_ms = 3_600_000
            await client.force_metadata_update()
            client.cluster._brokers[7] = BrokerMetadata(7, "127.0.0.1", 1, None)
        await kafka.check()
        await eventually(
            lambda: not any(client.cluster.broker_metadata(7) for client in kafka._clients_in_use())
        )


async def test_a_client_that_knows_another_leader_is_outdated(kafka_client: KafkaClient) -> None:
    assert kafka_client._offsets is not None
    assert kafka_client.producer.client is not None
    latest, other = kafka_client._offsets._client, kafka_client.producer.client.client
    (partition, *_) = await kafka_client.partitions(ACTIVITIES)
    assert await verify_leaders(latest, [partition])
    assert not is_outdated(other, latest)
    known = other.cluster._partitions[partition.topic]
    known[partition.partition] = known[partition.partition]._replace(leader=NO_LEADER)
    assert is_outdated(other, latest)


async def test_ends_are_unknown_without_verified_leaders(kafka_client: KafkaClient) -> None:
    """Each query verifies anew: an earlier end proves nothing."""
    (partition, *_) = await kafka_client.partitions(ACTIVITIES)
    assert await kafka_client.end_offsets([partition]) == {partition: 0}
    assert kafka_client._offsets is not None
    client = kafka_client._offsets._client
    lose(client)
    client._bootstrap_servers = "127.0.0.1:1"
    with pytest.raises(RetryableError):
        await kafka_client.end_offsets([partition])
    assert not await kafka_client.ping()


async def test_a_client_without_any_broker_does_not_start(settings: KafkaSettings) -> None:
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(KafkaConnectionError):
        await client.bootstrap()
    await client.close()
