"""The cluster of three brokers and three mongods: each fault does what it is for, and nothing remains."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pymongo import MongoClient

from deploy.local.cluster import Cluster, Node, missing_requirement
from deploy.local.cluster.metadata import read_metadata
from deploy.local.cluster.network import Network

ROOT = Path(__file__).parents[2]
ELECTION_SECONDS = 60.0

cluster_size = pytest.mark.full("cluster")
needs_network = pytest.mark.skipif(missing_requirement() is not None, reason=str(missing_requirement()))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ELECTION_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.1)


def accepts_connections(node: Node) -> bool:
    host, _, port = node.address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False


async def send(cluster: Cluster, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=cluster.bootstrap_servers, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def read_all(cluster: Cluster, topic: str) -> list[bytes | None]:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=cluster.bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        return [(await consumer.getone()).value for _ in range(sum(ends.values()))]


@pytest.fixture
async def topic(cluster: Cluster, own_prefix: str) -> str:
    name = f"{own_prefix}topic"
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=3)])
    await admin.close()
    cluster.until_in_sync()
    return name


def test_missing_command_is_named_with_its_package(tmp_path: Path) -> None:
    assert missing_requirement(str(tmp_path)) == (
        "a cluster of several nodes needs ip and iptables: apt-get install iproute2 iptables"
    )


@cluster_size
@pytest.mark.parametrize("fault", [Node.kill, Node.hang, Node.cut_off, Node.terminate])
async def test_another_broker_leads_after_a_fault_of_the_leader(
    cluster: Cluster, topic: str, fault: Callable[[Node], None]
) -> None:
    await send(cluster, topic, b"before")
    leader = cluster.leader_of(topic, 0)

    fault(leader)

    assert accepts_connections(leader) is (fault in {Node.hang, Node.cut_off})
    wait_until(lambda: cluster.leader_of(topic, 0) is not leader)
    cluster.mend()
    await send(cluster, topic, b"after")
    assert await read_all(cluster, topic) == [b"before", b"after"]


@cluster_size
@pytest.mark.parametrize("fault", [Node.kill, Node.hang, Node.cut_off, Node.terminate])
def test_another_member_is_the_primary_after_a_fault_of_the_primary(
    cluster: Cluster, own_prefix: str, fault: Callable[[Node], None]
) -> None:
    primary = cluster.primary()

    fault(primary)

    wait_until(lambda: cluster.primary() is not primary)
    cluster.mend()
    with MongoClient[dict[str, object]](cluster.mongodb_uri, w="majority") as client:
        client[own_prefix]["numbers"].insert_one({"_id": 1})
        client.drop_database(own_prefix)


@cluster_size
def test_primary_steps_down(cluster: Cluster) -> None:
    primary = cluster.step_down()
    wait_until(lambda: cluster.primary() is not primary)
    assert primary.running


@cluster_size
def test_another_controller_is_active_after_a_fault(cluster: Cluster) -> None:
    controller = cluster.controller()
    controller.kill()
    wait_until(lambda: cluster.controller() is not controller)


@cluster_size
async def test_one_broker_alone_is_the_whole_cluster_and_refuses_writes(cluster: Cluster, topic: str) -> None:
    *lost, left = cluster.brokers
    for broker in lost:
        broker.kill()
    wait_until(lambda: (view := read_metadata(left.address)) is not None and view.brokers == {left.number})
    assert cluster.leader_of(topic, 0) is left
    for broker in lost:
        broker.start()
    cluster.until_in_sync()
    await send(cluster, topic, b"after")


@cluster_size
async def test_acknowledged_survives_a_loss_of_power(cluster: Cluster, topic: str, own_prefix: str) -> None:
    await send(cluster, topic, b"acknowledged")
    with MongoClient[dict[str, object]](cluster.mongodb_uri, w="majority") as client:
        client[own_prefix]["numbers"].insert_one({"_id": 1})

    cluster.lose_power()
    assert not any(node.running for node in cluster.nodes)
    cluster.mend()

    assert await read_all(cluster, topic) == [b"acknowledged"]
    with MongoClient[dict[str, object]](cluster.mongodb_uri) as client:
        assert client[own_prefix]["numbers"].distinct("_id") == [1]
        client.drop_database(own_prefix)


@cluster_size
@needs_network
def test_networks_have_different_addresses_and_leave_nothing() -> None:
    one, other = Network(), Network()
    one.start(["node"])
    other.start(["node"])
    assert one.addresses["node"] != other.addresses["node"]
    assert [len(network.namespaces) for network in (one, other)] == [1, 1]
    one.stop()
    assert (one.namespaces, one.links) == ([], [])
    assert len(other.namespaces) == 1
    other.stop()
    assert (other.namespaces, other.links) == ([], [])


@cluster_size
@needs_network
def test_next_network_removes_what_a_killed_process_left() -> None:
    program = """
import subprocess, time
from deploy.local.cluster.network import Network
network = Network()
network.start(["left", "behind"])
process = subprocess.Popen([*network.command("left"), "sleep", "600"])
print(*network.namespaces, process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout
        *left, pid = killed.stdout.readline().split()
        killed.send_signal(signal.SIGKILL)
    assert len(left) == 2

    network = Network()
    network.start(["next"])

    assert network.namespaces == [left[0].rpartition("-")[0] + "-next"]
    wait_until(lambda: not Path(f"/proc/{pid}/status").exists())
    network.stop()
