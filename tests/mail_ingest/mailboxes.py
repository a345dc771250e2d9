"""A mailbox's pass without MongoDB, Graph and Kafka: a store that keeps what is recorded, and a lease."""

import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from services.mail_ingest.documents import Mailbox, Note
from services.mail_ingest.saying import Lease, Sayer
from services.mail_ingest.turn import Tools, Turn
from shared.bus import Outgoing

from services.mail_ingest.domain.window import Known
from shared.broker import Producer
from shared.clock import Clock
from shared.events import Kind, MailboxStatus

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LEASE = timedelta(minutes=1)


class Recorded:
    """The store of a paused mailbox with one item whose time is over."""

    def __init__(self, version: int = 1) -> None:
        self.notes: list[Note] = []
        self._left = Known("i", Kind.EMAIL, "k", "d", version, leaves_at=NOW, gone=False)

    async def held(self, _key: str, _holder: str) -> Mailbox:
        return Mailbox("contoso", "ann", MailboxStatus.PAUSED, 1, NOW)

    async def leaving(self, _owner: str, _now: datetime, _limit: int) -> list[Known]:
        return [] if self.notes else [self._left]

    async def known(self, _owner: str, items: Collection[str]) -> dict[str, Known]:
        return dict.fromkeys(items, self._left)

    async def note(self, _owner: str, _by: str, notes: Sequence[Note]) -> set[str]:
        self.notes += notes
        return {note.item for note in notes}

    async def confirm(self, *_: Any) -> None: ...


class Published:
    """A producer that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    async def send(self, *messages: Outgoing, deadline: timedelta) -> None:  # noqa: ARG002  # as the producer takes it
        self.sent += messages


def turn(
    store: Recorded, kafka: Published, clock: Clock = lambda: NOW, *, lease_age: timedelta = timedelta()
) -> Turn:
    """A pass over the mailbox, under a lease that was taken so long ago."""
    sayer = Sayer(cast("Producer", kafka))
    tools = Tools(
        cast("Any", store), cast("Any", None), sayer, clock, cast("Any", SimpleNamespace(reconcile=False))
    )
    return Turn(tools, Lease("contoso/ann", "holder", LEASE, time.monotonic() - lease_age.total_seconds()))
