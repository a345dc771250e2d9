"""A real Apache Kafka and a real MongoDB on this machine, from pip alone.

Kafka is one KRaft node (broker and controller, replication 1), MongoDB one member of a replica
set. Where `KAFKA_BOOTSTRAP_SERVERS` or `MONGODB_URI` is set, that one is used and ours is not
started. How the parts get here, and why so: docs/decisions/0003-local-stack-from-pip.md.

    with LocalStack(folder) as stack:
        connect(stack.kafka_bootstrap, stack.mongodb_uri)
        stack.kafka.kill()
        stack.kafka.start()
"""

import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local.parts import ELSEWHERE, kafka_jars, locked
from deploy.local.processes import LocalError, Say, say
from deploy.local.servers import Kafka, Mongod, Server, cache_kafka_classes


def local_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of data, logs and process ids: `LOCAL_DIR`, or `.local` in the repository."""
    return Path(environ.get("LOCAL_DIR") or Path(__file__).parents[2] / ".local")


class LocalStack:
    """Kafka and MongoDB for one folder, as a context or by `start` and `stop`.

    As a context it stops what it started, and leaves what ran before. A *tied* stack is killed
    when this Python process ends, however that ends: for tests and whatever stays in front.
    Without *usual_ports* any free ports are taken.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        tied: bool = False,
        usual_ports: bool = True,
        say: Say = say,
    ) -> None:
        self.folder = folder.resolve()
        self._say = say
        self._external_kafka = environ.get("KAFKA_BOOTSTRAP_SERVERS") or None
        self._external_mongodb = environ.get("MONGODB_URI") or None
        self._kafka = Kafka(self.folder, tied=tied, usual_ports=usual_ports, say=say)
        self._mongod = Mongod(self.folder, tied=tied, usual_ports=usual_ports, say=say)

    @property
    def kafka_bootstrap(self) -> str:
        return self._external_kafka or self._kafka.address

    @property
    def mongodb_uri(self) -> str:
        return self._external_mongodb or self._mongod.address

    @property
    def kafka(self) -> Kafka:
        """Our Kafka, to be killed and restarted; a LocalError if the settings name another."""
        if self._external_kafka:
            raise LocalError("KAFKA_BOOTSTRAP_SERVERS names a Kafka that is not ours to stop.")
        return self._kafka

    @property
    def mongod(self) -> Mongod:
        """Our mongod, to be killed and restarted; a LocalError if the settings name another."""
        if self._external_mongodb:
            raise LocalError("MONGODB_URI names a MongoDB that is not ours to stop.")
        return self._mongod

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which our programs find this stack."""
        found = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap, "MONGODB_URI": self.mongodb_uri}
        return found if self._external_kafka else found | {"KAFKA_REPLICATION": "1"}

    def fetch(self) -> None:
        """Prepare what does not come with the requirements: Kafka's jars, and its cache of classes."""
        if not self._external_kafka:
            _require_platform()
            kafka_jars(self._say)
            cache_kafka_classes(self._say)

    def start(self) -> list[Server]:
        """Start what is ours and does not run yet, all or nothing; returns what it started."""
        if self._external_kafka:
            _require_kafka(self._external_kafka)
        if self._external_mongodb:
            _require_mongodb(self._external_mongodb)
        if not self._servers:
            return []
        _require_platform()
        with self._alone():
            started = [server for server in self._servers if not server.running]
            try:
                for server in started:
                    server.start()
            except BaseException:
                for server in started:
                    server.stop()
                raise
        return started

    def stop(self) -> None:
        """Stop what is ours. The data stay."""
        with self._alone():
            for server in self._servers:
                server.stop()

    def erase(self) -> None:
        """Stop what is ours and delete its data."""
        self.stop()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def status(self) -> list[tuple[str, str, str]]:
        """Name, state and address of Kafka and MongoDB."""
        lines = []
        for server, external in (
            (self._kafka, self._external_kafka),
            (self._mongod, self._external_mongodb),
        ):
            ours = f"running, pid {server.process.pid}" if server.running else "stopped"
            lines.append((server.name, "external" if external else ours, external or server.address))
        return lines

    def __enter__(self) -> Self:
        self._started = self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._started:
            server.stop()

    @property
    def _servers(self) -> list[Server]:
        servers: list[Server] = []
        if not self._external_kafka:
            servers.append(self._kafka)
        if not self._external_mongodb:
            servers.append(self._mongod)
        return servers

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else start or stop this folder's stack meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "stack.lock"):
            yield


def _answers(client: MongoClient[dict[str, Any]]) -> bool:
    try:
        return bool(client.admin.command("ping")["ok"])
    except PyMongoError:
        return False


def _require_platform() -> None:
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        raise LocalError(
            f"The local stack runs on Linux x86-64, not on {sys.platform} {platform.machine()}: {ELSEWHERE}."
        )


def _require_kafka(bootstrap: str) -> None:
    for server in bootstrap.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
                return
        except (OSError, ValueError):
            continue
    raise LocalError(f"No Kafka answers at KAFKA_BOOTSTRAP_SERVERS={bootstrap}.")


def _require_mongodb(uri: str) -> None:
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=5000) as client:
        if not _answers(client):
            # Not the URI itself: it may hold a password.
            raise LocalError("No MongoDB answers at what MONGODB_URI names.")
