"""The local stack: start, kill and restart of a real Kafka and a real MongoDB."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pymongo import MongoClient

from deploy.local import servers
from deploy.local.processes import LocalError, choose_port
from deploy.local.servers import Kafka, Mongod
from deploy.local.stack import LocalStack

NO_SETTINGS: dict[str, str] = {}
"""An environment that names no other Kafka or MongoDB."""


USUAL_PORTS = {*Kafka.default_ports.values(), *Mongod.default_ports.values()}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack for this module alone, started while other programs have the usual ports."""
    with ExitStack() as others:
        for port in USUAL_PORTS:
            other = others.enter_context(socket.socket())
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                other.bind(("127.0.0.1", port))
                other.listen()
            except OSError:
                pass  # another program has it, which serves the test as well
        with LocalStack(tmp_path_factory.mktemp("stack"), environ=NO_SETTINGS, tied=True) as stack:
            yield stack


async def create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()


async def send(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, value)


async def read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        return [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(count)]


async def test_acknowledged_messages_survive_sigkill_and_restart(own: LocalStack) -> None:
    await create_topic(own.kafka_bootstrap, "survivors")
    await send(own.kafka_bootstrap, "survivors", b"before SIGKILL")

    own.kafka.kill()
    assert not own.kafka.running
    own.kafka.start()
    await send(own.kafka_bootstrap, "survivors", b"after SIGKILL")
    own.kafka.restart()

    assert await read(own.kafka_bootstrap, "survivors", 2) == [b"before SIGKILL", b"after SIGKILL"]


def test_acknowledged_writes_survive_sigkill_and_restart(own: LocalStack) -> None:
    def insert_one_more() -> list[object]:
        with MongoClient[dict[str, object]](own.mongodb_uri, w="majority") as client:
            collection = client["survivors"]["numbers"]
            collection.insert_one({"_id": collection.count_documents({})})
            return collection.distinct("_id")

    assert insert_one_more() == [0]
    own.mongod.kill()
    own.mongod.start()
    assert insert_one_more() == [0, 1]
    own.mongod.restart()
    assert insert_one_more() == [0, 1, 2]


def test_second_start_uses_running_servers(own: LocalStack) -> None:
    pids = own.kafka.process.pid, own.mongod.process.pid
    started_at = time.monotonic()

    with LocalStack(own.folder, environ=NO_SETTINGS) as again:
        assert (again.kafka.process.pid, again.mongod.process.pid) == pids
        assert again.kafka_bootstrap == own.kafka_bootstrap

    assert time.monotonic() - started_at < 2
    assert own.kafka.running, "the second stack stopped servers that it had not started"


def test_ports_in_use_are_avoided(own: LocalStack) -> None:
    ports = {*own.kafka.ports.values(), *own.mongod.ports.values()}
    assert len(ports) == len(USUAL_PORTS)
    assert not ports & USUAL_PORTS
    remembered = LocalStack(own.folder, environ=NO_SETTINGS)
    assert (remembered.kafka_bootstrap, remembered.mongodb_uri) == (own.kafka_bootstrap, own.mongodb_uri)


def test_mongod_whose_port_another_one_has_taken_meanwhile_is_not_taken_for_that_one(
    own: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two systems on one MongoDB would delete each other's data."""
    chosen = iter([own.mongod.ports["mongod"]])  # it was free when this one looked
    monkeypatch.setattr(servers, "choose_port", lambda _, taken: next(chosen, 0) or choose_port(0, taken))
    late = Mongod(tmp_path, usual_ports=False, progress=lambda _: None)
    try:
        late.start()
        assert late.address != own.mongodb_uri
        with MongoClient[dict[str, object]](late.address) as client:
            assert client.admin.command("serverStatus")["pid"] == late.process.pid
    finally:
        late.kill()


def test_tied_stack_ends_with_its_parent_also_by_sigkill(tmp_path: Path) -> None:
    program = f"""
import threading, time
from pathlib import Path
from deploy.local.stack import LocalStack
stack = LocalStack(Path({str(tmp_path)!r}), environ={{}}, tied=True, progress=lambda line: None)
stack.mongod.start()
threading.Thread(target=stack.kafka.start, daemon=True).start()
while not stack.kafka.running:
    time.sleep(0.05)
print(stack.kafka.process.pid, stack.mongod.process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_servers_of_the_settings_are_used_and_none_is_started(stack: LocalStack, tmp_path: Path) -> None:
    with LocalStack(tmp_path, environ=stack.environment) as named:
        assert named.kafka_bootstrap == stack.kafka_bootstrap
        assert named.mongodb_uri == stack.mongodb_uri
        with pytest.raises(
            LocalError, match="KAFKA_BOOTSTRAP_SERVERS names a Kafka that the local stack does not control"
        ):
            named.kafka.kill()
    assert not (tmp_path / "data").exists()


def test_settings_without_a_server_are_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No Kafka answers at KAFKA_BOOTSTRAP_SERVERS="):
        LocalStack(
            tmp_path,
            environ={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "MONGODB_URI": "mongodb://127.0.0.1:1"},
        ).start()


def test_error_on_another_platform_names_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(LocalError, match="not on linux arm64: set KAFKA_BOOTSTRAP_SERVERS and MONGODB_URI"):
        LocalStack(tmp_path, environ=NO_SETTINGS).start()
