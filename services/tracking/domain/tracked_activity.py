"""Tracked activities: what users have shared, up to the event that dashboards read.

The content of a track request makes a *tracked activity*, or adds entries to the existing one. There
is one for each (tenant, identity, text and participants), regarding the records that it was put on.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from shared.addresses import normalise
from shared.clock import next_version
from shared.events import ActivityTracked, ActivityUntracked, Content, PublishedRegarding
from shared.keys import RecordKey, TrackedActivityKey

from .track_request import Regarding
from .visibility import KnownRecord

ID_CHARACTERS = 40
"""Length of a tracked activity's id: 160 bits of a SHA-256 digest in hexadecimal."""


@dataclass(frozen=True, slots=True)
class TrackedActivity:
    """An activity that is shared with everyone who may read a record that it is regarding.

    Attributes:
        id: the same for the same identity, text and participants.
        content: of the first copy that was tracked; None once untracked.
        regarding: empty once untracked.
        revision: a monotonic version; each change has a greater one.
    """

    tenant: str
    id: str
    identity: str
    content: Content | None
    regarding: tuple[Regarding, ...]
    revision: int

    @property
    def key(self) -> TrackedActivityKey:
        """The activity's key on `tracked-activities`."""
        return TrackedActivityKey(self.tenant, self.id)

    @property
    def is_tracked(self) -> bool:
        """True while it is regarding any record."""
        return bool(self.regarding)


def activity_id(content: Content) -> str:
    """The id of a tracked activity, made of its identity, text and participants.

    Copies of one e-mail that differ in line ends and in the order of names are the same. A copy with
    another text or other participants (a list's footer, an edited reply) is an activity of its own.
    """
    activity = content.activity
    text = "\n".join(line.rstrip() for line in content.text.splitlines()).strip()
    participants = sorted({f"{person.role}:{normalise(person.address)}" for person in activity.participants})
    digest = hashlib.sha256()
    for part in (activity.tenant, activity.identity, text, *participants):
        digest.update(f"{len(part)}:{part};".encode())
    return digest.hexdigest()[:ID_CHARACTERS]


def add_regarding(
    before: TrackedActivity | None, regarding: tuple[Regarding, ...], content: Content, now: datetime
) -> TrackedActivity:
    """The tracked activity after the content of a track request arrived.

    Args:
        before: the activity of `activity_id(content)` if there is one, untracked or not.
        regarding: the entries of the track request.
        content: the requested content.
        now: for the revision.

    Returns:
        `before` itself when it has all of the entries already.
    """
    activity = content.activity
    if before is None:
        before = TrackedActivity(activity.tenant, activity_id(content), activity.identity, None, (), 0)
    new = tuple(entry for entry in regarding if not any(map(entry.same_entry, before.regarding)))
    if not new:
        return before
    return replace(
        before,
        content=before.content if before.is_tracked else content,
        regarding=before.regarding + new,
        revision=next_version(now, before.revision),
    )


def remove_regarding(
    before: TrackedActivity, record: RecordKey, by: str, now: datetime
) -> TrackedActivity | None:
    """The activity without one user's entry for a record; None when there is no such entry.

    With its last entry the activity loses its content.
    """
    left = tuple(entry for entry in before.regarding if (entry.record, entry.by) != (record, by))
    if left == before.regarding:
        return None
    return replace(
        before,
        content=before.content if left else None,
        regarding=left,
        revision=next_version(now, before.revision),
    )


FindRecord = Callable[[RecordKey], KnownRecord | None]
ResolveReaders = Callable[[KnownRecord], tuple[str, ...]]


def to_event(
    tracked: TrackedActivity,
    find_record: FindRecord,
    resolve_readers: ResolveReaders,
    *,
    publish_subjects: bool,
) -> ActivityTracked | ActivityUntracked:
    """The state as published on `tracked-activities`.

    It holds no body and no addresses, and each entry has its record's present name and readers.
    """
    if tracked.content is None:
        return ActivityUntracked(tenant=tracked.tenant, activity=tracked.id, revision=tracked.revision)
    activity = tracked.content.activity
    return ActivityTracked(
        tenant=tracked.tenant,
        activity=tracked.id,
        kind=activity.kind,
        direction=activity.direction,
        owner=activity.mailbox,
        subject=activity.subject if publish_subjects else None,
        at=activity.at,
        sent_at=activity.sent_at,
        start=activity.start,
        end=activity.end,
        all_day=activity.all_day,
        cancelled=activity.cancelled,
        internet_message_id=activity.internet_message_id,
        ical_uid=activity.ical_uid,
        regarding=tuple(
            _published_regarding(entry, find_record(entry.record), resolve_readers)
            for entry in tracked.regarding
        ),
        revision=tracked.revision,
    )


def _published_regarding(
    entry: Regarding, record: KnownRecord | None, resolve_readers: ResolveReaders
) -> PublishedRegarding:
    # An entry without its record exists only after the loss of a store. Until the record comes back, the
    # user who tracked is the only reader.
    readers = (f"user:{entry.by}",) if record is None else resolve_readers(record)
    present = record is not None and record.absence is None
    return PublishedRegarding(
        type=entry.record.type,
        id=entry.record.id,
        name=record.name if record is not None and present else None,
        deleted=not present,
        by=entry.by,
        at=entry.at,
        readers=readers,
    )
