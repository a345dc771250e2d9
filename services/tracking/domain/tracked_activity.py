"""Tracked activities: what users have shared, up to the event that dashboards read.

The content of a track request makes a *tracked activity*, or adds entries to the existing one. There
is one for each (tenant, identity, text and participants), regarding the records that it was put on.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.addresses import normalise
from shared.clock import next_version
from shared.events import (
    Activity,
    ActivityTracked,
    ActivityUntracked,
    Content,
    PublishedRegarding,
    WithheldRegarding,
)
from shared.keys import RecordKey, TrackedActivityKey

from .track_request import MAX_ENTRIES, Regarding
from .tracked_copy import TrackedCopy, content_digest, new_copy, plain_lines
from .visibility import KnownRecord

ID_CHARACTERS = 40
"""Length of a tracked activity's id: 160 bits of a SHA-256 digest in hexadecimal."""


PUBLISHED_NAME_CHARACTERS = 200
PUBLISHED_SUBJECT_CHARACTERS = 1000
"""Longer names of records and subjects are cut in events; Outlook's subjects have at most 255 characters."""
MAX_WITHHELD = 200
"""Entries that an event without readers names: each has at most 2.6 kB, and the topic takes 1 MB."""


@dataclass(frozen=True, slots=True)
class TrackedActivity:
    """An activity that is shared with everyone who may read a record that it is regarding.

    Attributes:
        id: made of the content that was tracked first; it stays when the content changes.
        content: of a copy that was tracked, as it is now; None once untracked.
        regarding: empty once untracked.
        revision: a monotonic version; each change that shows has a greater one.
        copies: the items that it was tracked from, one or more of each user who has an entry.
        lost: the database that had its content is lost; no user has untracked it.
        lost_regarding: its entries then, as far as the topic named them.
    """

    tenant: str
    id: str
    identity: str
    content: Content | None
    regarding: tuple[Regarding, ...]
    revision: int
    copies: tuple[TrackedCopy, ...] = ()
    lost: bool = False
    lost_regarding: tuple[Regarding, ...] = ()

    @property
    def key(self) -> TrackedActivityKey:
        """The activity's key on `tracked-activities`."""
        return TrackedActivityKey(self.tenant, self.id)

    @property
    def is_tracked(self) -> bool:
        """True while it is regarding any record."""
        return bool(self.regarding)

    @property
    def source_gone(self) -> bool:
        """True when none of the items that it was tracked from is in its mailbox any more."""
        return bool(self.copies) and all(copy.gone for copy in self.copies)

    @property
    def has_owner_of_content(self) -> bool:
        """True while the owner of the copy that is shown has an entry."""
        return self.content is not None and self.content.activity.mailbox in {
            entry.by for entry in self.regarding
        }


def activity_id(content: Content, number: int = 0) -> str:
    """The id of a tracked activity, made of its identity, text and participants.

    Copies of one e-mail that differ in line ends and in the order of names are the same. A copy with
    another text or other participants (a list's footer, an edited reply) is an activity of its own.

    Args:
        content: of the activity.
        number: gives another id, when an activity that was tracked with this content has changed since.
    """
    activity = content.activity
    text = plain_lines(content.text)
    digest = hashlib.sha256()
    another = [f"#{number}"] if number else []
    for part in (activity.tenant, activity.identity, text, *_people(activity), *another):
        digest.update(f"{len(part)}:{part};".encode())
    return digest.hexdigest()[:ID_CHARACTERS]


def add_regarding(
    before: TrackedActivity | None,
    regarding: tuple[Regarding, ...],
    content: Content,
    now: datetime,
    *,
    version: int = 0,
    new_id: str | None = None,
) -> TrackedActivity:
    """The tracked activity after the content of a track request arrived.

    Args:
        before: the activity with this content if there is one, untracked or not.
        regarding: the entries of the track request.
        content: the requested content.
        now: for the revision.
        version: of the item's state that the content is of.
        new_id: of a new activity; absent: `activity_id(content)`.

    Returns:
        `before` itself when it has all of the entries already.
    """
    activity = content.activity
    if before is None:
        new_id = new_id or activity_id(content)
        before = TrackedActivity(activity.tenant, new_id, activity.identity, None, (), 0)
    new = tuple(entry for entry in regarding if not any(map(entry.same_entry, before.regarding)))
    if not new:
        return before
    is_known = any(copy.item == activity.key for copy in before.copies)
    return replace(
        before,
        identity=activity.identity,  # that of a lost activity is unknown
        lost=False,
        lost_regarding=(),
        content=before.content if before.is_tracked else content,
        regarding=before.regarding + new,
        revision=next_version(now, before.revision),
        copies=before.copies if is_known else (*before.copies, new_copy(content, version, now)),
    )


def remove_regarding(
    before: TrackedActivity, record: RecordKey, by: str, now: datetime
) -> TrackedActivity | None:
    """The activity without one user's entry for a record; None when there is no such entry.

    With its last entry the activity loses its content. With a user's last entry it loses that user's
    copies; what those who remain see must then come from one of their own copies, which are read again.
    """
    left = tuple(entry for entry in before.regarding if (entry.record, entry.by) != (record, by))
    if left == before.regarding:
        return None
    after = replace(
        before,
        content=before.content if left else None,
        regarding=left,
        revision=next_version(now, before.revision),
        copies=_copies_of(left, before.copies),
    )
    return after if after.content is None else replace(after, copies=_to_read_again(after, after.content))


def _copies_of(regarding: tuple[Regarding, ...], copies: tuple[TrackedCopy, ...]) -> tuple[TrackedCopy, ...]:
    owners = {entry.by for entry in regarding}
    return tuple(copy for copy in copies if copy.item.mailbox in owners)


def _to_read_again(tracked: TrackedActivity, shown: Content) -> tuple[TrackedCopy, ...]:
    """The copies after an entry was removed; those that may have to be shown now are sent again."""
    is_right, digest = tracked.has_owner_of_content, content_digest(shown)
    return tuple(
        copy if is_right and copy.digest == digest else replace(copy, version=0, digest="")
        for copy in tracked.copies
    )


def may_get(tracked: TrackedActivity, activity: Activity, entries: Iterable[Regarding]) -> bool:
    """False when an item's entries would make a tracked activity too large, as far as that is known.

    The text decides whether the item joins the activity, and is not known before it is fetched.

    Args:
        tracked: under the item's identity.
        activity: the item.
        entries: the new ones.
    """
    if not any(copy.item == activity.key for copy in tracked.copies) and not _shows(tracked, activity):
        return True
    new = {(entry.record, entry.by) for entry in entries}
    return len(new | {(entry.record, entry.by) for entry in tracked.regarding}) <= MAX_ENTRIES


def _shows(tracked: TrackedActivity, activity: Activity) -> bool:
    """True when an activity has the subject and the participants of an item."""
    if tracked.content is None:
        return False
    shown = tracked.content.activity
    return (shown.subject, _people(shown)) == (activity.subject, _people(activity))


def _people(activity: Activity) -> list[str]:
    return sorted({f"{person.role}:{normalise(person.address)}" for person in activity.participants})


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
        return ActivityUntracked(
            tenant=tracked.tenant,
            activity=tracked.id,
            revision=tracked.revision,
            lost=tracked.lost,
            withheld=_withheld([(*each.record[1:], each.by, each.at) for each in tracked.lost_regarding]),
        )
    activity = tracked.content.activity
    return ActivityTracked(
        tenant=tracked.tenant,
        activity=tracked.id,
        kind=activity.kind,
        direction=activity.direction,
        owner=activity.mailbox,
        subject=activity.subject[:PUBLISHED_SUBJECT_CHARACTERS] if publish_subjects else None,
        at=activity.at,
        sent_at=activity.sent_at,
        start=activity.start,
        end=activity.end,
        all_day=activity.all_day,
        cancelled=activity.cancelled,
        source_gone=tracked.source_gone,
        internet_message_id=activity.internet_message_id,
        ical_uid=activity.ical_uid,
        regarding=tuple(
            _published_regarding(entry, find_record(entry.record), resolve_readers)
            for entry in tracked.regarding
        ),
        revision=tracked.revision,
    )


def closed(event: ActivityTracked) -> ActivityTracked:
    """An event that always fits its topic, for a state that does not: nobody may read it.

    It names its entries, without readers, so that a restored database knows which of its own were untracked.
    """
    withheld = _withheld([(entry.type, entry.id, entry.by, entry.at) for entry in event.regarding])
    without = {"subject": None, "internet_message_id": None, "ical_uid": None, "regarding": ()}
    return event.model_copy(update=without | {"withheld": withheld})


def _withheld(entries: Sequence[tuple[str, str, str, datetime]]) -> tuple[WithheldRegarding, ...]:
    """These entries (type, id, by, at) without readers; none where there are too many."""
    if len(entries) > MAX_WITHHELD:
        return ()
    return tuple(WithheldRegarding(type=type_, id=id_, by=by, at=at) for type_, id_, by, at in entries)


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
        name=record.name[:PUBLISHED_NAME_CHARACTERS] if record and present and record.name else None,
        deleted=not present,
        by=entry.by,
        at=entry.at,
        readers=readers,
    )
