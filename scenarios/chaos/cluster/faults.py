"""THE TABLE OF FAULTS: what happens to the servers, and when everything must work again.

A fault is a few steps. Each step acts, and then everything must work again within its bound: after the action
began, or after it ended where a majority was away before. The last step mends the cluster.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from deploy.local.cluster import Cluster, Node
from deploy.local.system import System
from shared.topics import TOPICS

from .services import NAMES, Services

SINGLE_BOUND, MAJORITY_BOUND = 20.0, 15.0
"""Seconds in which everything works again: after a fault of one node, and after the return of a majority."""
SILENT_PRIMARY_BOUND = 40.0
"""Seconds after a primary that neither answers nor refuses. A secondary may go on reporting its progress to
it for 30 s: the new one learns of that from heartbeats, and each write takes up to 2 s (docs/scaling.md)."""
AWAY_SECONDS = 15.0
"""So long a majority is away: longer than clients keep what they know about the brokers."""
BEFORE_FIRST_FETCH = (0.3, 2.0)
"""Seconds from the start of a replica until it is stopped: it joins its group, and reads nothing yet."""

PARTITIONS = 4
"""Of each topic."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a fault.

    Attributes:
        bound: None: nothing has to work until the next step.
        from_end: the bound counts from the end of the action.
        seconds: the least duration; of a step without a bound, the duration.
    """

    what: str
    act: Callable[[], object]
    bound: float | None = SINGLE_BOUND
    from_end: bool = False
    seconds: float = 0.0


@dataclass
class Targets:
    """What faults act on."""

    cluster: Cluster
    system: System
    services: Services
    random: Random

    def leader(self) -> Node:
        """The leader of a partition of one of our topics."""
        topic = self.random.choice(TOPICS)
        partition = self.random.randrange(PARTITIONS)
        return self.cluster.leader_of(f"{self.system.prefix}{topic.name}", partition)

    def mend(self, bound: float = SINGLE_BOUND) -> Step:
        """The last step of a fault."""
        return Step("mended", self.cluster.mend, bound, from_end=True)


Steps = Callable[[Targets], Iterator[Step]]


def of_one(
    role: Callable[[Targets], Node], act: Callable[[Node], None], bound: float = SINGLE_BOUND
) -> Steps:
    """A fault of the one node that has a role now."""

    def steps(targets: Targets) -> Iterator[Step]:
        yield Step("inflicted", lambda: act(role(targets)), bound)
        yield targets.mend()

    return steps


def primary_steps_down(targets: Targets) -> Iterator[Step]:
    """The primary hands over to a secondary, and stays a member."""
    yield Step("inflicted", targets.cluster.step_down)
    yield targets.mend()


def two_brokers_then_the_third(targets: Targets) -> Iterator[Step]:
    """Clients know only one broker when the two others return and it is killed."""
    *lost, left = targets.random.sample(targets.cluster.brokers, 3)
    yield Step("two brokers down", lambda: for_all(lost, Node.kill), None, seconds=AWAY_SECONDS)
    yield Step("they return", lambda: start(lost), MAJORITY_BOUND, from_end=True)
    yield Step("in sync", targets.cluster.until_in_sync, None)
    yield Step("the third one down", left.kill)
    yield targets.mend()


def two_members_down(targets: Targets) -> Iterator[Step]:
    """The replica set has no majority."""
    lost = targets.random.sample(targets.cluster.mongods, 2)
    yield Step("two members down", lambda: for_all(lost, Node.kill), None, seconds=AWAY_SECONDS)
    yield Step("they return", lambda: start(lost), MAJORITY_BOUND, from_end=True)
    yield targets.mend()


def rolling_restart(nodes: Callable[[Cluster], Sequence[Node]]) -> Steps:
    """Each node is stopped and started again, one after another."""

    def steps(targets: Targets) -> Iterator[Step]:
        for node in nodes(targets.cluster):
            yield Step(f"{node} restarts", lambda node=node: restart(node))  # type: ignore[misc]
            yield Step("in sync", targets.cluster.until_in_sync, None)
        yield targets.mend()

    return steps


def loss_of_power(targets: Targets) -> Iterator[Step]:
    """All servers are killed at once."""
    yield Step("all down", targets.cluster.lose_power, None, seconds=2.0)
    yield Step("they return", lambda: start(targets.cluster.nodes), MAJORITY_BOUND, from_end=True)
    yield targets.mend(MAJORITY_BOUND)


def both_replicas(name: str) -> Steps:
    """Both replicas of a service are killed, and start again."""

    def steps(targets: Targets) -> Iterator[Step]:
        replicas = targets.system.replicas(name)[:2]
        yield Step("both replicas killed", lambda: targets.services.kill(replicas))

    return steps


def stopped_before_first_fetch(name: str) -> Steps:
    """One more replica joins while a leader hangs, and is stopped before it has read anything."""

    def join_and_stop(targets: Targets) -> None:
        targets.leader().hang()
        replica = next(iter(targets.system.replicas(name)[2:]), None) or targets.system.add(name, wait=False)
        replica.start(wait=False)
        time.sleep(targets.random.uniform(*BEFORE_FIRST_FETCH))
        replica.stop()

    def steps(targets: Targets) -> Iterator[Step]:
        yield Step("stopped", lambda: join_and_stop(targets))
        yield targets.mend()

    return steps


ROLES: Mapping[str, Callable[[Targets], Node]] = {
    "leader": Targets.leader,
    "controller": lambda targets: targets.cluster.controller(),
    "primary": lambda targets: targets.cluster.primary(),
}
ENDS: Mapping[str, Callable[[Node], None]] = {
    "killed": Node.kill,
    "hangs": Node.hang,
    "cut off": Node.cut_off,
    "stopped": Node.terminate,
}

BOUNDS_OF_PRIMARY = {"hangs": SILENT_PRIMARY_BOUND, "cut off": SILENT_PRIMARY_BOUND}

FAULTS: Mapping[str, Mapping[str, Steps]] = {
    "Kafka": {
        **{
            f"{role} {end}": of_one(ROLES[role], ENDS[end])
            for role in ("leader", "controller")
            for end in ENDS
        },
        "two brokers down, then the third": two_brokers_then_the_third,
        "rolling restart of Kafka": rolling_restart(lambda cluster: cluster.kafka),
    },
    "MongoDB": {
        **{
            f"primary {end}": of_one(ROLES["primary"], ENDS[end], BOUNDS_OF_PRIMARY.get(end, SINGLE_BOUND))
            for end in ENDS
        },
        "primary steps down": primary_steps_down,
        "two members down": two_members_down,
        "rolling restart of MongoDB": rolling_restart(lambda cluster: cluster.mongods),
    },
    "all": {
        "loss of power": loss_of_power,
        **{f"both replicas of {name} killed": both_replicas(name) for name in NAMES},
        **{f"{name} stopped before its first fetch": stopped_before_first_fetch(name) for name in NAMES},
    },
}
"""By what they hit; a run has those of one of them, and takes at most half an hour."""


def for_all(nodes: Sequence[Node], act: Callable[[Node], None]) -> None:
    for node in nodes:
        act(node)


def start(nodes: Sequence[Node]) -> None:
    """Start nodes together; return when all serve."""
    for node in nodes:
        node.start(wait=False)
    for node in nodes:
        node.wait_until_serving()


def restart(node: Node) -> None:
    node.terminate()
    node.start()
