"""What happens to an item: its captured state, its observed state, and the action that follows."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import TypeAlias, assert_never

from shared.clock import next_version
from shared.events import Activity, ActivityKind

from .activities import CAPTURE_WINDOW, NotCaptured, NotCapturedReason
from .capture import within_window
from .kinds import KindTable
from .payload_reader import Oddity

DIGEST_LENGTH = 32
"""Hexadecimal digits of an activity's SHA-256 that are stored."""


class Absence(StrEnum):
    """Why an item cannot be read."""

    NOT_FOUND = "not_found"  # Graph does not find its id
    NOT_SHOWN = "not_shown"  # too many complete windows lack it
    EXPIRED = "expired"  # it has left the capture window
    REMOVED = "removed"  # its mailbox is removed


@dataclass(frozen=True, slots=True)
class CapturedItem:
    """The stored state of an item. Nothing else of an item is kept.

    Attributes:
        item: its immutable id.
        digest: of the activity as it was published; empty when there is none. Read flags, categories and
            moves change the change key and leave the digest as it is.
        version: of this state; a monotonic version.
        at, leaves_at: position of the activity on the timeline, and end of its capture window; of a gone one:
            as it was published last.
        first_seen: position of an activity whose own time lay in the future when it was first seen.
        gone: since when the item is not an activity; None while it is one.
        refused: the reason of an item that never was an activity.
        enters_at: when a refused item becomes an activity by the clock alone, if nothing changes.
        missing: complete windows in a row that lacked it (`ViewLiveness`).
        publish_pending: recorded, and Kafka may not have it.
        resent: the pending publication repeats an earlier one, which a topic may have lost.
    """

    item: str
    kind: ActivityKind
    change_key: str
    digest: str
    version: int
    at: datetime | None = None
    leaves_at: datetime | None = None
    first_seen: datetime | None = None
    gone: datetime | None = None
    refused: str | None = None
    enters_at: datetime | None = None
    missing: int = 0
    publish_pending: bool = False
    resent: bool = False

    @property
    def is_resend_pending(self) -> bool:
        """True until Kafka has acknowledged what `resend` has made pending."""
        return self.publish_pending and self.resent

    def is_expired(self, now: datetime) -> bool:
        """True when the item has left the capture window."""
        return self.leaves_at is not None and self.leaves_at <= now


ObservedState: TypeAlias = Activity | NotCaptured | Absence


@dataclass(frozen=True, slots=True)
class ObservedItem:
    """The state of an item as Graph has it now.

    Attributes:
        oddities: what its payload had that an activity cannot have.
        first_seen: see `CapturedItem`.
    """

    item: str
    kind: ActivityKind
    change_key: str
    state: ObservedState
    oddities: Mapping[Oddity, int] = field(default_factory=dict)
    first_seen: datetime | None = None

    @property
    def digest(self) -> str:
        """Equal for equal activities; empty for any other state."""
        if not isinstance(self.state, Activity):
            return ""
        return sha256(self.state.model_dump_json().encode()).hexdigest()[:DIGEST_LENGTH]

    @property
    def reason(self) -> str:
        """Why the item is not an activity; empty for an activity."""
        match self.state:
            case Activity():
                return ""
            case NotCaptured():
                return self.state.reason
            case Absence():
                return self.state
            case _:
                assert_never(self.state)


def absent(captured: CapturedItem, absence: Absence) -> ObservedItem:
    """A captured item that is found to be absent without a fetch."""
    return ObservedItem(captured.item, captured.kind, captured.change_key, absence)


def placed(
    captured: CapturedItem | None, observed: ObservedItem, now: datetime, kinds: KindTable
) -> ObservedItem:
    """The observed item; one whose own time lies in the future counts from the moment of its first sight.

    A sender's clock can be ahead, by a minute or by years. A kind that enters by the clock stays as it is.
    """
    row = kinds[observed.kind]
    if row.enters_by_clock or not isinstance(observed.state, Activity):
        return observed
    at = captured.first_seen if captured else None
    if at is None and observed.state.at > now:
        at = now.replace(microsecond=0)
    if at is None:
        return observed
    moved = {"at": at, "visible_from": at, "visible_until": at + CAPTURE_WINDOW}
    activity = observed.state.model_copy(update=moved)
    return replace(observed, state=within_window(row, activity, now), first_seen=at)


class ItemAction(StrEnum):
    """What happens to an item."""

    PUBLISH = "publish"  # record it, publish the activity
    WITHDRAW = "withdraw"  # record it as gone, publish the tombstone
    RECORD = "record"  # record why it is not an activity; nothing was ever published of it
    NONE = "none"


def decide_action(captured: CapturedItem | None, observed: ObservedItem) -> ItemAction:
    """The action that follows from the stored state (None: there is none) and the observed state."""
    is_published = captured is not None and (captured.publish_pending or captured.gone is None)
    match observed.state:
        case Activity():
            return ItemAction.NONE if _is_current(captured, observed) else ItemAction.PUBLISH
        case NotCaptured():
            if is_published:
                return ItemAction.WITHDRAW
            unchanged = captured is not None and captured.change_key == observed.change_key
            return ItemAction.NONE if unchanged else ItemAction.RECORD
        case Absence():
            return ItemAction.WITHDRAW if is_published else ItemAction.NONE
        case _:
            assert_never(observed.state)


def _is_current(captured: CapturedItem | None, observed: ObservedItem) -> bool:
    """True when Kafka already has this activity."""
    if captured is None or captured.gone is not None or captured.publish_pending:
        return False
    return captured.change_key == observed.change_key or captured.digest == observed.digest


@dataclass(frozen=True, slots=True)
class ItemUpdate:
    """A new state to record.

    Attributes:
        previous_version: the version of the stored state that it replaces; 0 where there is none.
    """

    captured: CapturedItem
    previous_version: int


def item_update(
    captured: CapturedItem | None, observed: ObservedItem, action: ItemAction, now: datetime
) -> ItemUpdate:
    """The new state of an item, under the next version."""
    previous_version = captured.version if captured else 0
    activity = observed.state if isinstance(observed.state, Activity) else None
    refusal = observed.state if isinstance(observed.state, NotCaptured) else None
    updated = CapturedItem(
        item=observed.item,
        kind=observed.kind,
        change_key=observed.change_key,
        digest=observed.digest,
        version=next_version(now, previous_version),
        at=activity.at if activity else None,
        leaves_at=activity.visible_until if activity else (captured.leaves_at if captured else None),
        first_seen=observed.first_seen or (captured.first_seen if captured else None),
        gone=None if activity else now,
        refused=refusal.reason if refusal else None,
        enters_at=refusal.enters_at if refusal else None,
        publish_pending=action in PUBLISHED_ACTIONS,
        resent=action in PUBLISHED_ACTIONS and captured is not None and captured.is_resend_pending,
    )
    return ItemUpdate(updated, previous_version)


PUBLISHED_ACTIONS: AbstractSet[ItemAction] = frozenset({ItemAction.PUBLISH, ItemAction.WITHDRAW})


def needs_window(captured: CapturedItem | None, observed: ObservedItem, kinds: KindTable) -> bool:
    """True when only a reading of the window can resolve this: a series that is there or gone."""
    if isinstance(observed.state, NotCaptured):
        return observed.state.reason is NotCapturedReason.SERIES_MASTER
    return (
        observed.state is Absence.NOT_FOUND
        and kinds[observed.kind].has_series
        and (captured is None or captured.refused == NotCapturedReason.SERIES_MASTER)
    )


def may_appear(captured: CapturedItem | None, observed: ObservedItem) -> bool:
    """True when Graph may find the item soon: it notifies of a new item before it finds it."""
    return captured is None and observed.state is Absence.NOT_FOUND


def was_missed(
    captured: CapturedItem | None,
    observed: ObservedItem,
    action: ItemAction,
    last_reading: datetime | None,
    kinds: KindTable,
) -> bool:
    """True when a reading of the window found a change that a notification should have named.

    Not counted are: an activity that entered the window by the clock since the last reading; an
    occurrence, because notifications name its series; and a state that was recorded before and is only
    published again.
    """
    if captured is not None and captured.publish_pending:
        return False
    if isinstance(observed.state, Activity):
        if observed.state.original_start is not None:
            return False
        if kinds[observed.kind].enters_by_clock and (
            last_reading is None or observed.state.visible_from > last_reading
        ):
            return False
    return action in PUBLISHED_ACTIONS
