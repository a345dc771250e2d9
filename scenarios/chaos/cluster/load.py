"""A steady load on the whole system: mails, Tracks, untracks, record changes and reads."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Any

from simulator.control.client import TenantControl

from .api import Api, User
from .crm import Crm, client_address, deal_records
from .guard import Guard
from .operations import MAIL, READ, TRACK, UNTRACK, Operation, Operations

DEALS, GUARDED = 6, 3
POLL_SECONDS = 0.7
RETRY_SECONDS = 0.5
TRACKED_AMONG = 12
"""A mail to track is one of so many of the newest, so that it is on the first page of a timeline."""
CLOSED_SECONDS = (4.0, 12.0)
"""How long a record stays closed, or open, after all replicas show it."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often each thing happens, per second."""

    mails: float = 2.0
    tracks: float = 0.8
    untracks: float = 0.4
    links: float = 0.2
    reads: float = 1.0


@dataclass(slots=True, eq=False)
class Mail:
    """A mail from a deal's contact to an owner.

    Attributes:
        seen: until its owner sees it as a suggestion.
        track, untrack: None: not tried.
        activity: its tracked activity.
        track_answered, untrack_answered: whether a call was answered with 2xx.
    """

    number: int
    owner: User
    deal: int
    item: str
    seen: Operation
    track: Operation | None = None
    track_answered: bool = False
    activity: str | None = None
    untrack: Operation | None = None
    untrack_answered: bool = False

    @property
    def subject(self) -> str:
        return f"Mail {self.number}"

    @property
    def record(self) -> str:
        """The record on which it is read and tracked."""
        return f"contact/contact-{self.deal}"

    @property
    def must_be_tracked(self) -> bool:
        """Track was answered with 2xx, and nobody tried to take it back."""
        return self.track_answered and self.untrack is None

    @property
    def must_not_be_tracked(self) -> bool:
        """Nobody tried to track it, or it was taken back."""
        return self.track is None or self.untrack_answered

    @property
    def waits(self) -> bool:
        """Whether its owner does not see yet what was done."""
        return self.seen.ended is None or (
            self.track_answered and self.track is not None and self.track.ended is None
        )


@dataclass
class Load:
    """The load; `running` keeps it up until the end of its context.

    Attributes:
        refused: answers with 4xx to a Track or an untrack.
    """

    tenant: TenantControl
    api: Api
    crm: Crm
    guard: Guard
    owners: Sequence[User]
    operations: Operations
    random: Random
    rates: Rates = field(default_factory=Rates)
    mails: list[Mail] = field(default_factory=list)
    refused: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _numbers: Iterator[int] = field(default_factory=count)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish_records(self) -> None:
        """Publish all records for the first time."""
        for number in range(DEALS):
            for record in deal_records(number):
                await self.crm.change(record["type"], record["id"], **record)
        for number in range(GUARDED):
            self.guard.opened(f"opportunity/deal-{number}")

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """What runs until the load is stopped."""
        return [
            self._repeat(self.rates.mails, self.send_mail),
            self._repeat(self.rates.tracks, self._track_one),
            self._repeat(self.rates.untracks, self._untrack_one),
            self._repeat(self.rates.links, self._change_link),
            *(self._repeat(self.rates.reads, partial(self._read, name)) for name in self.api.replicas),
            *(self._open_and_close(number) for number in range(GUARDED)),
        ]

    def stop(self) -> None:
        """Start nothing more; `tasks` end when what they have started is at its end."""
        self._stopping.set()

    async def observe(self) -> None:
        """Poll the timelines on which something is to become visible, until the task is cancelled."""
        while True:
            waiting: defaultdict[tuple[int, str], list[Mail]] = defaultdict(list)
            for mail in self.mails:
                if mail.waits:
                    waiting[self.owners.index(mail.owner), mail.record].append(mail)
            await asyncio.gather(*map(self._look, waiting.values()), asyncio.sleep(POLL_SECONDS))

    async def _look(self, mails: list[Mail]) -> None:
        status, timeline = await self.api.timeline(mails[0].owner, mails[0].record, limit="100")
        if status != 200:
            return
        suggested = {tile["item"] for tile in timeline["suggestions"]}
        tracked = {tile["activity"]["subject"]: tile["id"] for tile in timeline["tracked"]}
        for mail in mails:
            if mail.item in suggested or mail.subject in tracked:
                mail.seen.end()
            if mail.track is not None and mail.subject in tracked:
                mail.activity = tracked[mail.subject]
                mail.track.end()

    # what happens

    async def send_mail(self) -> None:
        """One mail from a random contact to a random owner."""
        number = next(self._numbers)
        deal, owner = self.random.randrange(DEALS), self.random.choice(self.owners)
        seen = self.operations.start(MAIL)
        sent = await asyncio.to_thread(
            self.tenant.send,
            client_address(deal),
            [owner.address],
            subject=f"Mail {number}",
            text=f"Text {number}",
        )
        (item,) = [copy["id"] for copy in sent["copies"] if copy["mailbox"] == owner.oid]
        self.mails.append(Mail(number, owner, deal, item, seen))

    async def _track_one(self) -> None:
        visible = [mail for mail in self.mails[-TRACKED_AMONG:] if mail.seen.ended and mail.track is None]
        if not visible:
            return
        mail = self.random.choice(visible)
        mail.track = self.operations.start(TRACK)
        status = await self._until_answered(
            lambda: self.api.track(mail.owner, mail.record, mail.item), "track"
        )
        mail.track_answered = status is not None

    async def _untrack_one(self) -> None:
        tracked = [
            mail for mail in self.mails if mail.activity and mail.track_answered and mail.untrack is None
        ]
        if len(tracked) < 3:
            return
        mail = self.random.choice(tracked)
        mail.untrack = self.operations.start(UNTRACK)
        status = await self._until_answered(
            lambda: self.api.untrack(mail.owner, mail.record, str(mail.activity)), "untrack"
        )
        mail.untrack_answered = status is not None
        mail.untrack.end()

    async def _until_answered(
        self, call: Callable[[], Coroutine[Any, Any, tuple[int | None, Any]]], name: str
    ) -> int | None:
        """Repeat a call until it succeeds; 2xx, or None after the load was stopped."""
        unknown = False
        while True:
            status, _ = await call()
            if status is not None and 200 <= status < 300:
                return status
            if status == 404 and unknown and name == "untrack":
                return status  # an attempt without an answer has removed it
            unknown = unknown or status is None or status >= 500
            if status is not None and status < 500:
                self.refused[f"{name}: {status}"] += 1
            if self._stopping.is_set() and status is not None and status < 500:
                return None
            await asyncio.sleep(RETRY_SECONDS)

    async def _change_link(self) -> None:
        """Other stakeholders of a deal: older mails match it, or do so no more."""
        number = self.random.randrange(GUARDED, DEALS)
        others = [other for other in range(DEALS) if other != number]
        chosen = self.random.sample(others, self.random.randrange(3))
        await self.crm.change(
            "opportunity", f"deal-{number}", stakeholder_ids=[f"contact-{other}" for other in chosen]
        )

    async def _read(self, replica: str) -> None:
        operation = self.operations.start(f"{READ} {replica}")
        user = self.random.choice(self.owners)
        status, _ = await self.api.timeline(user, "account/account-0", replica=replica)
        if status == 200:
            operation.end()

    async def _open_and_close(self, number: int) -> None:
        """Close a record to the reader and open it again; the owners of the mailboxes may always read it."""
        record, owners = f"opportunity/deal-{number}", [f"user:{owner.oid}" for owner in self.owners]
        while True:
            await self._pause(record)
            if self._stopping.is_set():
                return
            await self.crm.change("opportunity", f"deal-{number}", readers=owners)
            self.guard.closed(record)
            await self._pause(record)
            self.guard.opening(record)
            await self.crm.change("opportunity", f"deal-{number}", readers=["*"])
            self.guard.opened(record)

    async def _pause(self, record: str) -> None:
        while not self.guard.is_shown(record) and not self._stopping.is_set():
            await self._sleep(POLL_SECONDS)
        await self._sleep(self.random.uniform(*CLOSED_SECONDS))

    # pace

    async def _repeat(self, rate: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start one action after another at this rate, whether the earlier ones have ended or not."""
        async with asyncio.TaskGroup() as group:
            while not self._stopping.is_set():
                group.create_task(act())
                await self._sleep(1 / rate)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
