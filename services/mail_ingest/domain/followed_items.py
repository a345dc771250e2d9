"""Followed items: tracked items whose changes tracking wants to receive, and what is published about each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeAlias

from shared.events import SENSITIVITIES_TO_CONFIRM, ActivityKind, Content, Sensitivity, SourceChange

from .activities import Payload
from .capture import folder_of
from .folders import Folders
from .kinds import KindRow

FOLLOWED_AFTER_NAMED = timedelta(days=1)
"""tracking names every followed item each hour; one that is not named for this time is not followed."""
REMEMBERED_TIME = timedelta(hours=1)
"""tracking names an item within seconds of the content that makes it a tracked one."""
GONE_CHECK_INTERVAL = timedelta(hours=1)
"""How often an item that is gone is requested by its id: it may come back, as after a move of the mailbox."""

FetchedPayloads: TypeAlias = Mapping[tuple[ActivityKind, str], Payload | None]
"""Kind and item -> its payload; None where Graph does not find the item."""


@dataclass(frozen=True, slots=True)
class FollowedItem:
    """A followed item, and the state of it that was last answered. Nothing else of the item is kept.

    Attributes:
        item: its immutable id.
        version: of the last answer, or handed out for one; before the first: the version that tracking has.
        until: when it is no longer followed.
        sensitivity: the one that the owner has shared it with.
        change_key: of the state that was last compared; empty: it is compared at the next sight.
        digest: of the content that was last answered, also to a track request; empty: unknown.
        gone: the last answer was that it is gone.
        checked_at: when it was last requested by its id because the window does not show it.
        named: tracking has named it. Before, it is not followed, and only the digest of the content is kept.
    """

    item: str
    kind: ActivityKind
    version: int
    until: datetime
    sensitivity: Sensitivity = Sensitivity.NORMAL
    change_key: str = ""
    digest: str = ""
    gone: bool = False
    checked_at: datetime | None = None
    named: bool = True

    def is_to_fetch(self, now: datetime) -> bool:
        """True when a window that does not show the item is followed by a fetch of its id."""
        return not self.gone or self.checked_at is None or self.checked_at <= now - GONE_CHECK_INTERVAL

    def may_differ(self, change_key: str) -> bool:
        """True unless the item was compared at this change key."""
        return self.gone or not change_key or change_key != self.change_key

    def differs(self, content: Content) -> bool:
        """True when the content is another one than was last answered."""
        return self.gone or self.digest != content_digest(content)

    def may_be_published(self, content: Content) -> bool:
        """False when the owner would have to confirm that this is shared, and has not."""
        sensitivity = content.activity.sensitivity
        return sensitivity not in SENSITIVITIES_TO_CONFIRM or sensitivity is self.sensitivity


def change_of(content: Content) -> SourceChange:
    """What is answered about a content that differs."""
    return SourceChange.CANCELLED if content.activity.cancelled else SourceChange.CHANGED


def is_deleted(row: KindRow, payload: Payload, folders: Folders) -> bool:
    """True for an item in Deleted Items, or below: its owner has deleted it, and may still restore it."""
    return folder_of(row, payload) in folders.deleted


def content_digest(content: Content) -> str:
    """Equal for equal contents. Read flags, categories and moves leave it as it is."""
    return sha256(content.model_dump_json().encode()).hexdigest()[:32]
