"""What becomes of a tracked activity when one of its copies has changed, is cancelled, or is gone.

What somebody sees on a record comes from a copy that was tracked on that record. So a changed copy is shown
if each record has an entry of an owner whose copy has the same content. Until then the activity stays as it
is, but that the meeting is cancelled is shown at once: it is a fact about the meeting, and not what an owner
wrote.
"""

from dataclasses import replace
from datetime import datetime

from shared.clock import next_version
from shared.events import SENSITIVITIES_TO_CONFIRM, ActivityKind, Content
from shared.keys import ItemKey

from .tracked_activity import TrackedActivity
from .tracked_copy import TrackedCopy, content_digest


def update_source(
    before: TrackedActivity, item: ItemKey, version: int, content: Content | None, now: datetime
) -> TrackedActivity:
    """The tracked activity after an update of a followed item.

    Args:
        before: the activity.
        item: the followed item.
        version: of the item's state.
        content: of that state; None when the item is gone.
        now: for the revision.

    Returns:
        `before` itself for a version that is known; an activity of the same revision when nothing that is
        shown differs.
    """
    copy = next((each for each in before.copies if each.item == item), None)
    if copy is None or before.content is None or version <= copy.version:
        return before
    changed = _updated_copy(copy, version, content)
    copies = tuple(changed if each is copy else each for each in before.copies)
    after = replace(before, copies=copies)
    if content is not None and not _became_private(copy, content):
        after = replace(after, content=_shown_content(after, before.content, copy, changed, content))
    if (after.content, after.source_gone) == (before.content, before.source_gone):
        return after
    return replace(after, revision=next_version(now, before.revision))


def _updated_copy(copy: TrackedCopy, version: int, content: Content | None) -> TrackedCopy:
    if content is None:
        return replace(copy, version=version, gone=True)
    if _became_private(copy, content):
        return replace(copy, version=version)
    until = content.activity.visible_until if copy.kind is ActivityKind.MEETING else copy.until
    return replace(copy, version=version, digest=content_digest(content), until=until, gone=False)


def _became_private(copy: TrackedCopy, content: Content) -> bool:
    """True when the owner would have to confirm the sharing of this state, and has not."""
    sensitivity = content.activity.sensitivity
    return sensitivity in SENSITIVITIES_TO_CONFIRM and sensitivity is not copy.sensitivity


def _shown_content(
    tracked: TrackedActivity, shown: Content, copy: TrackedCopy, changed: TrackedCopy, content: Content
) -> Content:
    """The content to show after a copy has changed.

    Args:
        tracked: the activity with the changed copy.
        shown: its former content.
        copy: the copy as it was.
        changed: the copy as it is.
        content: of the changed copy.
    """
    if tracked.has_owner_of_content and changed.digest in {copy.digest, content_digest(shown)}:
        return shown
    if _is_tracked_on_every_record(tracked, changed.digest):
        return content
    if content.activity.cancelled:
        return shown.model_copy(update={"activity": shown.activity.model_copy(update={"cancelled": True})})
    return shown


def _is_tracked_on_every_record(tracked: TrackedActivity, digest: str) -> bool:
    owners = {copy.item.mailbox for copy in tracked.copies if copy.digest == digest}
    records = {entry.record for entry in tracked.regarding}
    return records == {entry.record for entry in tracked.regarding if entry.by in owners}
