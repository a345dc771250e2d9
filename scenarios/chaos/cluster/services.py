"""The replicas of the services: kills them, and notices those that end by themselves."""

import asyncio
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from deploy.local.system import Process, System

WATCH_SECONDS = 0.5
NAMES = ("mail-ingest", "matcher", "tracking")


@dataclass
class Services:
    """Two replicas of each service.

    Attributes:
        kills: how often one was killed.
        ended: those that ended although nobody had killed them.
    """

    system: System
    random: Random
    kills: int = 0
    ended: list[str] = field(default_factory=list)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def replicas(self) -> Sequence[Process]:
        return [replica for name in NAMES for replica in self.system.replicas(name)[:2]]

    def start(self) -> None:
        """Start the second replica of each, and wait until all are ready."""
        for name in NAMES:
            self.system.add(name, wait=False)
        for replica in self.replicas:
            replica.wait_until_ready()

    def kill_one(self) -> None:
        """Kill a replica, and start it again at once, as Kubernetes does."""
        self.kill([self.random.choice(self.replicas)])

    def kill(self, replicas: Iterable[Process]) -> None:
        """Kill replicas at the same time, and start them again at once."""
        with self._changing:
            for replica in replicas:
                replica.kill()
                self.kills += 1
            for replica in replicas:
                replica.start(wait=False)

    async def watch(self) -> None:
        """Start again what ends by itself, and remember it, until the task is cancelled."""
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(WATCH_SECONDS)

    def _look(self) -> None:
        with self._changing:
            for replica in self.replicas:
                if not replica.running:
                    end = f"{replica.name} ended with {replica.background.exit_code}"
                    self.ended.append(f"{end}: {replica.background.tail(3)}")
                    replica.start(wait=False)
