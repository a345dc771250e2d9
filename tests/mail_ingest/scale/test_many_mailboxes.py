"""Five thousand mailboxes: what each costs, and that fresh mail waits for nothing else.

`make test-full ONLY=mailboxes [MAILBOXES=n]` prints the figures of each phase.
"""

import asyncio
import os
from pathlib import Path

import pytest

from deploy.local.stack import LocalStack

from .many_mailboxes import RECONCILE_EVERY, ManyMailboxes
from .measurements import Phase

MAILBOXES = int(os.environ.get("MAILBOXES") or 5000)
IDLE_SECONDS = 20 if MAILBOXES < 2000 else 120
"""Of the phase that shows what an idle mailbox costs; its figures are scaled to an hour."""
PAUSE_SECONDS = 10 if MAILBOXES < 2000 else 75
"""Of a phase that nothing ends."""

MAX_REQUESTS, MAX_OPERATIONS = 20, 40
"""Of an idle mailbox in an hour."""
POLLING_OF_FEW = 2 * 16_000
"""Operations an hour with which two replicas look for work, however few mailboxes there are."""
MAX_WAIT = 3 * 2.0
"""Seconds from the notification to the activity of 99 % of the mails; 2 is the bound, the rest slack."""
SESSION_TIMEOUT = 10.0
"""Seconds after which Kafka gives the partitions of a killed replica to the others."""
ENROLMENT_SECONDS = 60


@pytest.mark.full("mailboxes")
async def test_many_mailboxes(
    stack: LocalStack, kafka: str, mongodb_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world = ManyMailboxes(MAILBOXES, stack, tmp_path)
    try:
        await world.start()
        await run_phases(world, capfd)
        await world.read_waits()
    finally:
        scans = await world.stop()
    with capfd.disabled():
        print(f"\n{MAILBOXES} mailboxes", *(phase.line() for phase in world.phases), sep="\n")  # noqa: T201

    assert scans == [], "these operations use no index"
    by_name = {phase.name: phase for phase in world.phases}
    idle = by_name["idle"]
    assert idle.requests_per_mailbox_hour <= MAX_REQUESTS
    few = POLLING_OF_FEW / MAILBOXES if MAILBOXES < 5000 else 0
    assert idle.operations_per_mailbox_hour <= MAX_OPERATIONS + few
    for name in ("start", "one added"):
        assert windows_read(by_name[name]) <= 2 * expected_windows(by_name[name]) + 10, name
    bounds = dict.fromkeys(by_name, MAX_WAIT) | {"one killed": SESSION_TIMEOUT + MAX_WAIT}
    slow = {name: phase.percentile(99) for name, phase in by_name.items()}
    assert {name: wait for name, wait in slow.items() if wait > bounds[name]} == {}
    assert all(phase.waits for phase in world.phases if phase.name not in {"idle", "enrolling"})


async def run_phases(world: ManyMailboxes, capfd: pytest.CaptureFixture[str]) -> None:
    async with world.phase("enrolling"):
        seconds = await world.enrol_all()
        with capfd.disabled():
            print(f"\nenrolled by one command in {seconds:.1f} s")  # noqa: T201
        assert seconds < ENROLMENT_SECONDS
        await world.until_complete()
    world.spread_windows()
    async with world.phase("start"):
        await world.restart_replica("one")
        await asyncio.sleep(PAUSE_SECONDS)
    await world.add_replica("two")
    async with world.phase("idle", mails=False):
        await asyncio.sleep(IDLE_SECONDS)
    async with world.phase("steady"):
        await asyncio.sleep(PAUSE_SECONDS)
    async with world.phase("renewal of all"):
        await world.renew_all()
    world.spread_windows()
    async with world.phase("one killed"):
        await world.kill_replica("two")
        await asyncio.sleep(PAUSE_SECONDS)
    async with world.phase("one added"):
        await world.add_replica("three")
        await asyncio.sleep(PAUSE_SECONDS)


def windows_read(phase: Phase) -> int:
    return phase.requests["messages.window"]


def expected_windows(phase: Phase) -> float:
    """The windows whose time has come: no start makes one due by itself."""
    return phase.mailboxes * phase.seconds / RECONCILE_EVERY.total_seconds()
