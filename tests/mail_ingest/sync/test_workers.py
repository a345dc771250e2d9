"""The log of a mailbox sync that fails by an unexpected error."""

import asyncio
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.lease import Lease
from services.mail_ingest.sync.mailbox_sync import Dependencies
from services.mail_ingest.sync.workers import SyncWorkers
from shared.keys import MailboxKey
from shared.service import StopSignal
from tests.mail_ingest.graphs import ANN, NOW

SUBJECT = "Between us"


class FailingMailbox:
    """A mailbox whose read fails with an error that quotes its content."""

    def __init__(self, lease: Lease, stop_signal: StopSignal) -> None:
        self.lease = lease
        self._stop_signal = stop_signal

    async def read(self) -> Mailbox:
        self._stop_signal.set()
        raise RuntimeError(f"cannot read {SUBJECT}")


class StubMailboxes:
    """The store's mailboxes: one with work."""

    def __init__(self, stop_signal: StopSignal) -> None:
        self._stop_signal = stop_signal
        self._with_work = [ANN]

    async def acquire_lease(self, _holder: str, _duration: timedelta) -> MailboxKey | None:
        return self._with_work.pop() if self._with_work else None

    def held(self, lease: Lease) -> FailingMailbox:
        return FailingMailbox(lease, self._stop_signal)


async def test_log_of_an_unexpected_error_has_no_part_of_its_text(caplog: pytest.LogCaptureFixture) -> None:
    stop_signal = StopSignal()
    store = SimpleNamespace(mailboxes=StubMailboxes(stop_signal))
    settings = SimpleNamespace(workers=1, lease=timedelta(minutes=1))
    unused = cast("Any", None)
    workers = SyncWorkers(
        Dependencies(cast("Any", store), unused, unused, lambda: NOW, cast("Any", settings), KINDS)
    )

    with caplog.at_level(logging.DEBUG):
        async with asyncio.timeout(30):
            await workers.run(stop_signal)

    assert [record for record in caplog.records if SUBJECT in str(vars(record))] == []
    assert "RuntimeError" in {getattr(record, "error", None) for record in caplog.records}
