"""The section `capture`: mailboxes change while everything fails, and `activities` stays right."""

import asyncio
import contextlib
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from deploy.local.modules import ModuleStarter
from deploy.local.processes import LocalError, Progress, print_progress
from deploy.local.stack import LocalStack
from deploy.local.system import System
from scenarios.administration import Administration
from shared.topics import ACTIVITIES, MAILBOXES
from simulator.control.client import Simulator, TenantControl

from .changes import Changes
from .injected_faults import DELIVERY, PAGES, InjectedFaults
from .judge import READINGS, Evidence, judge, judge_one_reading
from .kills import KillOrders, Kills
from .mail_changes import MailChanges
from .meeting_changes import MeetingChanges
from .normaliser import Owner
from .report import Report
from .timelines import ItemId, timelines
from .topic_log import TopicLog, TopicReader, reading_topics

MAIL_INGEST = "mail-ingest"
PARTITIONS = 4
UNCOUNTED_SECONDS = 30.0
"""A process on a busy machine may have no counts for so long."""
CHANGES_PER_FAULT = 12
GRAPH_LATENCY = 0.03
"""Seconds that a request takes: requests overlap, and a kill can hit one."""
READINGS_PER_FOLDER_TREE = 6
"""A folder tree is read with every so many readings of the window: it hardly ever changes."""
PROGRESS_INTERVAL = 10.0
QUIET_SHARE = 0.05
"""Share of the changes that come before all others, when no notification arrives at all."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a run.

    Attributes:
        changes, kills, mailboxes: their numbers.
        replicas: of mail-ingest.
        changes_per_second: a machine with two cores keeps up with 9, all faults and two replicas included.
        reconcile_every: seconds between two readings of a mailbox's window.
        longest_fault: seconds; of an item. Those of mailboxes last at most a tenth of it.
        recovery: seconds in which two readings of every mailbox must be complete after the last change: the
            longest back-off after an outage is five minutes.
    """

    changes: int = 5000
    kills: int = 10
    mailboxes: int = 20
    replicas: int = 2
    changes_per_second: float = 9.0
    reconcile_every: float = 12.0
    longest_fault: float = 120.0
    recovery: float = 400.0


SMALL = Size(
    changes=150,
    kills=2,
    mailboxes=6,
    changes_per_second=12.0,
    reconcile_every=2.0,
    longest_fault=6.0,
    recovery=60.0,
)
"""For tests: everything happens at least once."""


async def run_capture(
    stack: LocalStack,
    folder: Path,
    seed: int,
    size: Size,
    *,
    prefix: str = "",
    modules: ModuleStarter | None = None,
    progress: Progress = print_progress,
) -> Report:
    """One run.

    Args:
        stack: Kafka and MongoDB, empty where `prefix` is.
        folder: of the processes' logs.
        seed: makes the choices.
        size: of the run.
        prefix: of the names of topics and databases.
        modules: starts the processes.
        progress: receives lines of progress.

    Raises:
        LocalError: a process ended by itself or did not start, or the mailboxes were not captured at all.
    """
    tenant = str(uuid.UUID(int=Random(seed).getrandbits(128), version=4))
    system = System(
        stack,
        folder,
        prefix=prefix,
        tenant=tenant,
        env={"KAFKA_PARTITIONS": str(PARTITIONS), "KAFKA_SESSION_TIMEOUT": "PT6S"},
        env_of={
            "simulator": {
                "SIMULATOR_SEED": str(seed),
                "SIMULATOR_RETRY_SECONDS": "0.5",
                "SIMULATOR_LATENCY_MS": str(GRAPH_LATENCY * 1000),
            },
            MAIL_INGEST: {
                "MAIL_INGEST_RECONCILE_EVERY": f"PT{size.reconcile_every}S",
                "MAIL_INGEST_LEASE": "PT5S",
                "MAIL_INGEST_RETRY_BLOCKED": "PT1S",
            },
        },
        modules=modules,
        progress=lambda _: None,
    )
    with system:
        progress(f"seed {seed}: starting the simulator and {size.replicas} replicas of mail-ingest …")
        await asyncio.to_thread(system.start, "simulator", MAIL_INGEST)
        for _ in range(size.replicas - 1):
            await asyncio.to_thread(system.add, MAIL_INGEST)
        log, read = TopicLog(), (ACTIVITIES, MAILBOXES)
        async with reading_topics(stack.kafka_bootstrap, system.prefix, read, PARTITIONS, log) as topics:
            with contextlib.closing(Simulator(system.simulator, system.ca)) as simulator:
                run = CaptureRun(system, simulator.tenant(tenant), topics, seed, size, progress)
                return await run.run()


@dataclass
class CaptureRun:
    """A run on a started system."""

    system: System
    tenant: TenantControl
    topics: TopicReader[TopicLog]
    seed: int
    size: Size
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    owners: dict[str, Owner] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    """Mailbox -> the address under which its owner writes and is written to."""

    async def run(self) -> Report:
        """Enrol, change without notifications, change under faults, recover, judge."""
        random = Random(self.seed)
        await asyncio.to_thread(self._add_users)
        duration = self.size.changes / self.size.changes_per_second
        lifetime = (min(5.0, duration / 4), max(duration / 2, 6.0))
        mail = MailChanges(self.tenant, random, self.users, lifetime)
        meetings = MeetingChanges(self.tenant, random, self.users, lifetime)
        faults = InjectedFaults(
            self.tenant,
            Random(self.seed + 1),
            list(self.owners),
            mail,
            short=self.size.longest_fault / 10,
            long=self.size.longest_fault,
        )
        changes = Changes(random, mail.table(), meetings.table())
        await asyncio.to_thread(mail.create_folders)
        await self._enrol()
        report = Report(self.seed, self.size.changes, len(self.owners))
        await self._change_without_notifications(changes, report)
        await self._change_under_faults(changes, faults, report)
        await self._recover_and_judge(report)
        report.made = dict(changes.made)
        report.seconds = time.monotonic() - self.started
        return report

    # phases

    def _add_users(self) -> None:
        self.tenant.simulator.start_history()
        ids = Random(self.seed)
        for number in range(self.size.mailboxes):
            oid = str(uuid.UUID(int=ids.getrandbits(128), version=4))
            address, alias = f"user-{number:02}@contoso.example", f"Alias-{number:02}@contoso.example"
            user = self.tenant.user(address, oid=oid, name=f"User Nº {number}", other_addresses=[alias])
            addresses = frozenset({address, alias.lower()})
            self.owners[user["oid"]] = Owner(self.tenant.id, user["oid"], addresses)
            self.users[user["oid"]] = alias if number % 2 else address

    async def _enrol(self) -> None:
        with contextlib.closing(Administration(self.system, self.tenant.id)) as administration:
            for mailbox in self.owners:
                await asyncio.to_thread(administration.enrol, mailbox)
        since = datetime.min.replace(tzinfo=UTC)
        if not await self._wait_for_readings(since, 1, self.size.recovery):
            raise LocalError("the enrolled mailboxes were not read in time")
        self._print(f"{len(self.owners)} mailboxes enrolled and read")

    async def _change_without_notifications(self, changes: Changes, report: Report) -> None:
        """Nothing but the windows can find these changes: one reading finds them all."""
        self.tenant.simulator.delivery(loss=1.0)
        count = max(20, int(self.size.changes * QUIET_SHARE))
        for _ in range(count):
            await asyncio.to_thread(changes.make)
        since = datetime.now(UTC)
        await self._wait_for_readings(since, 1, self.size.recovery)
        evidence = await self._collect_evidence()
        report.quiet_changes = count
        report.quiet = judge_one_reading(evidence, since)
        report.missed = _missed(self.topics.log, since)
        self._print(f"{count} changes without a notification: {report.quiet_line()}")

    async def _change_under_faults(self, changes: Changes, faults: InjectedFaults, report: Report) -> None:
        simulator = self.tenant.simulator
        await asyncio.to_thread(lambda: simulator.delivery(**DELIVERY))
        await asyncio.to_thread(lambda: simulator.pages(**PAGES))
        count, interval = self.size.changes, 1 / self.size.changes_per_second
        scheduled = faults.schedule(count, max(count // CHANGES_PER_FAULT, len(faults.table())))
        kill_after = {count * (number + 1) // (self.size.kills + 1) for number in range(self.size.kills)}
        async with self._killing() as kills:
            began, printed = time.monotonic(), time.monotonic()
            for number in range(1, count + 1):
                await asyncio.to_thread(changes.make)
                for name in scheduled.get(number, ()):
                    await asyncio.to_thread(faults.inject, name)
                if number in kill_after:
                    kills.order()
                if time.monotonic() - printed > PROGRESS_INTERVAL:
                    printed = time.monotonic()
                    injected, killed = sum(faults.injected.values()), kills.kills.count
                    self._print(f"{number:>6} of {count} changes, {injected} faults, {killed} kills")
                await asyncio.sleep(max(0.0, began + number * interval - time.monotonic()))
            await kills.finish()
        report.kills, report.kills_in_flight = kills.kills.count, kills.kills.in_flight
        report.injected, report.answered = faults.injected, faults.answered
        self._print(f"{count} changes made; the faults end")

    async def _recover_and_judge(self, report: Report) -> None:
        simulator, since = self.tenant.simulator, datetime.now(UTC)
        simulator.clear_faults()
        began = time.monotonic()
        await self._wait_for_readings(since, READINGS, self.size.recovery)
        report.stuck_items = await self._wait_for_stuck_items(began + self.size.recovery)
        report.recovered_in = time.monotonic() - began
        self._print(f"{READINGS} readings of every mailbox after {report.recovered_in:.0f} s; judging")
        await self.topics.catch_up()
        until = datetime.now(UTC)
        evidence = await self._collect_evidence()
        report.verdict = await asyncio.to_thread(judge, evidence, list(self.owners), since, until)
        report.messages, report.items = self.topics.log.count, len(evidence.timelines)
        report.readings = sum(map(len, self.topics.log.readings.values()))
        report.notifications = simulator.counters()["notifications"]
        report.statuses = sorted({reason for each in self.topics.log.statuses.values() for reason in each})
        for hit in simulator.fault_hits():
            report.answered[hit["label"]] = report.answered.get(hit["label"], 0) + 1

    # parts

    async def _wait_for_readings(self, since: datetime, count: int, seconds: float) -> bool:
        """Wait until `count` complete readings of each mailbox have begun after a time; whether they have."""
        now = printed = time.monotonic()
        deadline = now + seconds
        while True:
            await self.topics.catch_up()
            read = self.topics.log.count_read(self.owners, since, count)
            now = time.monotonic()
            if read == len(self.owners) or now > deadline:
                return read == len(self.owners)
            if now - printed > PROGRESS_INTERVAL:
                printed = now
                self._print(f"{read} of {len(self.owners)} mailboxes are read {count} times")
            await asyncio.sleep(0.2)

    async def _wait_for_stuck_items(self, deadline: float) -> int:
        """Wait until every item that could not be fetched is fetched; how many are not at the deadline."""
        while True:
            stuck = await asyncio.to_thread(self._count_stuck_items)
            if stuck is not None and (not stuck or time.monotonic() > deadline):
                return stuck
            if time.monotonic() > deadline + UNCOUNTED_SECONDS:
                raise LocalError("mail-ingest does not count its stuck items")
            await asyncio.sleep(0.5)

    def _count_stuck_items(self) -> int | None:
        """None where mail-ingest cannot count them now."""
        response = self.system[MAIL_INGEST].get("/status")
        if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
            return None
        return int(response.raise_for_status().json()["waiting"]["stuck items"])

    async def _collect_evidence(self) -> Evidence:
        await self.topics.catch_up()
        simulator = self.tenant.simulator
        entries = await asyncio.to_thread(lambda: list(simulator.history()))
        obstructed: defaultdict[ItemId, list[datetime]] = defaultdict(list)
        for hit in simulator.fault_hits():
            for item in hit["items"]:
                obstructed[hit["mailbox"], item].append(datetime.fromisoformat(hit["at"]))
        folders_known_for = timedelta(seconds=self.size.reconcile_every * READINGS_PER_FOLDER_TREE)
        return Evidence(timelines(entries, self.owners), self.topics.log, obstructed, folders_known_for)

    @asynccontextmanager
    async def _killing(self) -> AsyncIterator[KillOrders]:
        with contextlib.closing(Simulator(self.system.simulator, self.system.ca)) as simulator:
            replicas = self.system.replicas(MAIL_INGEST)
            orders = KillOrders(Kills(simulator, replicas, Random(self.seed + 2), GRAPH_LATENCY))
            try:
                yield orders
            finally:
                await orders.cancel()

    def _print(self, text: str) -> None:
        elapsed = time.monotonic() - self.started
        self.progress(f"{int(elapsed) // 60:3}:{int(elapsed) % 60:02}  {text}")


def _missed(log: TopicLog, since: datetime) -> int:
    """The changes that the first reading of each mailbox after a time has found by itself."""
    firsts: Sequence[Any] = [
        next((each for each in readings if each.began >= since), None) for readings in log.readings.values()
    ]
    return sum(each.missed for each in firsts if each)
