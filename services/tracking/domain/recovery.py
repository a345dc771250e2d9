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
    only the topic has was tracked since: what it showed is lost.

    Args:
        key: of the activity.
        before: the stored state; None when there is none.
        event: the state on the topic; None for a tombstone.
        version: of that state.
        now: for the revision.

    Returns:
        The new state, None when there is nothing to store, and the entries that are lost.
    """
    published = event.regarding if isinstance(event, ActivityTracked) else ()
    on_topic = {
        (record, entry.by): LostEntry(record, entry.by, entry.at)
        for entry in published
        for record in [RecordKey(key.tenant, entry.type, entry.id)]
    }
    stored = {(entry.record, entry.by) for entry in before.regarding} if before else set()
    lost = tuple(entry for place, entry in sorted(on_topic.items()) if place not in stored)
    if before is None and not lost:
        return None, ()
    after = before or TrackedActivity(key.tenant, key.activity, "", None, (), 0)
    if not (isinstance(event, ActivityUntracked) and event.lost):
        # A store that had lost the activity publishes it as lost, and nobody has untracked it.
        for record, by in sorted(stored - on_topic.keys()):
            after = remove_regarding(after, record, by, now) or after
    revision = next_version(now, max(version, after.revision))
    return replace(after, revision=revision, lost=bool(lost) and not after.is_tracked), lost
