"""Whether the store still fits the topics, and what becomes of a tracked activity whose topic knows more.

Each batch is stored, then its position, then the consumer group's commit; each state of a tracked activity
is stored, then published. So Kafka is never ahead of the store, unless the store is an older copy. A service
that was stopped for hours is behind the topics' ends, which proves nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from shared.clock import next_version
from shared.events import ActivityTracked, ActivityUntracked
from shared.keys import RecordKey, TrackedActivityKey
from shared.topics import TOMBSTONE_RETENTION

from .track_request import Regarding
from .tracked_activity import TrackedActivity, remove_regarding

TOMBSTONES_COMPLETE_FOR = TOMBSTONE_RETENTION - timedelta(days=1)
"""A store that is older may have missed tombstones, so it is compared with the whole of each table."""


class Cause(StrEnum):
    """Why the store does not fit the topics."""

    LOST = "lost"
    RESTORED = "restored"
    AWAY = "away"


DESCRIPTIONS = {
    Cause.LOST: "the database is empty and the topics are not",
    Cause.RESTORED: "the database is an older copy: the topics know more than it does",
    Cause.AWAY: "the service was stopped for longer than tombstones are kept",
}


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far one partition was read.

    Attributes:
        read_to: as the store has it; None: nothing is stored of this topic.
        committed: by the consumer group; 0: nothing.
    """

    read_to: int | None
    committed: int


def judge(
    progress: Iterable[PartitionProgress], *, is_empty: bool, has_published: bool, age: timedelta | None
) -> Cause | None:
    """Why the store does not fit the topics; None when it does.

    Args:
        progress: of each partition that the service reads in a group.
        is_empty: the store has never been used.
        has_published: there are messages on `tracked-activities`, which only this service writes.
        age: time since the store was last in use; None: unknown.
    """
    if is_empty:
        return Cause.LOST if has_published or any(each.committed for each in progress) else None
    if any(each.committed > (each.read_to or 0) for each in progress):
        return Cause.RESTORED
    return Cause.AWAY if age is not None and is_long(age) else None


def is_long(age: timedelta) -> bool:
    """Whether tombstones of this time may have left the topics."""
    return age > TOMBSTONES_COMPLETE_FOR


@dataclass(frozen=True, slots=True, order=True)
class LostEntry:
    """A user's entry on `tracked-activities` that the store cannot back."""

    record: RecordKey
    by: str
    at: datetime


def reconcile(
    key: TrackedActivityKey,
    before: TrackedActivity | None,
    event: ActivityTracked | ActivityUntracked | None,
    version: int,
    now: datetime,
) -> tuple[TrackedActivity | None, tuple[LostEntry, ...]]:
    """What becomes of an activity whose last state on the topic is newer than the stored one.

    An entry stays if both have it. One that only the store has was untracked since the copy, and one that
    only the topic has was tracked since: what it showed is lost. Where a closed state does not name its
    entries, any of the stored ones may have been untracked since, so all of them are lost.

    Args:
        key: of the activity.
        before: the stored state; None when there is none.
        event: the state on the topic; None for a tombstone.
        version: of that state.
        now: for the revision.

    Returns:
        The new state, None when there is nothing to store, and the entries that are lost. The state is `lost`
        when nothing of the activity stays that somebody had tracked.
    """
    stored = _by_place(before.regarding if before else ())
    known = stored | _by_place(before.lost_regarding if before else ())
    on_topic = _published_entries(key.tenant, event)
    was_lost = isinstance(event, ActivityUntracked) and event.lost
    is_unknown = not on_topic and (was_lost or isinstance(event, ActivityTracked))
    if is_unknown and was_lost:
        on_topic = stored  # nobody has untracked it
    lost = _without(stored, on_topic) if is_unknown else _without(on_topic, known)
    is_lost = bool(lost) or is_unknown or was_lost
    if before is None and not is_lost:
        return None, ()
    after = before or TrackedActivity(key.tenant, key.activity, "", None, (), 0)
    for record, by in sorted(stored.keys() - on_topic.keys()):
        after = remove_regarding(after, record, by, now) or after
    revision = next_version(now, max(version, after.revision))
    if not is_lost or after.is_tracked:
        return replace(after, revision=revision, lost=False, lost_regarding=()), lost
    all_lost = _without(known if is_unknown else on_topic, {})
    entries = tuple(Regarding(entry.record, entry.by, entry.at) for entry in all_lost)
    return replace(after, revision=revision, lost=True, lost_regarding=entries), lost


Entries = dict[tuple[RecordKey, str], LostEntry]
"""(record, user) -> entry."""


def _by_place(regarding: Iterable[Regarding]) -> Entries:
    return {(each.record, each.by): LostEntry(each.record, each.by, each.at) for each in regarding}


def _published_entries(tenant: str, event: ActivityTracked | ActivityUntracked | None) -> Entries:
    """The entries that a state on the topic names, with their readers or without."""
    if event is None:
        return {}
    named = event.regarding if isinstance(event, ActivityTracked) else ()
    return {
        (record, each.by): LostEntry(record, each.by, each.at)
        for each in named or event.withheld
        for record in [RecordKey(tenant, each.type, each.id)]
    }


def _without(entries: Entries, others: Entries) -> tuple[LostEntry, ...]:
    return tuple(entry for place, entry in sorted(entries.items()) if place not in others)
