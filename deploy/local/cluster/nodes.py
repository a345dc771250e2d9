"""One node of a cluster: a Kafka node or a mongod, and what can happen to it."""

import json
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local.kafka_commands import JVM, KAFKA_SERVES, format_kafka, kafka_java
from deploy.local.parts import mongod
from deploy.local.processes import Background, Command, Progress
from deploy.local.servers import MONGOD_OPTIONS, REPLICA_SET, START_SECONDS, STOP_SECONDS

from .network import Network

KAFKA_PORT, CONTROLLER_PORT, MONGOD_PORT = 9092, 9093, 27017

KAFKA_PROPERTIES = """\
process.roles={roles}
node.id={number}
controller.quorum.voters={voters}
listeners={listeners}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}

auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2

# Small index files and one small log cleaner, as in the stack of one broker. All time-outs of the cluster
# have Kafka's defaults: recovery takes as long as it does in production.
log.index.size.max.bytes=1048576
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""


class Node(ABC):
    """One node, in a namespace of its own.

    Args:
        peers: the names of the nodes that `cut_off` separates it from.
    """

    def __init__(self, name: str, folder: Path, network: Network, peers: Sequence[str]) -> None:
        self.name = name
        self.process = Background(name, folder)
        self.hangs = False
        self.is_cut_off = False
        self._data = folder / "data" / name
        self._folder = folder
        self._network = network
        self._peers = peers

    def __repr__(self) -> str:
        return self.name

    @property
    def ip(self) -> str:
        """Its address; other after each start of the cluster."""
        return self._network.addresses[self.name]

    @property
    @abstractmethod
    def address(self) -> str:
        """`host:port` for clients."""

    @property
    def running(self) -> bool:
        return self.process.pid is not None

    @property
    def is_healthy(self) -> bool:
        """Whether it runs, does not hang, and is not cut off."""
        return self.running and not self.hangs and not self.is_cut_off

    def start(self, *, wait: bool = True) -> None:
        """Start the process if it does not run.

        Args:
            wait: False: return before it serves. A Kafka node serves once the quorum is there.

        Raises:
            LocalError: it ended or does not serve in time.
        """
        if not self.running:
            self._data.mkdir(parents=True, exist_ok=True)
            # Tied: the kernel kills the nodes when this Python process ends.
            self.process.start([*self._network.command(self.name), *self._command()], tied=True)
        if wait:
            self.wait_until_serving()

    def wait_until_serving(self) -> None:
        self.process.wait_until(self._serves, START_SECONDS, "starting")

    def kill(self) -> None:
        """Send SIGKILL, as in a crash; return when the process has ended."""
        self.process.kill()
        self.hangs = False

    def terminate(self) -> None:
        """Send SIGTERM: a leader or a primary hands over first. SIGKILL after `STOP_SECONDS`."""
        self.process.stop(STOP_SECONDS)
        self.hangs = False

    def hang(self) -> None:
        """Send SIGSTOP: connections stay open, nothing answers."""
        self.process.signal(signal.SIGSTOP)
        self.hangs = True

    def resume(self) -> None:
        """Send SIGCONT after `hang`."""
        self.process.signal(signal.SIGCONT)
        self.hangs = False

    def cut_off(self) -> None:
        """Drop the packets between it and its peers in both directions; clients still reach it."""
        if not self.is_cut_off:
            self._network.cut_off(self.name, self._peers)
            self.is_cut_off = True

    def heal(self) -> None:
        """Connect it with its peers again."""
        self._network.heal(self.name)
        self.is_cut_off = False

    @abstractmethod
    def _command(self) -> Command: ...

    @abstractmethod
    def _serves(self) -> bool: ...


class KafkaNode(Node):
    """A broker that is also a controller, or a controller alone.

    Args:
        number: its `node.id`.
        voters: returns the value of `controller.quorum.voters`; called when the addresses are known.
    """

    def __init__(
        self,
        number: int,
        folder: Path,
        network: Network,
        peers: Sequence[str],
        *,
        is_broker: bool,
        voters: Callable[[], str],
        progress: Progress,
    ) -> None:
        super().__init__(f"kafka-{number}", folder, network, peers)
        self.number = number
        self.is_broker = is_broker
        self._voters = voters
        self._progress = progress

    @property
    def address(self) -> str:
        return f"{self.ip}:{KAFKA_PORT}"

    @property
    def voter(self) -> str:
        """Its entry in `controller.quorum.voters`."""
        return f"{self.number}@{self.ip}:{CONTROLLER_PORT}"

    @property
    def quorum_state(self) -> tuple[int, int]:
        """Epoch and `node.id` of the newest active controller that it knows; -1 for none."""
        try:
            state = json.loads((self._data / "__cluster_metadata-0" / "quorum-state").read_text())
        except FileNotFoundError:
            return -1, -1
        return state["leaderEpoch"], state["leaderId"]

    def format(self, cluster_id: str) -> None:
        """Prepare the empty data folder, once."""
        listeners = [f"CONTROLLER://{self.ip}:{CONTROLLER_PORT}"]
        if self.is_broker:
            listeners.append(f"PLAINTEXT://{self.address}")
        properties = KAFKA_PROPERTIES.format(
            roles="broker,controller" if self.is_broker else "controller",
            number=self.number,
            voters=self._voters(),
            listeners=",".join(listeners),
            data=self._data,
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(properties)
        format_kafka(self._properties, cluster_id, self._progress)

    @property
    def _properties(self) -> Path:
        return self._folder / f"{self.name}.properties"

    def _command(self) -> Command:
        return [*kafka_java(JVM, self._progress), "kafka.Kafka", self._properties]

    def _serves(self) -> bool:
        return KAFKA_SERVES in self.process.log.read_text(errors="replace")


class MongodNode(Node):
    """A member of the replica set."""

    def __init__(self, number: int, folder: Path, network: Network, peers: Sequence[str]) -> None:
        super().__init__(f"mongod-{number}", folder, network, peers)

    @property
    def address(self) -> str:
        return f"{self.ip}:{MONGOD_PORT}"

    def client(self) -> MongoClient[dict[str, Any]]:
        """A client of this member alone, which waits for two seconds at most."""
        return MongoClient(
            f"mongodb://{self.address}/?directConnection=true",
            serverSelectionTimeoutMS=2000,
            connectTimeoutMS=2000,
            socketTimeoutMS=2000,
        )

    def _command(self) -> Command:
        command: Command = [mongod(), "--dbpath", self._data, "--replSet", REPLICA_SET]
        command = [*command, "--bind_ip", self.ip, "--port", str(MONGOD_PORT), *MONGOD_OPTIONS]
        # `configureFailPoint` raises any error of MongoDB at any command.
        return [*command, "--setParameter", "enableTestCommands=1"]

    def _serves(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.admin.command("ping")["ok"])
        except PyMongoError:
            return False
