"""Kafka and MongoDB as background processes: start, stop, kill, restart."""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from deploy.local.kafka_commands import JVM, KAFKA_SERVES, format_kafka, kafka_java, new_cluster_id
from deploy.local.parts import KAFKA_VERSION, kafka_class_cache, locked, mongod
from deploy.local.processes import Background, Command, LocalError, Progress, choose_port, is_free

SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{kafka}
controller.listener.names=CONTROLLER
log.dirs={data}

# `python -m shared.provision create` creates the topics with their own retention and compaction, which
# override the defaults; no default is set here.
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1

# Tests create hundreds of partitions: an index file of 1 MB instead of 10 MB is enough for 512 MB of log.
log.index.size.max.bytes=1048576

# One thread with 8 MB cleans what a laptop writes; the default of 128 MB is allocated at the start.
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608

# No delay for further members, and short sessions, which tests use.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000

# After SIGKILL the broker serves again when its old registration has expired: 3 s with these settings,
# 11 s without.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
"""

REPLICA_SET = "rs0"
NOT_YET_INITIALIZED = 94  # MongoDB's error code: the server has no replica set configuration yet

# Small for a laptop; an oplog of 256 MB holds hours of writes. No socket in /tmp, no telemetry files.
MONGOD_OPTIONS = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256", "--nounixsocket"]
MONGOD_OPTIONS += ["--setParameter", "diagnosticDataCollectionEnabled=false", "--quiet"]
# Tests raise errors of MongoDB by its fail points.
MONGOD_OPTIONS += ["--setParameter", "enableTestCommands=1"]

# Bytes. An idle stack takes 400 MB, mostly MongoDB's journal; the jars in ~/.m2 take 44 MB.
DISK_NEEDED = 1_000_000_000

# A start takes seconds on a quiet machine, and may take a minute on a very busy one.
START_SECONDS = 120.0
# Kafka stops within 2 s and mongod at once; a server that takes longer does not stop by itself.
STOP_SECONDS = 20.0
# A Kafka that writes its class cache at its end takes 10 s on a quiet machine.
TRAINING_SECONDS = 300.0


class PortFile:
    """The file that keeps the ports of the servers from one start to the next."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, int]:
        """Return port name -> port; empty before the first start."""
        try:
            return dict(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return {}

    def add(self, ports: Mapping[str, int]) -> None:
        self._file.write_text(json.dumps(self.read() | dict(ports), indent=1) + "\n")


class Server(ABC):
    """One server of the stack."""

    name: ClassVar[str]
    default_ports: ClassVar[Mapping[str, int]]

    def __init__(
        self, folder: Path, *, tied: bool = True, usual_ports: bool = True, progress: Progress
    ) -> None:
        self.process = Background(self.name, folder)
        self._folder = folder
        self._data = folder / "data" / self.name
        self._port_file = PortFile(folder / "stack.json")
        self._tied = tied
        self._usual_ports = usual_ports
        self._progress = progress

    @property
    def ports(self) -> dict[str, int]:
        """The ports by name: those of the last start, else the usual ones, or 0 for any free port."""
        recorded = self._port_file.read()
        return {
            name: recorded.get(name, default if self._usual_ports else 0)
            for name, default in self.default_ports.items()
        }

    @property
    def running(self) -> bool:
        return self.process.pid is not None

    def start(self) -> None:
        """Start the server if it does not run, on the ports of the last start if they are free.

        Raises:
            LocalError: it does not start, or the disk is almost full.
        """
        if self.running:
            return
        self._data.mkdir(parents=True, exist_ok=True)
        require_disk(self._data)
        for attempt in range(1, 4):
            ports: dict[str, int] = {}
            for name, preferred in self.ports.items():
                ports[name] = choose_port(preferred, ports.values())
            self._port_file.add(ports)
            try:
                self._launch()
                return
            except LocalError:
                # Perhaps another program took a port between the check and the start.
                self.process.kill()
                if attempt == 3 or all(map(is_free, ports.values())):
                    raise
            except BaseException:
                self.process.kill()
                raise

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if the server does not stop within `STOP_SECONDS`."""
        if self.running and not self.process.stop(STOP_SECONDS):
            self._progress(f"{self.name} did not stop within {STOP_SECONDS:.0f} s and was killed")

    def kill(self) -> None:
        """Send SIGKILL, as in a crash."""
        self.process.kill()

    def restart(self) -> None:
        """Stop the server with SIGTERM and start it again on the same ports."""
        self.stop()
        self.start()

    @property
    @abstractmethod
    def address(self) -> str:
        """The address for clients. A start may change it: read it again after a start."""

    @abstractmethod
    def _launch(self) -> None:
        """Start the process; return when the server accepts requests."""


class Kafka(Server):
    """One KRaft node, broker and controller."""

    name = "kafka"
    jvm: Sequence[str] = JVM
    format_options: Sequence[str] = ()
    default_ports: ClassVar = {"kafka": 19092, "controller": 19093}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['kafka']}"

    def _launch(self) -> None:
        settings = self._folder / "kafka.properties"
        settings.write_text(self._settings())
        if not (self._data / "meta.properties").exists():
            format_kafka(settings, new_cluster_id(), self._progress, *self.format_options)
        self._progress(f"starting Kafka {KAFKA_VERSION} on {self.address} …")
        java = kafka_java(self.jvm, self._progress)
        self.process.start([*java, "kafka.Kafka", settings], tied=self._tied)
        self.process.wait_until(
            lambda: KAFKA_SERVES in self.process.log.read_text(errors="replace"),
            START_SECONDS,
            "starting",
        )

    def _settings(self) -> str:
        """Return the broker's properties."""
        return SERVER_PROPERTIES.format(data=self._data, **self.ports)


class TrainingKafka(Kafka):
    """A Kafka that writes its classes, loaded and linked, to a file when it stops."""

    def __init__(self, folder: Path, cache: Path, progress: Progress) -> None:
        super().__init__(folder, usual_ports=False, progress=progress)
        self.jvm = [*JVM, f"-XX:AOTCacheOutput={cache}"]


def cache_kafka_classes(progress: Progress) -> None:
    """Write Kafka's class cache, once for each Java and Kafka: with it a start takes a third of the CPU time.

    Measured on two cores, `format` and start: 8.7 CPU seconds without, 3.0 with. Writing takes 15 CPU seconds
    and 65 MB. Kafka runs without the cache too, so a failure is reported and no error.
    """
    with locked(kafka_class_cache().with_suffix(".lock")):
        cache = kafka_class_cache()
        if cache.exists():
            return
        progress("preparing Kafka for quick starts, once …")
        with TemporaryDirectory() as folder:
            trained = cache.with_suffix(".new")
            kafka = TrainingKafka(Path(folder), trained, lambda _: None)
            try:
                kafka.start()
                kafka.process.stop(TRAINING_SECONDS)
                trained.replace(cache)
            except (LocalError, OSError) as error:
                progress(f"Kafka's class cache was not written ({error}); starts take longer without it")
            finally:
                kafka.kill()


class Mongod(Server):
    """The only member of a replica set."""

    name = "mongod"
    default_ports: ClassVar = {"mongod": 27117}

    @property
    def address(self) -> str:
        return f"mongodb://{self._host}/?replicaSet={REPLICA_SET}"

    @property
    def _host(self) -> str:
        return f"127.0.0.1:{self.ports['mongod']}"

    def _launch(self) -> None:
        command: Command = [mongod(), "--dbpath", self._data, "--replSet", REPLICA_SET]
        command = [*command, "--bind_ip", "127.0.0.1", "--port", str(self.ports["mongod"])]
        self._progress(f"starting MongoDB on {self._host} …")
        self.process.start([*command, *MONGOD_OPTIONS], tied=self._tied)
        with MongoClient[dict[str, Any]](
            f"mongodb://{self._host}/?directConnection=true", serverSelectionTimeoutMS=500
        ) as client:
            self.process.wait_until(lambda: self._is_primary(client), START_SECONDS, "becoming a primary")

    def _is_primary(self, client: MongoClient[dict[str, Any]]) -> bool:
        """Return whether the server is a primary; if not, take one step towards it: callers repeat this."""
        wanted: dict[str, Any] = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": self._host}]}
        try:
            if client.admin.command("serverStatus")["pid"] != self.process.pid:
                return False  # another server took the port between the check and the start: this one ends
            if client.admin.command("hello")["isWritablePrimary"]:
                return True
            config = _replica_set_config(client)
            if config is None:
                client.admin.command("replSetInitiate", wanted)
            elif config["members"][0]["host"] != self._host:  # its port has changed
                wanted["version"] = config["version"] + 1
                client.admin.command("replSetReconfig", wanted, force=True)
        except (ConnectionFailure, OperationFailure):
            pass  # it does not listen yet, or a change of its state has closed all connections
        return False


def _replica_set_config(client: MongoClient[dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return dict(client.admin.command("replSetGetConfig")["config"])
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALIZED:
            raise
        return None


def require_disk(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < DISK_NEEDED:
        raise LocalError(
            f"{folder} has {free / 1e6:,.0f} MB left and the local stack needs {DISK_NEEDED / 1e6:,.0f} MB: "
            "free some space, or set LOCAL_DIR to a folder on another disk."
        )
