"""Track, from the owner's click to the event that dashboards read.

    untracked -> pending -> tracked
                        `-> failed -> (Track again) -> pending

A *claim* asks for the content of one item; there is one open claim for an item, and whoever asks
meanwhile joins it. Its content makes a *tracked activity*, or an entry on the one that is there: one
for each (tenant, identity, text and participants), regarding the records it was put on.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from shared.addresses import normalise
from shared.clock import stamp
from shared.events import Activity, ActivityTracked, ActivityUntracked, Content, Kind, Regarding, Sensitivity
from shared.records import RecordKey

from .visibility import Record

NO_ANSWER = "no_answer"
"""Why a claim failed that nobody has answered before its deadline."""
ASKS_ONCE_MORE = frozenset({Sensitivity.PERSONAL, Sensitivity.PRIVATE, Sensitivity.CONFIDENTIAL})
"""What is not shared by one click."""
ItemKey = tuple[str, str, str]
"""(tenant, mailbox, item)"""


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody's decision to share an item with a record; becomes an entry on what is tracked."""

    record: RecordKey
    by: str
    at: datetime
    name: str | None = None

    def same(self, other: "Ask") -> bool:
        """One person decides once about a record."""
        return (self.record, self.by) == (other.record, other.by)


class ClaimState(StrEnum):
    """Only an open claim takes asks and content."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Claim:
    """The content of an item, asked for.

    Attributes:
        activity: what the tile shows while it is pending, whatever becomes of the match; None once settled.
    """

    id: str
    item: ItemKey
    kind: Kind
    asks: tuple[Ask, ...]
    opened_at: datetime
    deadline: datetime
    activity: Activity | None = None
    state: ClaimState = ClaimState.OPEN
    reason: str | None = None

    def is_open(self, now: datetime) -> bool:
        """Does it still take asks and content?"""
        return self.state is ClaimState.OPEN and now < self.deadline

    def has(self, ask: Ask) -> bool:
        """Has this been asked already?"""
        return any(ask.same(other) for other in self.asks)

    def outcome(self, now: datetime) -> tuple[ClaimState, str | None]:
        """State and reason at this moment: past its deadline it has failed, noted or not."""
        if self.state is ClaimState.OPEN and not self.is_open(now):
            return ClaimState.FAILED, NO_ANSWER
        return self.state, self.reason


def claim(claim_id: str, activity: Activity, ask: Ask, pending_for: timedelta) -> Claim:
    """A new claim on an item's content."""
    item = activity.tenant, activity.mailbox, activity.item
    return Claim(claim_id, item, activity.kind, (ask,), ask.at, ask.at + pending_for, activity)


@dataclass(frozen=True, slots=True)
class Tracked:
    """A tracked activity, shared with everyone who may read a record that it is on.

    Attributes:
        id: the same for the same identity, text and participants.
        content: as the first tracked copy had it; None once untracked.
        regarding: none once untracked.
        revision: a stamp; each change has a greater one.
    """

    tenant: str
    id: str
    identity: str
    content: Content | None
    regarding: tuple[Ask, ...]
    revision: int

    @property
    def is_live(self) -> bool:
        """Is it on any record?"""
        return bool(self.regarding)


def activity_id(content: Content) -> str:
    """What names a tracked activity: its identity, its text and who took part.

    Copies of one e-mail differ in line ends and in the order of names, and are the same; a copy whose
    text or participants differ (a list's footer, a reply that was edited) is an activity of its own.
    """
    activity = content.activity
    text = "\n".join(line.rstrip() for line in content.text.splitlines()).strip()
    participants = sorted({f"{person.role}:{normalise(person.address)}" for person in activity.participants})
    digest = hashlib.sha256()
    for part in (activity.tenant, activity.identity, text, *participants):
        digest.update(f"{len(part)}:{part};".encode())
    return digest.hexdigest()[:40]


def track(before: Tracked | None, asks: tuple[Ask, ...], content: Content, now: datetime) -> Tracked:
    """The tracked activity after a claim's content arrived; the very same where it says nothing new.

    `before` is the one of `activity_id(content)`, if there is one, untracked or not.
    """
    activity = content.activity
    if before is None:
        before = Tracked(activity.tenant, activity_id(content), activity.identity, None, (), 0)
    new = tuple(ask for ask in asks if not any(ask.same(entry) for entry in before.regarding))
    if not new:
        return before
    shown = before.content if before.is_live else content
    return replace(
        before, content=shown, regarding=before.regarding + new, revision=stamp(now, before.revision)
    )


def untrack(before: Tracked, record: RecordKey, by: str, now: datetime) -> Tracked | None:
    """The activity without one person's entry on a record, its content gone with the last; None where there is no such entry."""
    left = tuple(entry for entry in before.regarding if (entry.record, entry.by) != (record, by))
    if left == before.regarding:
        return None
    return replace(
        before, regarding=left, content=before.content if left else None, revision=stamp(now, before.revision)
    )


RecordOf = Callable[[RecordKey], Record | None]
ReadersOf = Callable[[Record], tuple[str, ...]]


def event(
    tracked: Tracked, record_of: RecordOf, readers_of: ReadersOf, *, subjects: bool
) -> ActivityTracked | ActivityUntracked:
    """What the topic says of it: no body, no addresses, each entry with its record's name and readers now."""
    if tracked.content is None:
        return ActivityUntracked(tenant=tracked.tenant, activity=tracked.id, revision=tracked.revision)
    activity = tracked.content.activity
    return ActivityTracked(
        tenant=tracked.tenant,
        activity=tracked.id,
        kind=activity.kind,
        direction=activity.direction,
        owner=activity.mailbox,
        subject=activity.subject if subjects else None,
        at=activity.at,
        sent_at=activity.sent_at,
        start=activity.start,
        end=activity.end,
        cancelled=activity.cancelled,
        internet_message_id=activity.internet_message_id,
        ical_uid=activity.ical_uid,
        regarding=tuple(
            _regarding(entry, record_of(entry.record), readers_of) for entry in tracked.regarding
        ),
        revision=tracked.revision,
    )


def _regarding(entry: Ask, record: Record | None, readers_of: ReadersOf) -> Regarding:
    _, kind, record_id = entry.record
    if (
        record is None
    ):  # only a lost store knows an entry and not its record: nobody but her, until it is there
        return Regarding(
            type=kind,
            id=record_id,
            name=None,
            deleted=True,
            by=entry.by,
            at=entry.at,
            readers=(f"user:{entry.by}",),
        )
    name = None if record.gone else record.name
    return Regarding(
        type=kind,
        id=record_id,
        name=name,
        deleted=record.gone is not None,
        by=entry.by,
        at=entry.at,
        readers=readers_of(record),
    )
