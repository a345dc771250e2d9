"""The load that flows all the time: mail and meetings, record changes, and calls of the owners.

Each of the three is a sequence that only the seed determines; a sequence that waits for a store that is away
goes on later.
"""

import asyncio
import time
from datetime import UTC, datetime
from random import Random
from typing import Any

from aiokafka.errors import KafkaError

from scenarios.chaos.changes import Changes, ChangeTable
from scenarios.chaos.mail_changes import MailChanges
from scenarios.chaos.meeting_changes import MeetingChanges
from scenarios.upstream import Upstream
from simulator.control.client import TenantControl

from .history import RecordChange, RecordHistory
from .records import RecordChanges
from .users import Actions

ITEM_CHANGES = (
    "mail arrives",
    "mail sent",
    "mail edited",
    "mail moved",
    "mail to Junk or Deleted",
    "mail restored",
    "mail deleted for good",
    "meeting booked",
    "meeting edited",
    "meeting moved in time",
    "meeting attendees changed",
    "meeting cancelled",
    "meeting deleted",
)
"""The changes that Graph notifies at once. `make chaos ONLY=capture` makes all others too."""
PER_RECORD_CHANGE, PER_CALL = 3, 2
"""So many changes of items for each change of a record, and for each call of an owner."""
BURST = 6
"""Changes without a pause before each fault, so that it hits work in flight."""
SLOWER = 10
"""So much slower flow the changes beyond their number, while the last faults are not over."""
LIFETIME = (60.0, 600.0)


class Load:
    """Makes changes one after another.

    Args:
        tenant: of the simulator.
        seed: makes the choices.
        users: mailbox -> address.
        records: the CRM.
        upstream: publishes records.
        actions: of the owners.
    """

    def __init__(
        self,
        tenant: TenantControl,
        seed: int,
        users: dict[str, str],
        records: RecordChanges,
        upstream: Upstream,
        actions: Actions,
    ) -> None:
        random = Random(seed)
        mail = MailChanges(tenant, random, users, LIFETIME)
        meetings = MeetingChanges(tenant, random, users, LIFETIME)
        self.items = Changes(random, _only_notified(mail.table()), _only_notified(meetings.table()))
        self.record_changes = Changes(Random(seed + 1), records.table())
        self.history = RecordHistory()
        self.actions = actions
        self._records = records
        self._upstream = upstream
        self._mail = mail
        self._queues = {"records": asyncio.Queue[None](), "calls": asyncio.Queue[None]()}
        self.number = 0

    async def begin(self) -> None:
        """Publish the first records, and create the folders of the mailboxes."""
        await asyncio.to_thread(self._mail.create_folders)
        self._records.create()
        await self._publish()

    async def make(self) -> None:
        """Make a change of an item, and order what goes with it."""
        self.number += 1
        await asyncio.to_thread(self.items.make)
        if self.number % PER_RECORD_CHANGE == 0:
            self._queues["records"].put_nowait(None)
        if self.number % PER_CALL == 0:
            self._queues["calls"].put_nowait(None)

    async def burst(self) -> None:
        """Make several changes at once."""
        for _ in range(BURST):
            await self.make()

    async def work(self) -> None:
        """Publish record changes and make calls until the task is cancelled."""
        await asyncio.gather(self._change_records(), self._call())

    async def finish(self) -> None:
        """Wait until everything is made that is ordered."""
        for queue in self._queues.values():
            await queue.join()

    async def _change_records(self) -> None:
        while True:
            await self._queues["records"].get()
            self.record_changes.make()
            await self._publish()
            self._queues["records"].task_done()

    async def _call(self) -> None:
        while True:
            await self._queues["calls"].get()
            await self.actions.act()
            self._queues["calls"].task_done()

    async def _publish(self) -> None:
        """Publish what the last change has to publish, one record after another, until Kafka has it."""
        for record, is_deleted in self._records.changed:
            key, sent = (record["type"], record["id"]), datetime.now(UTC)
            while not await self._send(record, is_deleted):
                pass
            change = RecordChange(key, None if is_deleted else record, sent, datetime.now(UTC))
            self.history.changes.append(change)
        self._records.changed.clear()

    async def _send(self, record: dict[str, Any], is_deleted: bool) -> bool:
        try:
            await (self._upstream.delete if is_deleted else self._upstream.publish)([record])
        except KafkaError:
            return False
        return True


def _only_notified(table: ChangeTable) -> ChangeTable:
    return {name: change for name, change in table.items() if name in ITEM_CHANGES}


class Pace:
    """Spreads changes evenly over the time."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = time.monotonic()

    async def wait(self, *, slowly: bool) -> None:
        """Wait for the time of the next change; what is late is not made up for."""
        self._next = max(self._next + self._interval * (SLOWER if slowly else 1), time.monotonic())
        await asyncio.sleep(self._next - time.monotonic())
