"""Workers: fresh work first, routine work at a bounded rate; the log of an unexpected error."""

import asyncio
import logging
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.mail_ingest.domain.items import CapturedItem
from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.recovery.gate import StoreGate
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.documents import Mailbox, Work
from services.mail_ingest.store.lease import Lease
from services.mail_ingest.sync import workers as workers_module
from services.mail_ingest.sync.mailbox_sync import Dependencies
from services.mail_ingest.sync.workers import SyncWorkers
from shared.events import MailboxStatus
from shared.service import StopSignal
from tests.mail_ingest.gates import open_gate
from tests.mail_ingest.graphs import ANN, NOW

SUBJECT = "Between us"


EXPIRED = Mailbox(ANN.tenant, ANN.mailbox, MailboxStatus.PAUSED, NOW, next_expiry_at=NOW)


class FailingItems:
    """Items whose read fails with an error that quotes their content."""

    def __init__(self, stop_signal: StopSignal) -> None:
        self._stop_signal = stop_signal

    async def find_expired(self, *_: Any) -> list[CapturedItem]:
        self._stop_signal.set()
        raise RuntimeError(f"cannot read {SUBJECT}")


class StubMailboxes:
    """The store's mailboxes: one with routine work."""

    def __init__(self) -> None:
        self._with_work = [EXPIRED]

    async def acquire_lease(
        self, work: Work, _holder: str, _duration: timedelta, _now: datetime
    ) -> Mailbox | None:
        return self._with_work.pop() if self._with_work and work is Work.ROUTINE else None

    def held(self, lease: Lease) -> Any:
        return SimpleNamespace(lease=lease)


async def test_log_of_an_unexpected_error_has_no_part_of_its_text(caplog: pytest.LogCaptureFixture) -> None:
    stop_signal = StopSignal()
    store = SimpleNamespace(
        mailbox_leases=StubMailboxes(), items=FailingItems(stop_signal), request_slots=None
    )
    settings = IngestSettings(workers=1)
    unused = cast("Any", None)
    workers = SyncWorkers(
        Dependencies(cast("Any", store), unused, unused, lambda: NOW, settings, KINDS), open_gate()
    )

    with caplog.at_level(logging.DEBUG):
        async with asyncio.timeout(30):
            await workers.run(stop_signal)

    assert [record for record in caplog.records if SUBJECT in str(vars(record))] == []
    assert "RuntimeError" in {getattr(record, "error", None) for record in caplog.records}


class Mailboxes:
    """The store's mailboxes: any number of them have work of these classes; a sync lasts until the end."""

    def __init__(self, *due: Work) -> None:
        self.due = set(due)
        self.started: list[Work] = []

    async def acquire_lease(
        self, work: Work, _holder: str, _duration: timedelta, _now: datetime
    ) -> Mailbox | None:
        if work not in self.due:
            return None
        self.started.append(work)
        return Mailbox(ANN.tenant, f"m{len(self.started)}", MailboxStatus.PAUSED, NOW)

    def held(self, lease: Lease) -> Any:
        return SimpleNamespace(lease=lease)


class EndlessSyncs(SyncWorkers):
    """Workers whose syncs last until the service stops."""

    async def _run_sync(self, *_: Any) -> None:
        await asyncio.Event().wait()


async def run_workers(
    mailboxes: Mailboxes, *, seconds: float, gate: StoreGate | None = None, **settings: Any
) -> list[Work]:
    """The classes of the syncs that workers begin in this time."""
    unused, store = cast("Any", None), cast("Any", SimpleNamespace(mailbox_leases=mailboxes))
    configured = IngestSettings(**settings)
    dependencies = Dependencies(store, unused, unused, lambda: NOW, configured, KINDS)
    workers = EndlessSyncs(dependencies, gate or open_gate())
    running = asyncio.create_task(workers.run(StopSignal()))
    await asyncio.sleep(seconds)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return mailboxes.started


async def test_some_workers_are_reserved_for_fresh_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "STOP_TIMEOUT", timedelta())

    routine = await run_workers(Mailboxes(Work.ROUTINE), seconds=0.3, workers=8, routine_rate=1000)
    fresh = await run_workers(Mailboxes(*Work), seconds=0.3, workers=8, routine_rate=1000)
    only_one = await run_workers(Mailboxes(Work.ROUTINE), seconds=0.3, workers=1, routine_rate=1000)

    assert routine == [Work.ROUTINE] * 6
    assert fresh == [Work.FRESH] * 8
    assert only_one == [Work.ROUTINE]


async def test_no_sync_begins_while_the_database_is_recovered() -> None:
    assert await run_workers(Mailboxes(*Work), seconds=0.5, gate=StoreGate()) == []


async def test_routine_syncs_begin_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "STOP_TIMEOUT", timedelta())
    monkeypatch.setattr(workers_module, "ROUTINE_BURST", timedelta())

    routine = await run_workers(Mailboxes(Work.ROUTINE), seconds=1.2, workers=200, routine_rate=10)
    fresh = await run_workers(Mailboxes(Work.FRESH), seconds=0.3, workers=100, routine_rate=1)

    assert 2 <= len(routine) <= 13
    assert len(fresh) == 100
