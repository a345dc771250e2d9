"""The faults of processes and stores: one table, from which a seeded generator chooses."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random

from deploy.local.servers import Server
from deploy.local.stack import LocalStack
from deploy.local.system import Process, System

from .databases import DatabaseCopy, Databases
from .history import BEGINNING, Restore

SERVICES = ("mail-ingest", "matcher", "tracking")
DATABASES = {"tracking": "tracking", "mail-ingest": "mail_ingest"}
"""Service -> its database."""


@dataclass
class Fault:
    """One fault.

    Attributes:
        began, ended: when it happened, and when everything was started or resumed again.
        recovery: seconds from `ended` until new mail was suggested by both replicas of tracking; None: never.
    """

    kind: str
    began: datetime
    ended: datetime
    recovery: float | None = None


@dataclass
class Faults:
    """Brings faults about.

    Args:
        system, stack: all processes.
        databases: of the services.
        random: makes all choices.
        pause: least and most seconds of a suspension: longer than sessions and leases.

    Attributes:
        restores: databases that were put back.
    """

    system: System
    stack: LocalStack
    databases: Databases
    random: Random
    pause: tuple[float, float]
    restores: list[Restore] = field(default_factory=list)
    _copies: dict[str, DatabaseCopy] = field(default_factory=dict)

    def table(self) -> dict[str, Callable[[], None]]:
        """Name of a kind of fault -> the fault; it returns when all is started or resumed again."""
        return {
            **_of_each(SERVICES, {" killed": self.kill, " paused": self.pause_replica}),
            "Kafka killed": lambda: self.kill_server(self.stack.kafka),
            "MongoDB killed": lambda: self.kill_server(self.stack.mongod),
            "Kafka hung": lambda: self._suspend([self.stack.kafka.process.signal]),
            "MongoDB hung": lambda: self._suspend([self.stack.mongod.process.signal]),
            "power loss": self.lose_power,
            **_of_each(DATABASES, {"'s database restored": self.restore, "'s database lost": self.lose}),
        }

    def inject(self, kind: str) -> Fault:
        """Bring a fault about, and wait until all is started or resumed again."""
        began = datetime.now(UTC)
        self.table()[kind]()
        return Fault(kind, began, datetime.now(UTC))

    def take_copies(self) -> None:
        """Copy the databases, for the restores to come."""
        for service, name in DATABASES.items():
            self._copies[service] = self.databases.copy(name)

    # kinds

    def kill(self, service: str) -> None:
        """Kill one replica, or both at once, and start them again."""
        replicas = self.system.replicas(service)
        victims = replicas if self.random.random() < 0.5 else [self.random.choice(replicas)]
        _kill(victims)
        _start(victims)

    def pause_replica(self, service: str) -> None:
        """Suspend a replica beyond its lease and its session, and resume it."""
        self._suspend([self.random.choice(self.system.replicas(service)).signal])

    def kill_server(self, server: Server) -> None:
        server.kill()
        server.start()

    def lose_power(self) -> None:
        """Everything ends at the same moment, but for the simulator, which is Microsoft's."""
        servers: list[Server] = [self.stack.kafka, self.stack.mongod]
        services = [process for name in SERVICES for process in self.system.replicas(name)]
        _kill([*servers, *services])
        for server in servers:
            server.start()
        _start(services)

    def restore(self, service: str) -> None:
        """Put back a copy of the service's database that was taken earlier in the run."""
        self._put_back(service, self._copies.get(service))

    def lose(self, service: str) -> None:
        """Lose the service's database."""
        self._put_back(service, None)

    # parts

    def _put_back(self, service: str, copy: DatabaseCopy | None) -> None:
        replicas = self.system.replicas(service)
        _kill(replicas)
        self.databases.put_back(DATABASES[service], copy)
        self.restores.append(Restore(service, copy.at if copy else BEGINNING, datetime.now(UTC)))
        _start(replicas)

    def _suspend(self, victims: Sequence[Callable[[signal.Signals], None]]) -> None:
        for send in victims:
            send(signal.SIGSTOP)
        try:
            time.sleep(self.random.uniform(*self.pause))
        finally:
            for send in victims:
                send(signal.SIGCONT)


def _kill(victims: Sequence[Process | Server]) -> None:
    """Kill all at the same moment, and wait until they have ended."""
    with ThreadPoolExecutor(len(victims)) as pool:
        list(pool.map(lambda victim: victim.kill(), victims))


def _start(processes: Sequence[Process]) -> None:
    for process in processes:
        process.start(wait=False)


def _of_each(
    services: Iterable[str], faults: Mapping[str, Callable[[str], None]]
) -> dict[str, Callable[[], None]]:
    """The faults of each of these services, by the service's name and theirs."""
    return {
        f"{service}{name}": partial(fault, service) for service in services for name, fault in faults.items()
    }


def order_of(kinds: Sequence[str], random: Random) -> Iterator[str]:
    """All kinds, in a new order each time."""
    while True:
        yield from random.sample(kinds, len(kinds))
