"""What is logged of a mailbox's pass that fails in a way that nobody expected."""

import asyncio
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from services.mail_ingest.documents import Mailbox
from services.mail_ingest.turn import Tools
from services.mail_ingest.workers import Workers

from shared.events import MailboxStatus
from shared.service import Stopping

from .graphs import NOW

SUBJECT = "Between us"


class Failing:
    """A store whose mailbox makes a pass fail with an error that quotes it."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self._taken = False

    async def take(self, _holder: str, _lease: timedelta) -> Mailbox | None:
        if self._taken:
            return None
        self._taken = True
        return Mailbox("contoso", "ann", MailboxStatus.ENROLLED, 1, NOW)

    async def held(self, _key: str, _holder: str) -> Mailbox:
        self._stopping.set()
        raise RuntimeError(f"cannot read {SUBJECT}")


async def test_the_log_of_an_unexpected_error_holds_no_part_of_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stopping = Stopping()
    settings = cast("Any", SimpleNamespace(workers=1, lease=timedelta(minutes=1)))
    tools = Tools(cast("Any", Failing(stopping)), cast("Any", None), cast("Any", None), lambda: NOW, settings)

    with caplog.at_level(logging.DEBUG):
        async with asyncio.timeout(30):
            await Workers(tools).run(stopping)

    assert "RuntimeError" in {getattr(record, "error", None) for record in caplog.records}
    assert [record for record in caplog.records if SUBJECT in str(vars(record))] == []
