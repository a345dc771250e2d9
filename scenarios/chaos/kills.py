"""Kills replicas of mail-ingest while they wait for Graph, and starts them again."""

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from random import Random

import psutil

from deploy.local.processes import LocalError
from deploy.local.system import Process
from simulator.control.client import Simulator

AIM_TIMEOUT = 8.0
"""Seconds in which a replica that works is found in the middle of a request; then an idle one is killed."""
AIM_PAUSE = 0.005
SLOW = 0.2
"""Latency of Graph in seconds while a victim is aimed at: on a busy machine the aim takes time, too."""


@dataclass
class Kills:
    """The kills of a run.

    Args:
        simulator: knows which requests are open, by the port of the client.
        replicas: of mail-ingest.
        random: chooses the victims.
        latency: of Graph, in seconds.
    """

    simulator: Simulator
    replicas: list[Process]
    random: Random
    latency: float
    count: int = 0
    in_flight: int = 0
    """Kills of a replica that waited for responses of Graph, which it never got."""

    def choose(self) -> Process:
        """The next victim."""
        return self.random.choice(self.replicas)

    def kill(self, victim: Process) -> None:
        """Kill a replica, in the middle of a request if possible, and start it again.

        If the victim is idle for long, another one is killed.
        A suspended process receives no response. So what is open after its suspension is certainly cut off.
        """
        for replica in self.replicas:
            replica.wait_until_ready()
        self.simulator.limits(latency=SLOW)
        hit = self._aim(victim)
        victim = hit or victim
        victim.kill()
        self.simulator.limits(latency=self.latency)
        self.count += 1
        self.in_flight += hit is not None
        victim.start(wait=False)

    def _aim(self, victim: Process) -> Process | None:
        """Suspend a replica that waits for Graph, after half of the time any of them; None: none waits."""
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < AIM_TIMEOUT:
            for each in [victim] if elapsed < AIM_TIMEOUT / 2 else self.replicas:
                if self._suspend_in_flight(each):
                    return each
                each.signal(signal.SIGCONT)
            time.sleep(AIM_PAUSE)
        return None

    def _suspend_in_flight(self, victim: Process) -> bool:
        """Suspend the victim if it waits for Graph; whether it did, and the response is still to come."""
        ports = _local_ports(victim)
        if ports.isdisjoint(self.simulator.open_ports()):
            return False
        victim.signal(signal.SIGSTOP)
        return not ports.isdisjoint(self.simulator.open_ports())


def _local_ports(process: Process) -> set[int]:
    """The ports of the process's own ends of its connections."""
    pid = process.background.pid
    if pid is None:
        raise LocalError(f"{process.name} ended by itself: {process.background.tail()}")
    return {each.laddr.port for each in psutil.Process(pid).net_connections("tcp")}


class KillOrders:
    """Kills replicas one after another, beside the changes."""

    def __init__(self, kills: Kills) -> None:
        self.kills = kills
        self._last: asyncio.Task[None] | None = None

    def order(self) -> None:
        """Kill a replica as soon as those that are ordered already are killed."""
        self._last = asyncio.create_task(self._kill(self._last, self.kills.choose()))

    async def finish(self) -> None:
        """Wait until all are killed that are ordered."""
        if self._last is not None:
            await self._last

    async def cancel(self) -> None:
        """Order no further ones."""
        if self._last is not None:
            self._last.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._last

    async def _kill(self, before: "asyncio.Task[None] | None", victim: Process) -> None:
        if before is not None:
            await before
        await asyncio.to_thread(self.kills.kill, victim)
