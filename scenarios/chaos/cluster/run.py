"""The section `cluster`: one run of faults under load."""

import asyncio
import contextlib
import os
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from deploy.local.cluster import Cluster
from deploy.local.modules import ModuleStarter
from deploy.local.processes import Progress, print_progress
from deploy.local.system import System
from scenarios.administration import Administration
from simulator.control.client import Simulator, TenantControl

from . import results
from .api import Api
from .crm import Crm
from .faults import FAULTS, PARTITIONS, Step, Targets
from .guard import Guard
from .judge import Evidence, judge
from .load import Load
from .operations import Operations
from .report import ClusterReport, Outcome
from .services import Services

OPERATION_LIMIT = 5.0
"""Seconds: an operation that takes longer did not work. A mail takes about one second, a Track two."""
GIVE_UP_SECONDS = 75.0
"""So long the run waits for everything to work again, beyond any bound."""
IDLE_SECONDS = 120.0
"""Until all is done that was begun: Graph repeats a notification later and later."""
NORMAL_LOAD = 2.0
"""Load of the machine for each core beyond which it is busy with something else than this run."""
MAX_STRETCH = 3.0
"""Greatest factor of the time limits: on a machine that is busier nothing can be measured."""
POLL_SECONDS = 0.5
RETRY_OF_NOTIFICATIONS = "0.25"


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a run.

    Attributes:
        faults: a key of `FAULTS`; each happens once without a killed service.
        kills: faults that happen once more, while a service is killed in the same second.
        owners: of mailboxes.
        only: names of faults; empty: all.
    """

    faults: str
    kills: int = 100
    owners: int = 4
    only: tuple[str, ...] = ()

    def schedule(self, random: Random) -> list[tuple[str, bool]]:
        """The faults in their order, and whether a service is killed."""
        names = self.only or tuple(FAULTS[self.faults])
        again = random.sample(names, min(self.kills, len(names)))
        order = [*((name, False) for name in names), *((name, True) for name in again)]
        random.shuffle(order)
        return order


SIZES = tuple(map(Size, FAULTS))
"""One run for each group of faults."""


async def run_cluster(
    cluster: Cluster,
    folder: Path,
    seed: int,
    size: Size,
    *,
    prefix: str = "",
    modules: ModuleStarter | None = None,
    progress: Progress = print_progress,
) -> ClusterReport:
    """One run; arguments as those of `run_capture`.

    Raises:
        LocalError: a process does not start, or the cluster is not in sync again.
    """
    random = Random(seed)
    shutil.rmtree(folder / "system", ignore_errors=True)  # an interrupted run leaves its replicas
    tenant_id = str(uuid.UUID(int=random.getrandbits(128), version=4))
    system = System(
        cluster,
        folder / "system",
        prefix=prefix,
        tenant=tenant_id,
        env={"KAFKA_PARTITIONS": str(PARTITIONS)},
        env_of={
            "simulator": {
                "SIMULATOR_SEED": str(seed),
                "SIMULATOR_RETRY_SECONDS": RETRY_OF_NOTIFICATIONS,
            },
            # No reading of the window: it would find again what was lost.
            "mail-ingest": {"MAIL_INGEST_RECONCILE": "false"},
        },
        modules=modules,
        progress=lambda _: None,
    )
    services = Services(system, random)
    with system:
        progress(f"seed {seed}: starting two replicas of each service …")
        await asyncio.to_thread(system.start)
        await asyncio.to_thread(services.start)
        with contextlib.closing(Simulator(system.simulator, system.ca)) as simulator:
            async with Api(system) as api:
                run = ClusterRun(
                    cluster, system, services, simulator.tenant(tenant_id), api, random, progress
                )
                return await run.run(seed, size)


@dataclass
class ClusterRun:
    """A run on a started system."""

    cluster: Cluster
    system: System
    services: Services
    tenant: TenantControl
    api: Api
    random: Random
    progress: Progress
    operations: Operations = field(default_factory=Operations)
    started: float = field(default_factory=time.monotonic)
    longest_stretch: float = 1.0

    async def run(self, seed: int, size: Size) -> ClusterReport:
        """Enrol, keep up the load while the faults happen, wait until all is quiet, judge."""
        report = ClusterReport(seed)
        guard, load = await self._prepare(size.owners)
        await load.publish_records()
        try:
            async with asyncio.TaskGroup() as group:
                observing = _tasks(group, [load.observe(), guard.watch(), self.services.watch()])
                loading = _tasks(group, load.tasks())
                await self._inflict(size, report)
                load.stop()
                await asyncio.gather(*loading)
                report.unfinished = await self._wait_until_idle()
                for task in observing:
                    task.cancel()
        except ExceptionGroup as errors:
            raise _first(errors) from errors
        self._print("judging")
        report.verdict = judge(await self._collect(load, guard))
        report.kills, report.ended = self.services.kills, self.services.ended
        report.refused, report.answers = dict(load.refused), dict(self.api.answers)
        report.guarded_reads, report.stretch = guard.reads, self.longest_stretch
        report.seconds = time.monotonic() - self.started
        return report

    async def _prepare(self, owners: int) -> tuple[Guard, Load]:
        """Sign the users in, and enrol the mailboxes."""
        # Graph would delay or drop the notifications of a webhook that answers late too often.
        self.tenant.simulator.delivery_rules(slow_share=1.0, drop_share=1.0)
        users = [
            await self.api.sign_in(self.tenant, f"user-{number}@contoso.example") for number in range(owners)
        ]
        reader = await self.api.sign_in(self.tenant, "reader@contoso.example")
        with contextlib.closing(Administration(self.system, self.tenant.id)) as administration:
            for user in users:
                await asyncio.to_thread(administration.enrol, user.oid)
        await asyncio.to_thread(self._wait_for_subscriptions, 2 * owners)
        crm = Crm(self.system.kafka_bootstrap, f"{self.system.prefix}records", self.tenant.id)
        guard = Guard(self.api, reader, self.operations, self._stretch)
        return guard, Load(self.tenant, self.api, crm, guard, users, self.operations, self.random)

    def _wait_for_subscriptions(self, count: int) -> None:
        while len(self.tenant.simulator.subscriptions()) < count:
            time.sleep(POLL_SECONDS)

    async def _inflict(self, size: Size, report: ClusterReport) -> None:
        targets = Targets(self.cluster, self.system, self.services, self.random)
        nothing = Step("before the first fault", lambda: None)
        await self._step("none", nothing, report, kill=False)
        schedule = size.schedule(self.random)
        faults = {name: steps for group in FAULTS.values() for name, steps in group.items()}
        for number, (name, kill) in enumerate(schedule, 1):
            self._print(f"{number} of {len(schedule)}: {name}{' + kill' if kill else ''}")
            for position, step in enumerate(faults[name](targets)):
                await self._step(name, step, report, kill=kill and position == 0)

    async def _step(self, fault: str, step: Step, report: ClusterReport, *, kill: bool) -> None:
        began, in_flight, stretch = (
            time.monotonic(),
            self.operations.in_flight(time.monotonic()),
            self._stretch(),
        )
        acts = [step.act, self.services.kill_one] if kill else [step.act]
        await asyncio.gather(*map(asyncio.to_thread, acts))
        since = time.monotonic() if step.from_end else began
        if step.bound is None:
            await asyncio.sleep(max(0.0, began + step.seconds - time.monotonic()))
            return
        while True:
            now, stretch = time.monotonic(), max(stretch, self._stretch())
            limit = OPERATION_LIMIT * stretch
            recovery = self.operations.recovery(since, now, limit)
            is_steady = recovery is not None and self.operations.is_steady(since, now, limit)
            if is_steady or now - since > GIVE_UP_SECONDS * stretch:
                break
            await asyncio.sleep(POLL_SECONDS)
        slow = Counter(each.kind for each in self.operations.slow(since, now, limit))
        outcome = Outcome(fault, step.what, kill, in_flight, recovery, step.bound * stretch, slow)
        report.outcomes.append(outcome)
        self._print(f"  {outcome}")

    async def _wait_until_idle(self) -> dict[str, Any]:
        self._print("the load ends; waiting until all is done")
        seconds = IDLE_SECONDS * self._stretch()
        return await asyncio.to_thread(results.wait_until_idle, self.services, self.tenant.simulator, seconds)

    async def _collect(self, load: Load, guard: Guard) -> Evidence:
        return Evidence(
            mails=load.mails,
            records=await results.read_records(self.system),
            activities=await results.read_activities(self.system),
            matches=await results.read_matches(self.system),
            suggestions=await results.read_suggestions(self.system),
            tracked=await results.read_tracked(self.system),
            stored=await asyncio.to_thread(results.read_stored, self.cluster, self.system),
            shown=await results.read_shown(self.api, load.mails),
            failed=await results.read_failed(self.api, load.mails),
            leaks=guard.leaks,
            at=datetime.now(UTC),
        )

    def _stretch(self) -> float:
        """The factor of all time limits: how much busier the machine is than with this run alone."""
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        stretch = min(MAX_STRETCH, max(1.0, load / NORMAL_LOAD))
        self.longest_stretch = max(self.longest_stretch, stretch)
        return stretch

    def _print(self, text: str) -> None:
        elapsed = time.monotonic() - self.started
        self.progress(f"{elapsed // 60:3.0f}:{elapsed % 60:02.0f}  {text}")


def _tasks(
    group: asyncio.TaskGroup, coroutines: Iterable[Coroutine[Any, Any, None]]
) -> list[asyncio.Task[None]]:
    return [group.create_task(coroutine) for coroutine in coroutines]


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """The first error of a group of groups."""
    error: Exception = errors.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error
