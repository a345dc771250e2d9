"""What was done and answered during a run, with the times: the evidence of the judges."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from scenarios.chaos.normaliser import Expected, Owner
from scenarios.chaos.timelines import ItemId, Timeline

from .join import Join, Record, RecordId
from .published import SystemLog

BEGINNING, END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RecordChange:
    """A record that upstream published; None: deleted.

    Attributes:
        sent, acknowledged: when it was sent, and when Kafka had acknowledged it.
    """

    record_id: RecordId
    record: Record | None
    sent: datetime
    acknowledged: datetime


@dataclass(frozen=True)
class Moment:
    """The CRM between two changes.

    Attributes:
        start, end: when the first was sent, and when the second was acknowledged.
    """

    start: datetime
    end: datetime
    crm: Mapping[RecordId, Record]
    join: Join


@dataclass
class RecordHistory:
    """All record changes, one after another."""

    changes: list[RecordChange] = field(default_factory=list)

    def moments(self) -> list[Moment]:
        """The CRM after each change, and before the first one."""
        found: list[Moment] = []
        crm: dict[RecordId, Record] = {}
        start = BEGINNING
        for change in self.changes:
            found.append(Moment(start, change.acknowledged, dict(crm), Join(crm)))
            if change.record is None:
                crm.pop(change.record_id, None)
            else:
                crm[change.record_id] = change.record
            start = change.sent
        found.append(Moment(start, END, dict(crm), Join(crm)))
        return found

    def states(
        self, record_id: RecordId, first: datetime, last: datetime, *, deleted_too: bool = False
    ) -> list[Record | None]:
        """What a record was at any time from `first` to `last`.

        Args:
            record_id: the record.
            first: the beginning of the time.
            last: its end.
            deleted_too: a deleted record is what it was before its deletion, not None.
        """
        own = [change for change in self.changes if change.record_id == record_id]
        sent = bisect_right(own, last, key=lambda change: change.sent)
        before = bisect_left(own, first, key=lambda change: change.acknowledged)
        states: list[Record | None] = [None]
        for change in own[:sent]:
            states.append(states[-1] if change.record is None and deleted_too else change.record)
        return states[before:]


def during(moments: Sequence[Moment], first: datetime, last: datetime) -> Iterator[Moment]:
    """The moments that touch a time from `first` to `last`."""
    end = bisect_right(moments, last, key=lambda each: each.start)
    start = bisect_left(moments, first, key=lambda each: each.end)
    return iter(moments[start:end])


class Operation(StrEnum):
    """What a user calls."""

    TRACK = "track"
    UNTRACK = "untrack"
    DISMISS = "dismiss"
    UNDO = "undo dismissal"


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the API that changes something.

    Attributes:
        target: the item; of an untrack, the tracked activity.
        sent, received: when it was sent, and when it was answered or given up.
        status: None: no answer in time. A call without an answer, or with a 5xx, has an unknown outcome.
    """

    operation: Operation
    user: str
    record: RecordId
    target: str
    sent: datetime
    received: datetime
    status: int | None

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_unknown(self) -> bool:
        return self.status is None or self.status >= 500


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a tracked activity: who tracked it on which record, and when."""

    record: RecordId
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TrackedTile:
    """A tracked activity in an answer."""

    activity: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a reader of a record's timeline.

    Attributes:
        status: None: no answer in time.
        suggestions: item and state.
    """

    reader: str
    record: RecordId
    sent: datetime
    received: datetime
    status: int | None
    suggestions: tuple[tuple[str, str], ...] = ()
    tracked: tuple[TrackedTile, ...] = ()
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Restore:
    """A database that was put back as it had been at `copied_at`; a lost one: at the beginning."""

    service: str
    copied_at: datetime
    at: datetime


@dataclass
class History:
    """Everything that the judges need.

    Attributes:
        owners: mailbox -> its owner.
        timelines: what each item was, by the simulator's history.
        exported: item -> records of its stored suggestion, at the end.
        final: the answers to the owners at the end, of every record.
        failed: (mailbox, item) -> reasons of its failed Tracks, at the end.
        until: the end.
    """

    owners: Mapping[str, Owner]
    records: RecordHistory = field(default_factory=RecordHistory)
    timelines: Mapping[ItemId, Timeline] = field(default_factory=dict)
    log: SystemLog = field(default_factory=SystemLog)
    calls: list[Call] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    exported: Mapping[ItemId, set[RecordId]] = field(default_factory=dict)
    final: list[Answer] = field(default_factory=list)
    failed: Mapping[ItemId, set[str]] = field(default_factory=dict)
    until: datetime = END

    def item_now(self, item: ItemId) -> Expected | None:
        """What an item is at the end, by the simulator's history; None: nothing."""
        timeline = self.timelines.get(item, [])
        return next((each.expected for each in timeline if each.touches(self.until, self.until)), None)

    def may_read(
        self, user: str, record_id: RecordId, first: datetime, last: datetime, *, deleted_too: bool = False
    ) -> bool:
        """Whether a user may have read a record at any time from `first` to `last`; see `states`."""
        states = self.records.states(record_id, first, last, deleted_too=deleted_too)
        return any(is_reader(user, state) for state in states)

    def restored_since(self, service: str, time: datetime) -> bool:
        """Whether a service's database was put back as it had been before a time, after that time."""
        return any(each.service == service and each.copied_at < time < each.at for each in self.restores)

    def restored_after(self, service: str, time: datetime) -> bool:
        """Whether a service's database was put back after a time, from whatever copy."""
        return any(each.service == service and time < each.at for each in self.restores)


def is_reader(user: str, record: Record | None) -> bool:
    """Whether a user may read a record that is in this state; the tenant's default are all its users."""
    if record is None:
        return False
    readers = record.get("readers")
    return readers is None or "*" in readers or f"user:{user}" in readers


def micros(version: int) -> datetime:
    """The time of a monotonic version."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=version)
