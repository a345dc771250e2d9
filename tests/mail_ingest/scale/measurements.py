"""What a phase with many mailboxes costs, and how long a mail waits in it until it is captured."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from pymongo import MongoClient

from shared.topics import ACTIVITIES, GRAPH_NOTIFICATIONS, Topic
from simulator.control.client import Simulator

OPERATIONS = ("insert", "query", "update", "delete", "getmore", "command")
"""The counters of MongoDB's server; each part of a bulk write counts."""
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What has been counted until now.

    Attributes:
        requests: to Graph, by kind; the parts of a batch count, and the batch does not.
        operations: of MongoDB.
    """

    requests: Counter[str]
    operations: int

    @classmethod
    def read(cls, simulator: Simulator, mongodb: MongoClient[dict[str, Any]]) -> "Counts":
        requests = Counter[str](simulator.counters()["requests"])
        del requests["batch"]
        counters = mongodb.admin.command("serverStatus")["opcounters"]
        return cls(requests, sum(counters[name] for name in OPERATIONS))


@dataclass(slots=True)
class Phase:
    """The figures of a phase.

    Attributes:
        begin, end: seconds since 1970.
        requests, operations: as `Counts` has them.
        memory: MB of each process at its end.
        waits: seconds from the notification on Kafka to the activity on Kafka, of each mail.
    """

    name: str
    mailboxes: int
    begin: float
    end: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    def per_mailbox_hour(self, count: int) -> float:
        return count / self.mailboxes / self.seconds * HOUR

    @property
    def requests_per_mailbox_hour(self) -> float:
        return self.per_mailbox_hour(self.requests.total())

    @property
    def operations_per_mailbox_hour(self) -> float:
        return self.per_mailbox_hour(self.operations)

    def percentile(self, percent: int) -> float:
        """Seconds within which this part of the mails was captured; 0 without any."""
        if len(self.waits) < 2:
            return max(self.waits, default=0.0)
        return quantiles(self.waits, n=100, method="inclusive")[percent - 1]

    def line(self) -> str:
        """The figures, for the terminal."""
        parts = [f"{self.name:<16}{self.seconds:5.0f} s"]
        for name, count in (("Graph", self.requests.total()), ("MongoDB", self.operations)):
            parts.append(f"{name}{count / self.seconds:7.1f}/s {self.per_mailbox_hour(count):6.1f}/mailbox-h")
        fresh = f"fresh p50 {self.percentile(50):.2f} s, p99 {self.percentile(99):.2f} s of {len(self.waits)}"
        parts += [fresh, ", ".join(f"{name} {mb} MB" for name, mb in self.memory.items())]
        return "  ".join(parts)


def resident_megabytes(pid: int) -> int:
    """The memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 1024


class Wait(NamedTuple):
    """When an item of a mailbox was first notified, and the seconds until its first activity."""

    mailbox: str
    at: float
    seconds: float


async def read_waits(kafka: str, prefix: str, partitions: int) -> list[Wait]:
    """The waits of all items, by Kafka's times."""
    notified: dict[str, float] = {}
    for record in await _read(kafka, prefix, GRAPH_NOTIFICATIONS, partitions):
        if record.value and (item := json.loads(record.value).get("item")):
            key = f"{record.key.decode()}/{item}"
            notified.setdefault(key, record.timestamp / 1000)
    captured: dict[str, float] = {}
    for record in await _read(kafka, prefix, ACTIVITIES, partitions):
        if record.value:
            captured.setdefault(record.key.decode(), record.timestamp / 1000)
    # An item that a reading of the window has captured first did not wait.
    return [
        Wait(key.split("/")[1], at, captured[key] - at)
        for key, at in notified.items()
        if captured.get(key, 0.0) > at
    ]


def assign_waits(phases: Iterable[Phase], waits: Sequence[Wait]) -> None:
    """Gives each phase the mails that were notified during it."""
    for phase in phases:
        phase.waits = [wait.seconds for wait in waits if phase.begin <= wait.at < phase.end]


async def _read(kafka: str, prefix: str, topic: Topic[Any, Any], partitions: int) -> Sequence[Any]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        assigned = [TopicPartition(prefix + topic.name, number) for number in range(partitions)]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        ends = await consumer.end_offsets(assigned)
        records: list[Any] = []
        while any([await consumer.position(each) < ends[each] for each in assigned]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
        return records
    finally:
        await consumer.stop()
