"""The local stack itself: a real Kafka and a real MongoDB, started, killed and started again."""

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

from deploy.local.processes import LocalError
from deploy.local.stack import LocalStack

NOWHERE: dict[str, str] = {}
"""An environment in which nothing points at another Kafka or MongoDB."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack of these tests alone."""
    with LocalStack(tmp_path_factory.mktemp("stack"), environ=NOWHERE, tied=True) as stack:
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


async def test_what_kafka_acknowledged_outlives_kill_9_and_stop(own: LocalStack) -> None:
    await create_topic(own.kafka_bootstrap, "outlives")
    await send(own.kafka_bootstrap, "outlives", b"before kill -9")

    own.kafka.kill()
    assert not own.kafka.running
    own.kafka.start()
    await send(own.kafka_bootstrap, "outlives", b"after kill -9")
    own.kafka.restart()

    assert await read(own.kafka_bootstrap, "outlives", 2) == [b"before kill -9", b"after kill -9"]


def test_what_mongodb_acknowledged_outlives_kill_9_and_stop(own: LocalStack) -> None:
    def things() -> list[object]:
        with MongoClient[dict[str, object]](own.mongodb_uri, w="majority") as client:
            things = client["outlives"]["things"]
            things.insert_one({"_id": things.count_documents({})})
            return things.distinct("_id")

    assert things() == [0]
    own.mongod.kill()
    own.mongod.start()
    assert things() == [0, 1]
    own.mongod.restart()
    assert things() == [0, 1, 2]


def test_a_second_start_finds_what_runs(own: LocalStack) -> None:
    pids = own.kafka.process.pid, own.mongod.process.pid
    began = time.monotonic()

    with LocalStack(own.folder, environ=NOWHERE) as again:
        assert (again.kafka.process.pid, again.mongod.process.pid) == pids
        assert again.kafka_bootstrap == own.kafka_bootstrap

    assert time.monotonic() - began < 2
    assert own.kafka.running, "it stopped what it had not started"


def test_taken_ports_are_left_to_who_has_them(tmp_path: Path) -> None:
    with ExitStack() as others:
        taken = set()
        for port in (19092, 19093, 27117):
            other = others.enter_context(socket.socket())
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                other.bind(("127.0.0.1", port))
                other.listen()
            except OSError:
                pass  # somebody else has it, which is as good
            taken.add(port)
        with LocalStack(tmp_path, environ=NOWHERE, tied=True) as stack:
            ports = {*stack.kafka.ports.values(), *stack.mongod.ports.values()}
            assert len(ports) == 3
            assert not ports & taken
            remembered = LocalStack(tmp_path, environ=NOWHERE)
            assert (remembered.kafka_bootstrap, remembered.mongodb_uri) == (
                stack.kafka_bootstrap,
                stack.mongodb_uri,
            )


def test_a_tied_stack_ends_with_who_started_it_also_by_sigkill(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from deploy.local.stack import LocalStack
stack = LocalStack(Path({str(tmp_path)!r}), environ={{}}, tied=True, say=lambda line: None)
stack.start()
print(stack.kafka.process.pid, stack.mongod.process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        children = [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]
        assert len(children) == 2
        starter.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_what_the_settings_name_is_used_and_nothing_started(stack: LocalStack, tmp_path: Path) -> None:
    with LocalStack(tmp_path, environ=stack.environment) as named:
        assert named.kafka_bootstrap == stack.kafka_bootstrap
        assert named.mongodb_uri == stack.mongodb_uri
        with pytest.raises(LocalError, match="KAFKA_BOOTSTRAP_SERVERS names a Kafka that is not ours"):
            named.kafka.kill()
    assert not (tmp_path / "data").exists()


def test_settings_that_name_nothing_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No Kafka answers at KAFKA_BOOTSTRAP_SERVERS="):
        LocalStack(
            tmp_path,
            environ={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "MONGODB_URI": "mongodb://127.0.0.1:1"},
        ).start()


def test_another_platform_is_told_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(LocalError, match="not on linux arm64: set KAFKA_BOOTSTRAP_SERVERS and MONGODB_URI"):
        LocalStack(tmp_path, environ=NOWHERE).start()
