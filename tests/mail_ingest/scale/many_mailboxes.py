"""A tenant with many mailboxes, most of them quiet, and replicas of mail-ingest that capture it."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

from deploy.local.stack import LocalStack
from services.mail_ingest.sync.profile import READINGS_PER_ADDRESSES, READINGS_PER_FOLDER_TREE
from shared.topics import MAIL_INGEST
from simulator.control.client import Simulator
from simulator.state.tenants import CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET
from tests.mail_ingest.ingest_process import SERVICE_TOKEN, IngestProcess
from tests.mail_ingest.world import kafka_settings
from tests.support import forks
from tests.support.http import spare_port
from tests.support.query_plans import record_scans, recorded_scans
from tests.support.topics import create_topics, delete_topics

from .measurements import Counts, Phase, assign_waits, read_waits, resident_megabytes

PARTITIONS = 4
RECONCILE_EVERY = timedelta(minutes=10)
MAILS_PER_SECOND = 5
BUSY_PART = 1 / 20
"""The mailboxes that hold a few mails before they are enrolled."""
PHASE_TIMEOUT = timedelta(minutes=12)


class ManyMailboxes:
    """The system, and the figures of its phases."""

    def __init__(self, count: int, stack: LocalStack, folder: Path) -> None:
        self.count = count
        self.phases: list[Phase] = []
        self._stack = stack
        self._folder = folder
        self._prefix = f"test-{uuid4().hex[:12]}-"
        self._url = f"https://localhost:{spare_port()}"
        self._ca = folder / "simulator" / "ca.pem"
        self._simulator_process: forks.ForkedProcess | None = None
        self._replicas: dict[str, IngestProcess] = {}
        self._mongodb: MongoClient[dict[str, Any]] = MongoClient(stack.mongodb_uri, tz_aware=True)
        self._database = self._mongodb[f"{self._prefix}store"]
        self.owners: dict[str, str] = {}

    # -- processes --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts the simulator with all mailboxes, and one replica."""
        await create_topics(kafka_settings(self._environment), MAIL_INGEST)
        record_scans(self._database, MAIL_INGEST)
        await asyncio.to_thread(self._start_simulator)
        await self.add_replica("one")

    def _start_simulator(self) -> None:
        environment = {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}},
            "SIMULATOR_DIR": str(self._ca.parent),
            "SIMULATOR_LISTEN": self._url.partition("//")[2].replace("localhost", "127.0.0.1"),
            "SIMULATOR_TENANT_ID": "",
            "SIMULATOR_RETRY_SECONDS": "1",
        }
        with (self._folder / "simulator.log").open("ab") as log:
            self._simulator_process = forks.popen("simulator", env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self._ca.exists():
            assert time.monotonic() < deadline, "the simulator has no certificate"
            time.sleep(0.05)
        self.simulator = Simulator(self._url, self._ca)
        while not self.simulator.is_ready():
            assert time.monotonic() < deadline, "the simulator does not start"
            time.sleep(0.05)
        self.tenant = self.simulator.tenant(str(uuid4()))
        for number in range(self.count):
            address = f"user-{number}@contoso.example"
            self.owners[str(self.tenant.user(address)["oid"])] = address
        for address in random.sample([*self.owners.values()], int(self.count * BUSY_PART)):
            for subject in ("Before", "Before, too"):
                self.tenant.send("x@fabrikam.example", [address], subject=subject)

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **self._stack.environment,
            "SERVICE_TOKEN": SERVICE_TOKEN,
            "MAIL_INGEST_CLIENT_ID": CAPTURE_CLIENT_ID,
            "MAIL_INGEST_CLIENT_SECRET": CAPTURE_CLIENT_SECRET,
            "MAIL_INGEST_RECONCILE_EVERY": f"PT{RECONCILE_EVERY.total_seconds():.0f}S",
            "KAFKA_PARTITIONS": str(PARTITIONS),
            "TOPIC_PREFIX": self._prefix,
            "MAIL_INGEST_MONGODB_DATABASE": self._database.name,
            "MAIL_INGEST_GRAPH_URL": f"{self._url}/v1.0",
            "AUTHORITY_URL": self._url,
            "AUTHORITY_CA_FILE": str(self._ca),
        }

    async def add_replica(self, name: str) -> None:
        """Starts another replica; Graph notifies the first one alone."""
        environment = self._environment
        if first := next(iter(self._replicas.values()), None):
            environment["MAIL_INGEST_WEBHOOK_URL"] = first.environment["MAIL_INGEST_WEBHOOK_URL"]
        replica = IngestProcess(environment, self._folder / f"{name}.log")
        self._replicas[name] = replica
        await asyncio.to_thread(replica.start)

    async def restart_replica(self, name: str) -> None:
        await asyncio.to_thread(self._replicas[name].stop)
        await asyncio.to_thread(self._replicas[name].start)

    async def kill_replica(self, name: str) -> None:
        replica = self._replicas.pop(name)
        await asyncio.to_thread(replica.kill)
        replica.end()

    async def stop(self) -> list[str]:
        """Ends everything; returns the operations that read a whole collection of MongoDB."""
        for replica in self._replicas.values():
            replica.end()
        if self._simulator_process:
            self.simulator.close()
            self._simulator_process.kill()
            self._simulator_process.wait()
        scans = recorded_scans(self._database)
        self._mongodb.drop_database(self._database.name)
        self._mongodb.close()
        await delete_topics(self._stack.kafka_bootstrap, self._prefix)
        return scans

    # -- phases -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def phase(self, name: str, *, mails: bool = True) -> AsyncIterator[Phase]:
        """Measures what happens in the block, while random mailboxes receive mail."""
        before = Counts.read(self.simulator, self._mongodb)
        phase = Phase(name, self.count, time.time())
        sending = asyncio.create_task(self._send_mails()) if mails else None
        try:
            yield phase
        finally:
            if sending:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        after = Counts.read(self.simulator, self._mongodb)
        phase.end = time.time()
        phase.requests = after.requests - before.requests
        phase.operations = after.operations - before.operations
        phase.memory = {name: resident_megabytes(each.pid) for name, each in self._replicas.items()}
        if self._simulator_process:
            phase.memory["simulator"] = resident_megabytes(self._simulator_process.pid)
        self.phases.append(phase)

    async def _send_mails(self) -> None:
        while True:
            await self.send_mails(list(self.owners.values()), MAILS_PER_SECOND, 100)

    async def send_mails(self, addresses: Sequence[str], rate: float, count: int) -> None:
        """Sends e-mails to random ones of these addresses, so many a second."""
        next_at = time.monotonic()
        for _ in range(count):
            address = random.choice(addresses)
            await asyncio.to_thread(self.tenant.send, "x@fabrikam.example", [address], subject="Fresh")
            next_at += 1 / rate
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    async def enrol_all(self) -> float:
        """Enrols all mailboxes by one command; returns its seconds."""
        names = self._folder / "names"
        names.write_text("\n".join(self.owners))
        started = time.monotonic()
        command = ("mailboxes", "enrol", self.tenant.id, "--file", str(names))
        environment = {**self._replicas["one"].environment, "PATH": os.environ["PATH"]}
        ran = await asyncio.to_thread(forks.run, "services.mail_ingest", *command, env=environment)
        assert ran.returncode == 0, ran.stderr
        assert len(ran.stdout.splitlines()) == len(self.owners)
        return time.monotonic() - started

    async def until_complete(self) -> None:
        """Waits until every mailbox is read and subscribed."""
        complete = {"status": "enrolled", "complete_as_of": {"$ne": None}}
        await self._until(lambda: self._database["mailboxes"].count_documents(complete) == len(self.owners))
        await self._until(
            lambda: self._count_subscriptions({"graph_id": {"$gt": ""}}) == 2 * len(self.owners)
        )

    async def until_fetched(self, *, without: Collection[str]) -> None:
        """Waits until no notified item waits, but for those of some mailboxes."""
        waiting = {"notified_items.0": {"$exists": True}, "mailbox": {"$nin": list(without)}}
        for _ in range(2):
            await asyncio.sleep(1)
            await self._until(lambda: not self._database["mailboxes"].count_documents(waiting))

    async def resume(self, mailboxes: Iterable[str]) -> None:
        """Has mailboxes retried at once, whatever they wait for."""
        for mailbox in mailboxes:
            for action in ("pause", "resume"):
                path = f"/mailboxes/{self.tenant.id}/{mailbox}/{action}"
                await asyncio.to_thread(self._replicas["one"].call, "POST", path)

    async def renew_all(self) -> None:
        """Makes all subscriptions due, and waits until they are renewed."""
        now = datetime.now(UTC)
        self._database["subscriptions"].update_many({}, {"$set": {"renew_at": now}})
        due = {"subscriptions_due_at": now, "due_at": now}
        self._database["mailboxes"].update_many({}, {"$set": due})
        renewed = {"renew_at": {"$gt": now + timedelta(hours=1)}}
        await self._until(lambda: self._count_subscriptions(renewed) == 2 * self.count)

    def spread_windows(self) -> None:
        """Spreads the next readings of windows and profiles evenly, as they are long after the enrolment."""

        def within(readings: int) -> dict[str, Any]:
            return {"$multiply": [{"$rand": {}}, RECONCILE_EVERY.total_seconds() * 1000 * readings]}

        times = {
            "next_window_at": {"$add": ["$$NOW", within(1)]},
            "folders_read_at": {"$subtract": ["$$NOW", within(READINGS_PER_FOLDER_TREE)]},
            "addresses_read_at": {"$subtract": ["$$NOW", within(READINGS_PER_ADDRESSES)]},
        }
        stages: list[dict[str, Any]] = [{"$set": times}, {"$set": {"due_at": "$next_window_at"}}]
        self._database["mailboxes"].update_many({"window_due": None, "publish_pending": False}, stages)

    async def read_waits(self, *, without: Collection[str] = ()) -> None:
        """Adds to the phases how long their mails have waited, those to some mailboxes left out."""
        waits = await read_waits(self._stack.kafka_bootstrap, self._prefix, PARTITIONS)
        assign_waits(self.phases, [wait for wait in waits if wait.mailbox not in without])

    def _count_subscriptions(self, query: dict[str, Any]) -> int:
        return self._database["subscriptions"].count_documents(query)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PHASE_TIMEOUT.total_seconds()):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110  # other processes bring it about
                await asyncio.sleep(1)
