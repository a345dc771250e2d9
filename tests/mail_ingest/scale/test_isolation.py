"""Mailboxes that Graph refuses, throttles or breaks, and one with very many messages, delay no other mailbox.

`make test-full ONLY=isolation` prints how long the mail of the others waits, in pairs of runs.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from statistics import median

import pytest

from deploy.local.stack import LocalStack

from .many_mailboxes import ManyMailboxes

PAIRS, MAILS, RATE = 5, int(os.environ.get("MAILS") or 1000), 20.0
OTHERS, MESSAGES = 50, int(os.environ.get("MESSAGES") or 50_000)
MAX_RATIO = 3 * 2.0
"""Of the waits with and without the bad mailboxes; 2 is the bound, the rest slack."""


class BadMailboxes:
    """One that is refused, one that is throttled, one whose items are all broken, one that is large."""

    def __init__(self, world: ManyMailboxes) -> None:
        self._world = world
        self._addresses = {name: f"{name}@contoso.example" for name in ("refused", "throttled", "broken")}
        self.oids: dict[str, str] = {}

    async def add(self, folder: Path) -> None:
        """Adds them to the tenant, the large one with its messages."""
        for name, address in self._addresses.items():
            self.oids[name] = str(self._world.tenant.user(address)["oid"])
        await asyncio.to_thread(write_archive, folder / "large.mbox")
        (large,) = await asyncio.to_thread(self._world.tenant.load_archive, folder)
        await asyncio.to_thread(self._world.tenant.release, large["name"])
        self.oids["large"], self._addresses["large"] = large["oid"], large["address"]
        self._world.owners |= {self.oids[name]: address for name, address in self._addresses.items()}

    async def disturb(self) -> None:
        """Lets them be bad, with mail of their own, until this is cancelled."""
        simulator, oids = self._world.simulator, self.oids
        simulator.fault(403, mailbox=oids["refused"], code="ErrorAccessDenied")
        simulator.fault(429, mailbox=oids["throttled"], retry_after=600)
        simulator.fault(500, mailbox=oids["broken"], kind="message.by_id")
        try:
            await self._world.resume(self.oids.values())
            addresses = [address for name, address in self._addresses.items() if name != "large"]
            # One reading in a run of less than a minute is ten times as many as there are usually.
            await asyncio.to_thread(simulator.lifecycle, "missed", mailbox=oids["large"])
            while True:
                await self._world.send_mails(addresses, 3.0, 30)
        finally:
            simulator.clear_faults()


@pytest.mark.full("isolation")
async def test_bad_mailboxes_delay_no_other(
    stack: LocalStack, kafka: str, mongodb_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world = ManyMailboxes(OTHERS, stack, tmp_path)
    bad = BadMailboxes(world)
    try:
        await world.start()
        others = list(world.owners.values())
        await bad.add(tmp_path / "archive")
        await world.enrol_all()
        await world.until_complete()
        for pair in range(PAIRS):
            for disturbed in (False, True) if pair % 2 else (True, False):
                await run(world, bad, others, disturbed=disturbed)
        await world.read_waits(without=bad.oids.values())
    finally:
        await world.stop()
    alone = [each.percentile(99) for each in world.phases if each.name == "without"]
    beside = [each.percentile(99) for each in world.phases if each.name == "with"]
    ratio = median(one / other for one, other in zip(beside, alone, strict=True))
    with capfd.disabled():
        print("", *(phase.line() for phase in world.phases), sep="\n")  # noqa: T201
        print(f"p99 with bad mailboxes / without: {ratio:.2f}, the median of {PAIRS} pairs")  # noqa: T201
    assert all(len(each.waits) > 0.9 * MAILS for each in world.phases)
    assert ratio <= MAX_RATIO


async def run(world: ManyMailboxes, bad: BadMailboxes, others: Sequence[str], *, disturbed: bool) -> None:
    """Sends the mails to the other mailboxes, without bad ones or with them."""
    disturbance = asyncio.create_task(bad.disturb()) if disturbed else None
    try:
        async with world.phase("with" if disturbed else "without", mails=False):
            await world.send_mails(others, RATE, MAILS)
            await world.until_fetched(without=bad.oids.values())
    finally:
        if disturbance:
            disturbance.cancel()
            with suppress(asyncio.CancelledError):
                await disturbance


def write_archive(path: Path) -> None:
    """Writes an archive of one mailbox with very many short messages."""
    path.parent.mkdir()
    date = format_datetime(datetime.now(UTC))
    with path.open("wb") as archive:
        for number in range(MESSAGES):
            message = EmailMessage()
            message["From"], message["To"] = "x@fabrikam.example", "large@contoso.example"
            message["Subject"], message["Date"] = f"Message {number}", date
            message["Message-ID"] = f"<{number}@fabrikam.example>"
            archive.write(b"From x@fabrikam.example Mon Nov 30 00:00:00 2026\n%b\n\n" % message.as_bytes())
