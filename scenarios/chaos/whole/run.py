"""A run of the whole system: load, faults, recovery, verdict."""

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random

import httpx2

from deploy.local.modules import ModuleStarter
from deploy.local.processes import LocalError, Progress, print_progress
from deploy.local.stack import LocalStack
from deploy.local.system import System
from scenarios.administration import Administration
from scenarios.chaos.normaliser import Owner
from scenarios.chaos.topic_log import TopicReader, reading_topics
from scenarios.upstream import Upstream
from simulator.control.client import Simulator, TenantControl

from .databases import Databases
from .evidence import collect, judge
from .faults import SERVICES, Faults, order_of
from .history import History
from .in_flight import count_in_flight
from .load import Load, Pace
from .published import READ_TOPICS, SystemLog
from .records import RecordChanges, all_record_ids
from .recovery import Recovery
from .report import Report
from .users import Actions, User, poll

PARTITIONS = 4
PROGRESS_INTERVAL = 10.0
READINGS = 2
"""Complete readings of each mailbox after the last change."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a run.

    Attributes:
        changes: of items; record changes and calls of users go with them.
        kills: the number of faults of all kinds.
        mailboxes: their number; the last one's owner only reads.
        replicas: of each service.
        changes_per_second: of items.
        reconcile_every: seconds between two readings of a mailbox's window.
        pause: least and most seconds for which a process or a store is suspended.
        poll_pause: seconds between two reads of a reader.
        recovery: seconds after a fault, and at the end, in which the system must recover.
        kinds: of faults, in this order; all in a random order where it is empty.
    """

    changes: int = 600
    kills: int = 10
    mailboxes: int = 5
    replicas: int = 2
    changes_per_second: float = 2.0
    reconcile_every: float = 12.0
    pause: tuple[float, float] = (6.0, 12.0)
    poll_pause: float = 0.1
    recovery: float = 180.0
    kinds: tuple[str, ...] = ()


SMALL = Size(
    changes=30,
    kills=3,
    mailboxes=3,
    changes_per_second=8.0,
    reconcile_every=2.0,
    pause=(4.0, 4.0),
    poll_pause=0.3,
    recovery=150.0,
    kinds=("tracking's database restored", "matcher paused", "power loss"),
)
"""For tests."""


async def run_whole(
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
        LocalError: the system did not start, or nothing was captured at all.
    """
    tenant = str(uuid.UUID(int=Random(seed).getrandbits(128), version=4))
    system = System(
        stack,
        folder,
        prefix=prefix,
        tenant=tenant,
        env={"KAFKA_PARTITIONS": str(PARTITIONS), "KAFKA_SESSION_TIMEOUT": "PT4S"},
        env_of={
            "simulator": {"SIMULATOR_SEED": str(seed), "SIMULATOR_RETRY_SECONDS": "0.5"},
            "mail-ingest": {
                "MAIL_INGEST_RECONCILE_EVERY": f"PT{size.reconcile_every}S",
                "MAIL_INGEST_LEASE": "PT4S",
                "MAIL_INGEST_RETRY_BLOCKED": "PT1S",
            },
            "matcher": {"MATCHER_FOREIGN_WRITE_CHECK_EVERY": "PT5S"},
            "tracking": {"TRACKING_PENDING_TIMEOUT": "PT2M"},
        },
        modules=modules,
        progress=lambda _: None,
    )
    with system:
        progress(f"seed {seed}: starting the simulator and {size.replicas} replicas of each service …")
        await asyncio.to_thread(system.start, "simulator")
        processes = [system[name] for name in SERVICES]
        for process in processes:
            process.start(wait=False)
        processes += [system.add(name, wait=False) for _ in range(size.replicas - 1) for name in SERVICES]
        for process in processes:
            await asyncio.to_thread(process.wait_until_ready)
        log, bootstrap = SystemLog(), stack.kafka_bootstrap
        async with contextlib.AsyncExitStack() as opened:
            topics = await opened.enter_async_context(
                reading_topics(bootstrap, prefix, READ_TOPICS, PARTITIONS, log)
            )
            upstream = await opened.enter_async_context(Upstream(bootstrap, f"{prefix}records"))
            http = await opened.enter_async_context(httpx2.AsyncClient(verify=False, trust_env=False))
            simulator = opened.enter_context(contextlib.closing(Simulator(system.simulator, system.ca)))
            control = simulator.tenant(tenant)
            run = WholeRun(stack, system, control, topics, upstream, http, seed, size, progress)
            return await run.run()


@dataclass
class WholeRun:
    """A run on a started system."""

    stack: LocalStack
    system: System
    tenant: TenantControl
    topics: TopicReader[SystemLog]
    upstream: Upstream
    http: httpx2.AsyncClient
    seed: int
    size: Size
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    addresses: dict[str, str] = field(default_factory=dict)
    """Mailbox -> address of its owner."""

    async def run(self) -> Report:
        """Enrol, let the load flow while faults happen, recover, judge."""
        simulator = self.tenant.simulator
        await asyncio.to_thread(simulator.start_history)
        users = await asyncio.to_thread(self._add_users)
        *owners, colleague, stranger = users
        databases = Databases(self.stack.mongodb_uri, self.system.prefix)
        faults = Faults(self.system, self.stack, databases, Random(self.seed + 2), self.size.pause)
        recovery = Recovery(self.system, self.tenant, owners[0], self.addresses[owners[0].oid])
        history = History(
            {oid: Owner(self.tenant.id, oid, frozenset({address})) for oid, address in self.addresses.items()}
        )
        history.log, history.restores = self.topics.log, faults.restores
        ids = list(all_record_ids())
        actions = Actions(owners, ids, Random(self.seed + 3), history.calls)
        records = RecordChanges(self.tenant.id, Random(self.seed + 4), [each.oid for each in owners])
        load = Load(self.tenant, self.seed, self.addresses, records, self.upstream, actions)
        history.records = load.history
        await load.begin()
        await self._enrol(recovery)
        report = Report(self.seed, len(self.addresses))
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(load.work())]
            for number, reader in enumerate([colleague, stranger]):
                polling = poll(reader, ids, Random(number), self.size.poll_pause, history.answers.append)
                beside.append(group.create_task(polling))
            await self._change_under_faults(group, load, faults, recovery, report)
            since = datetime.now(UTC)
            report.unfinished = await self._wait_until_quiet(recovery, since)
            report.quiet_in = (datetime.now(UTC) - since).total_seconds()
            self._print(f"quiet after {report.quiet_in:.0f} s; judging")
            await collect(history, self.system, self.tenant, databases, [*owners, colleague], ids)
            for task in beside:
                task.cancel()
        await self.topics.catch_up()
        report.verdict = await asyncio.to_thread(judge, history, since)
        report.in_flight = [count_in_flight(history, fault.began) for fault in report.faults]
        report.made = load.items.made + load.record_changes.made + actions.made
        report.ended = recovery.ended
        report.seconds = time.monotonic() - self.started
        return report

    # phases

    def _add_users(self) -> list[User]:
        """The owners of mailboxes; the last user has none."""
        ids, users = Random(self.seed), []
        names = [f"user-{number:02}" for number in range(self.size.mailboxes)]
        for name in (*names, "stranger"):
            oid, address = str(uuid.UUID(int=ids.getrandbits(128), version=4)), f"{name}@contoso.example"
            self.tenant.user(address, oid=oid, name=name)
            token = self.tenant.sign_in(address)
            users.append(User(oid, token, self.system.replicas("tracking"), self.http))
            if name != "stranger":
                self.addresses[oid] = address
        return users

    async def _enrol(self, recovery: Recovery) -> None:
        with contextlib.closing(Administration(self.system, self.tenant.id)) as administration:
            for mailbox in self.addresses:
                await asyncio.to_thread(administration.enrol, mailbox)
        if await recovery.wait_for_probe(self.size.recovery) is None:
            raise LocalError("the first mail was not suggested in time")
        self._print(f"{len(self.addresses)} mailboxes are captured")

    async def _change_under_faults(
        self, group: asyncio.TaskGroup, load: Load, faults: Faults, recovery: Recovery, report: Report
    ) -> None:
        count, kills = self.size.changes, self.size.kills
        due = [count * (number + 1) // (kills + 1) for number in range(kills)]
        copy_at = [(before + after) // 2 for before, after in pairwise([0, *due])]
        kinds = order_of(self.size.kinds or list(faults.table()), Random(self.seed + 5))
        pace, printed = Pace(self.size.changes_per_second), time.monotonic()
        running: asyncio.Task[None] | None = None
        while load.number < count or due or (running and not running.done()):
            await load.make()
            if running is None or running.done():
                if copy_at and load.number >= copy_at[0]:
                    copy_at.pop(0)
                    await asyncio.to_thread(faults.take_copies)
                if due and load.number >= due[0]:
                    due.pop(0)
                    await load.burst()
                    running = group.create_task(self._bring_about(next(kinds), faults, recovery, report))
            if time.monotonic() - printed > PROGRESS_INTERVAL:
                printed = time.monotonic()
                self._print(f"{load.number:>6} of {count} changes, {len(report.faults)} faults")
            await pace.wait(slowly=load.number >= count)
        await load.finish()

    async def _bring_about(self, kind: str, faults: Faults, recovery: Recovery, report: Report) -> None:
        fault = await asyncio.to_thread(faults.inject, kind)
        report.faults.append(fault)
        fault.recovery = await recovery.wait_for_probe(self.size.recovery)
        self._print(f"{kind}: " + (f"{fault.recovery:.1f} s" if fault.recovery else "no recovery"))

    async def _wait_until_quiet(self, recovery: Recovery, since: datetime) -> dict[str, object]:
        deadline = time.monotonic() + self.size.recovery
        while self.topics.log.capture.count_read(self.addresses, since, READINGS) < len(self.addresses):
            await asyncio.to_thread(recovery.restart_ended)
            if time.monotonic() > deadline:
                return {"mailboxes that are not read": sorted(self.addresses)}
            await asyncio.sleep(0.2)
        return await recovery.wait_until_quiet(deadline - time.monotonic())

    # parts

    def _print(self, text: str) -> None:
        elapsed = time.monotonic() - self.started
        self.progress(f"{int(elapsed) // 60:3}:{int(elapsed) % 60:02}  {text}")
