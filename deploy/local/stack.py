"""A real Apache Kafka and a real MongoDB on this machine, from pip alone.

Kafka is one KRaft node (broker and controller, replication 1), MongoDB the only member of a replica set.
If `KAFKA_BOOTSTRAP_SERVERS` or `MONGODB_URI` is set, the stack uses that server and does not start its own.
docs/decisions/0003-local-stack-from-pip.md explains where the programs are from, and why.

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
from deploy.local.processes import LocalError, Progress, print_progress
from deploy.local.servers import Kafka, Mongod, Server, cache_kafka_classes


class LocalStack:
    """Kafka and MongoDB for one folder, as a context or by `start` and `stop`.

    As a context it stops the servers that it started; servers that ran before go on. The kernel kills the
    servers of a *tied* stack when this Python process ends, also after SIGKILL: for tests and for commands
    that run in the foreground. Without *usual_ports* any free ports are taken.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        tied: bool = False,
        usual_ports: bool = True,
        progress: Progress = print_progress,
    ) -> None:
        self.folder = folder.resolve()
        self._progress = progress
        self._external_kafka = environ.get("KAFKA_BOOTSTRAP_SERVERS") or None
        self._external_mongodb = environ.get("MONGODB_URI") or None
        self._kafka = Kafka(self.folder, tied=tied, usual_ports=usual_ports, progress=progress)
        self._mongod = Mongod(self.folder, tied=tied, usual_ports=usual_ports, progress=progress)

    @property
    def kafka_bootstrap(self) -> str:
        return self._external_kafka or self._kafka.address

    @property
    def mongodb_uri(self) -> str:
        return self._external_mongodb or self._mongod.address

    @property
    def kafka(self) -> Kafka:
        """The stack's own Kafka, for kills and restarts; LocalError if the settings name another one."""
        if self._external_kafka:
            raise LocalError("KAFKA_BOOTSTRAP_SERVERS names a Kafka that the local stack does not control.")
        return self._kafka

    @property
    def mongod(self) -> Mongod:
        """The stack's own mongod, for kills and restarts; LocalError if the settings name another one."""
        if self._external_mongodb:
            raise LocalError("MONGODB_URI names a MongoDB that the local stack does not control.")
        return self._mongod

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which our programs connect to this stack."""
        settings = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap, "MONGODB_URI": self.mongodb_uri}
        return settings if self._external_kafka else settings | {"KAFKA_REPLICATION": "1"}

    def fetch(self) -> None:
        """Prepare what the requirements do not contain: Kafka's jars, and its class cache."""
        if not self._external_kafka:
            _require_platform()
            kafka_jars(self._progress)
            cache_kafka_classes(self._progress)

    def start(self) -> list[Server]:
        """Start the servers that do not run, and return them; if one does not start, stop the others again.

        Raises:
            LocalError: a server does not start, or the settings name a server that does not answer.
        """
        if self._external_kafka:
            _require_kafka(self._external_kafka)
        if self._external_mongodb:
            _require_mongodb(self._external_mongodb)
        if not self._servers:
            return []
        _require_platform()
        with self._locked():
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
        """Stop the stack's own servers. The data stay."""
        with self._locked():
            for server in self._servers:
                server.stop()

    def erase(self) -> None:
        """Stop the stack's own servers and delete their data."""
        self.stop()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def status(self) -> list[tuple[str, str, str]]:
        """Return name, state and address of Kafka and MongoDB."""
        lines = []
        for server, external in (
            (self._kafka, self._external_kafka),
            (self._mongod, self._external_mongodb),
        ):
            state = f"running, pid {server.process.pid}" if server.running else "stopped"
            lines.append((server.name, "external" if external else state, external or server.address))
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
    def _locked(self) -> Iterator[None]:
        """Prevent that another process starts or stops this folder's stack at the same time."""
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
            raise LocalError("No MongoDB answers at the address in MONGODB_URI.")
