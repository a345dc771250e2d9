"""Waits for the system by what it shows and by what its processes report, never for a time."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx2

from deploy.local.system import Process, System
from scenarios.backlog import (
    BACKLOG_KEYS,
    PENDING_NOTIFICATIONS,
    check_keys,
    flatten_status,
    is_backlog_key,
)
from simulator.control.client import TenantControl

from .faults import SERVICES
from .records import PROBE, PROBE_RECORD
from .users import User

PAUSE = 0.2
"""Seconds between two looks."""
UNAVAILABLE = "unavailable"


@dataclass
class Recovery:
    """Looks at a system.

    Args:
        system: all processes.
        tenant: of the simulator.
        owner: gets the mail that is sent after each fault.
        address: of the owner.

    Attributes:
        ended: processes that ended by themselves, with the end of their logs; they are started again.
    """

    system: System
    tenant: TenantControl
    owner: User
    address: str
    ended: list[str] = field(default_factory=list)
    _probes: int = 0

    async def wait_for_probe(self, seconds: float) -> float | None:
        """Send a mail, and wait until each replica of tracking suggests it.

        Returns:
            The seconds that it took; None: not in this time.
        """
        self._probes += 1
        began = time.monotonic()
        sent = await asyncio.to_thread(
            self.tenant.send, PROBE, [self.address], subject=f"Probe {self._probes}", text="Hello"
        )
        item = sent["copies"][0]["id"]
        for replica in range(len(self.owner.replicas)):
            while not await self._is_suggested(item, replica):
                if time.monotonic() - began > seconds:
                    return None
                await asyncio.to_thread(self.restart_ended)
                await asyncio.sleep(PAUSE)
        return time.monotonic() - began

    async def _is_suggested(self, item: str, replica: int) -> bool:
        answer = await self.owner.read(PROBE_RECORD, replica)
        return item in {each for each, _ in answer.suggestions}

    def restart_ended(self) -> None:
        """Start the processes again that ended by themselves, as any supervisor does."""
        for process in self._services():
            if not process.running:
                code, tail = process.background.exit_code, process.background.tail(4)
                self.ended.append(f"{process.name} ended by itself with {code}: {tail}")
                process.start(wait=False)

    async def wait_until_quiet(self, seconds: float) -> dict[str, Any]:
        """Wait until two looks at all processes have the same counts, and no unfinished work.

        Returns:
            The work that is unfinished after this time; empty: it is quiet.
        """
        deadline = time.monotonic() + seconds
        before: dict[str, Any] = {}
        while True:
            await asyncio.to_thread(self.restart_ended)
            counts = await asyncio.to_thread(self._read_counts)
            unfinished = {
                name: count
                for name, count in counts.items()
                if count and (is_backlog_key(name) or name.endswith(UNAVAILABLE))
            }
            if counts == before and not unfinished:
                return {}
            if time.monotonic() > deadline:
                return unfinished or {"counts that change": sorted(set(counts) - set(before))}
            before = counts
            await asyncio.sleep(PAUSE)

    def _read_counts(self) -> dict[str, Any]:
        """All counts of `/status`, and the notifications that the simulator has not delivered yet."""
        services = self._services()
        pending = self.tenant.simulator.counters()["notifications"].get("pending", 0)
        counts: dict[str, Any] = {PENDING_NOTIFICATIONS: pending}
        with ThreadPoolExecutor(len(services)) as pool:
            for each in pool.map(_read_status, services):
                counts |= each
        if not any(name.endswith(UNAVAILABLE) for name in counts):
            check_keys(counts, {name: BACKLOG_KEYS[name] for name in SERVICES})
        return counts

    def _services(self) -> Sequence[Process]:
        return [process for name in SERVICES for process in self.system.replicas(name)]


def _read_status(process: Process) -> dict[str, Any]:
    """The counts of a process; if it has none now, one that is never equal to the last one."""
    try:
        return {f"{process.name}.{key}": value for key, value in flatten_status(process.status())}
    except httpx2.HTTPError:
        return {f"{process.name}.{UNAVAILABLE}": time.monotonic()}
