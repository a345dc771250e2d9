"""The cluster: its nodes, who leads now, and whether all replicas are in sync."""

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pymongo.errors import PyMongoError

from deploy.local.kafka_commands import new_cluster_id
from deploy.local.processes import LocalError, Progress, print_progress
from deploy.local.servers import REPLICA_SET, require_disk

from .metadata import read_metadata
from .network import Network
from .nodes import KafkaNode, MongodNode, Node

BROKERS, MONGODS = 3, 3
FURTHER_CONTROLLERS = 2
"""With five controllers the quorum survives the loss of any two brokers."""

REPLICA_SET_SETTINGS = {"electionTimeoutMillis": 5000, "catchUpTimeoutMillis": 2000}
"""With MongoDB's own a primary that is cut off stops all writes for 20 s (docs/scaling.md)."""
LEADER_SECONDS = 60.0
"""An election takes up to 10 s with the servers' own time-outs, and longer on a busy machine."""
IN_SYNC_SECONDS = 120.0
"""A node that was away catches up within seconds, and within a minute on a busy machine."""
POLL_SECONDS = 0.2

PRIMARY, SECONDARY = 1, 2  # states of members in MongoDB's replSetGetStatus

_Result = TypeVar("_Result")
_Node = TypeVar("_Node", bound=Node)


class Cluster:
    """Three brokers and three mongods, as a context or by `start` and `stop`; each start is of an empty one.

    Args:
        folder: of the data, which `stop` deletes, and of the logs.
        progress: receives each line of progress.
    """

    def __init__(self, folder: Path, *, progress: Progress = print_progress) -> None:
        self.folder = folder.resolve()
        self._progress = progress
        self._network = Network()
        numbers = range(1, BROKERS + FURTHER_CONTROLLERS + 1)
        self.kafka = tuple(self._kafka_node(number, numbers) for number in numbers)
        self.brokers = self.kafka[:BROKERS]
        members = range(1, MONGODS + 1)
        self.mongods = tuple(self._mongod_node(number, members) for number in members)

    @property
    def nodes(self) -> Sequence[Node]:
        return [*self.kafka, *self.mongods]

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all brokers. A client that knows only one broker takes that one's `address`."""
        return ",".join(broker.address for broker in self.brokers)

    @property
    def mongodb_uri(self) -> str:
        return f"mongodb://{','.join(node.address for node in self.mongods)}/?replicaSet={REPLICA_SET}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which our programs connect to the cluster."""
        return {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers, "MONGODB_URI": self.mongodb_uri}

    def start(self) -> None:
        """Start all nodes; return when all replicas are in sync.

        Raises:
            LocalError: a requirement is missing, or a node does not start.
        """
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        (self.folder / "data").mkdir(parents=True)
        require_disk(self.folder)
        self._progress(f"starting a cluster of {len(self.nodes)} nodes …")
        self._network.start([node.name for node in self.nodes])
        try:
            cluster_id = new_cluster_id()
            _at_once(self.kafka, lambda node: node.format(cluster_id))
            for node in self.nodes:
                node.start(wait=False)
            for node in self.nodes:
                node.wait_until_serving()
            self._initiate_replica_set()
            self.until_in_sync()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill all nodes, and remove their networks and their data; the logs stay."""
        for node in self.nodes:
            node.kill()
            node.is_cut_off = False
        self._network.stop()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # faults of several nodes

    def lose_power(self) -> None:
        """Send SIGKILL to all nodes at once."""
        _at_once(self.nodes, lambda node: node.kill())

    def mend(self) -> None:
        """Resume, connect and start all nodes, and wait until they serve and all replicas are in sync."""
        for node in self.nodes:
            node.resume()
            node.heal()
            node.start(wait=False)
        for node in self.nodes:
            node.wait_until_serving()
        self.until_in_sync()

    # who leads

    def leader_of(self, topic: str, partition: int) -> KafkaNode:
        """Return the leader of a partition, as a broker without a fault reports it.

        Waits while there is none.
        """

        def leader() -> KafkaNode | None:
            for broker in self.brokers:
                if broker.is_healthy and (metadata := read_metadata(broker.address)):
                    number = metadata.leaders.get((topic, partition), -1)
                    return self.kafka[number - 1] if number > 0 else None
            return None

        return self._wait_for(leader, f"a leader of {topic}-{partition}", LEADER_SECONDS)

    def controller(self) -> KafkaNode:
        """Return the active controller, broker or not; waits while the quorum knows none."""

        def active() -> KafkaNode | None:
            _, number = max(node.quorum_state for node in self.kafka)
            return self.kafka[number - 1] if number > 0 else None

        return self._wait_for(active, "an active controller", LEADER_SECONDS)

    def primary(self) -> MongodNode:
        """Return the newest primary; waits while there is none.

        One that is cut off takes itself for the primary for a while longer.
        """

        def newest() -> MongodNode | None:
            elected = [(election, node) for node in self.mongods if (election := _election(node))]
            return max(elected, key=lambda each: each[0])[1] if elected else None

        return self._wait_for(newest, "a primary", LEADER_SECONDS)

    def step_down(self) -> MongodNode:
        """Make the primary hand over to a secondary. Returns the one that was the primary."""
        primary = self.primary()
        with primary.client() as client:
            client.admin.command("replSetStepDown", 20, secondaryCatchUpPeriodSecs=1)
        return primary

    # in sync

    def until_in_sync(self, seconds: float = IN_SYNC_SECONDS) -> None:
        """Wait until all replicas of all partitions and all members of the replica set are in sync.

        Raises:
            LocalError: some are not, after so many seconds.
        """
        self._wait_for(lambda: self._is_in_sync() or None, "replicas that are in sync", seconds)

    def _is_in_sync(self) -> bool:
        numbers = {broker.number for broker in self.brokers}
        for broker in self.brokers:
            metadata = read_metadata(broker.address)
            if metadata is None or metadata.brokers != numbers or metadata.out_of_sync:
                return False
        return self._members_follow()

    def _members_follow(self) -> bool:
        try:
            with self.primary().client() as client:
                members = client.admin.command("replSetGetStatus")["members"]
        except PyMongoError:
            return False
        return sorted(member["state"] for member in members) == [PRIMARY, *[SECONDARY] * (MONGODS - 1)]

    # parts

    def _kafka_node(self, number: int, numbers: Sequence[int]) -> KafkaNode:
        return KafkaNode(
            number,
            self.folder,
            self._network,
            [f"kafka-{other}" for other in numbers if other != number],
            is_broker=number <= BROKERS,
            voters=lambda: ",".join(node.voter for node in self.kafka),
            progress=self._progress,
        )

    def _mongod_node(self, number: int, numbers: Sequence[int]) -> MongodNode:
        peers = [f"mongod-{other}" for other in numbers if other != number]
        return MongodNode(number, self.folder, self._network, peers)

    def _initiate_replica_set(self) -> None:
        members = [{"_id": number, "host": node.address} for number, node in enumerate(self.mongods)]
        config = {"_id": REPLICA_SET, "members": members, "settings": REPLICA_SET_SETTINGS}
        with self.mongods[0].client() as client:
            client.admin.command("replSetInitiate", config)

    def _wait_for(self, find: Callable[[], _Result | None], what: str, seconds: float) -> _Result:
        deadline = time.monotonic() + seconds
        while (found := find()) is None:
            if time.monotonic() > deadline:
                raise LocalError(f"the cluster had no {what} within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        return found


def _election(node: MongodNode) -> Any:
    """Return the id of the election that made a member the primary; ids sort by time. None if it is none."""
    if not node.running or node.hangs:
        return None
    try:
        with node.client() as client:
            hello = client.admin.command("hello")
    except PyMongoError:
        return None
    return hello["electionId"] if hello["isWritablePrimary"] else None


def _at_once(nodes: Sequence[_Node], do: Callable[[_Node], None]) -> None:
    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(do, nodes))
