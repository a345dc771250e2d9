"""A Kafka cluster and a MongoDB replica set of three on this machine, for tests of faults.

Three brokers with replication factor 3, two further controllers, and three mongods, with the servers' own
time-outs. Each node is in a network namespace of its own, so that it can be killed, suspended, or cut off
from the others while its clients still reach it. Needs Linux, root, and the commands `ip` and `iptables`.

    with Cluster(folder) as cluster:
        connect(cluster.bootstrap_servers, cluster.mongodb_uri)
        leader = cluster.leader_of("topic", 0)
        leader.cut_off()
        ...
        leader.heal()
        cluster.until_in_sync()

`cluster.py` has the whole, `nodes.py` one node and what can happen to it, `network.py` the namespaces.
All calls block: coroutines call them by `asyncio.to_thread`.
"""

from .cluster import Cluster
from .network import missing_requirement
from .nodes import KafkaNode, MongodNode, Node

__all__ = ["Cluster", "KafkaNode", "MongodNode", "Node", "missing_requirement"]
