"""The copies of a tracked activity: the owners' items that it was tracked from, which are followed."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.events import ActivityKind, Content, Sensitivity
from shared.keys import ItemKey

FOLLOWED_TIME = timedelta(days=3)
"""A message is followed for this time; a meeting until this time after its end."""


@dataclass(frozen=True, slots=True)
class TrackedCopy:
    """An owner's item that an activity was tracked from, as it was last read.

    Attributes:
        version: of the last state that mail-ingest has sent; 0: the item has to be sent again.
        digest: of that state, see `content_digest`; empty: unknown.
        until: when the item is no longer followed.
        sensitivity: the one that the owner has shared it with.
        gone: the item is no longer in the mailbox.
    """

    item: ItemKey
    kind: ActivityKind
    version: int
    digest: str
    until: datetime
    sensitivity: Sensitivity = Sensitivity.NORMAL
    gone: bool = False


def new_copy(content: Content, version: int, now: datetime) -> TrackedCopy:
    """The copy that a track request has fetched.

    A message whose own time lies in the future, by a sender's wrong clock, is followed from now.
    """
    activity = content.activity
    until = activity.visible_until
    if activity.kind is not ActivityKind.MEETING:
        until = min(until, now + FOLLOWED_TIME)
    return TrackedCopy(
        activity.key, activity.kind, version, content_digest(content), until, activity.sensitivity
    )


def content_digest(content: Content) -> str:
    """Equal for contents that show the same: subject, people, times, text.

    It is the same for the copies of several owners, whose ids, links and directions differ.
    """
    activity = content.activity
    people = sorted(f"{each.role}:{each.address}:{each.name or ''}" for each in activity.participants)
    digest = hashlib.sha256()
    for part in (
        activity.subject,
        str(activity.start or activity.at),
        str(activity.end),
        str(activity.all_day),
        str(activity.cancelled),
        activity.sensitivity,
        plain_lines(content.text),
        *people,
    ):
        digest.update(f"{len(part)}:{part};".encode())
    return digest.hexdigest()


def plain_lines(text: str) -> str:
    """A text without the differences in line ends that mail servers make."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()
