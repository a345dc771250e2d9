"""What one user sees on one record at one time.

Tracked activities, and mixed in by time up to 50 suggestions of the user's own. A suggestion is shown
inside its window by the server's clock, unless the user has dismissed it on this record or anyone has
tracked it there.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from shared.events import Activity, ActivityKind, Direction, KindRefused, MailboxStatus, ParticipantRole

from .track_request import TrackRequest, TrackRequestState

MAX_SUGGESTIONS_PER_TIMELINE = 50
"""A user sees at most 50 untracked items on one record, e-mails and meetings together, the newest first.

Dynamics 365 suggests up to 50 untracked activities on a record, and this product follows it: a longer
list hides what the team has tracked. Pending items are shown in addition; `has_more` reports further ones.
"""
SUGGESTION_RETENTION_AFTER_WINDOW = timedelta(days=1)
"""A suggestion is deleted this long after it was last visible."""
DISMISSAL_RETENTION = timedelta(days=30)
"""A dismissal outlives its item by this time, so that no replay brings the item back."""


class SuggestionState(StrEnum):
    """The state of a suggestion on one record, as its owner sees it."""

    UNTRACKED = "untracked"
    PENDING = "pending"
    FAILED = "failed"


ROLE_LABELS = {
    ParticipantRole.FROM: "From",
    ParticipantRole.TO: "To",
    ParticipantRole.CC: "Cc",
    ParticipantRole.ORGANIZER: "Organizer",
    ParticipantRole.REQUIRED: "Required",
    ParticipantRole.OPTIONAL: "Optional",
}
"""The name of each role in a sentence."""


@dataclass(frozen=True, slots=True)
class MatchReason:
    """One reason of a match.

    Attributes:
        participant: index into the activity's participants.
        phrase: of the rule that reached the record.
    """

    participant: int
    phrase: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An activity as matched with one record; private to its owner.

    Attributes:
        more: the count of further reasons.
    """

    activity: Activity
    reasons: tuple[MatchReason, ...] = ()
    more: int = 0

    @property
    def why(self) -> tuple[str, ...]:
        """A sentence for each reason: `Cc: ann@fabrikam.com is a stakeholder of this opportunity`."""
        people = self.activity.participants
        return tuple(
            f"{ROLE_LABELS[people[reason.participant].role]}: "
            f"{people[reason.participant].address} {reason.phrase}"
            for reason in self.reasons
        )


@dataclass(frozen=True, slots=True)
class SuggestionTile:
    """A suggestion with its state on this record.

    Attributes:
        reason: why it failed.
        until: when pending ends as failed.
    """

    suggestion: Suggestion
    state: SuggestionState = SuggestionState.UNTRACKED
    reason: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class TimelineFilter:
    """Which tiles the user wants to see; None accepts all."""

    kind: ActivityKind | None = None
    direction: Direction | None = None

    def accepts(self, activity: Activity) -> bool:
        """True when the activity passes the filter."""
        return (self.kind is None or activity.kind is self.kind) and (
            self.direction is None or activity.direction is self.direction
        )

    def required_fields(self) -> dict[str, str]:
        """Field of an activity -> the value that it must have."""
        fields = {"kind": self.kind, "direction": self.direction}
        return {name: value.value for name, value in fields.items() if value}


def is_visible(activity: Activity, now: datetime) -> bool:
    """True while the item is inside its window."""
    return activity.visible_from <= now < activity.visible_until


@dataclass(slots=True)
class SuggestionCollector:
    """Collects the suggestion tiles of one user on one record, newest first, up to the limit.

    Copies of one identity in the mailbox, such as the sent and the received one, are one tile: that of the
    copy with a track request, else of the newest.

    Attributes:
        requests: the user's last track request on this record for each item id.
    """

    now: datetime
    requests: Mapping[str, TrackRequest]
    tiles: list[SuggestionTile] = field(default_factory=list)
    has_more: bool = False

    def add_page(
        self, page: Iterable[Suggestion], dismissed: Collection[str], tracked: Collection[str]
    ) -> bool:
        """Adds the next suggestions in order.

        Args:
            page: the next suggestions, newest first.
            dismissed: identities that the user has dismissed on this record.
            tracked: identities that anyone has tracked on this record.

        Returns:
            False when no further page is needed.
        """
        for suggestion in page:
            tile = suggestion_tile(suggestion, self.requests.get(suggestion.activity.item), self.now)
            if not is_visible(suggestion.activity, self.now) or suggestion.activity.identity in tracked:
                continue
            if suggestion.activity.identity in dismissed and tile.state is not SuggestionState.PENDING:
                continue
            if self._replaces_copy(tile):
                continue
            if len(self.tiles) == MAX_SUGGESTIONS_PER_TIMELINE:
                self.has_more = True
                return False
            self.tiles.append(tile)
        return True

    def add_pending(self, tracked: Collection[str]) -> None:
        """Adds the pending items that no page had: a match withdrawn while pending changes nothing."""
        shown = {tile.suggestion.activity.item for tile in self.tiles}
        for item, request in self.requests.items():
            if (
                request.activity
                and request.is_open(self.now)
                and item not in shown
                and request.activity.identity not in tracked
            ):
                tile = suggestion_tile(Suggestion(request.activity), request, self.now)
                if not self._replaces_copy(tile):
                    self.tiles.append(tile)
        self.tiles.sort(key=lambda tile: tile.suggestion.activity.at, reverse=True)

    def _replaces_copy(self, tile: SuggestionTile) -> bool:
        """True when another copy has a tile; the given one takes its place if it has a track request."""
        identity = tile.suggestion.activity.identity
        for number, other in enumerate(self.tiles):
            if other.suggestion.activity.identity == identity:
                if other.state is SuggestionState.UNTRACKED:
                    self.tiles[number] = tile if tile.state is not SuggestionState.UNTRACKED else other
                return True
        return False


def suggestion_tile(suggestion: Suggestion, request: TrackRequest | None, now: datetime) -> SuggestionTile:
    """A suggestion in the state that the user's last track request for it, if any, gives it."""
    if request is None:
        return SuggestionTile(suggestion)
    match request.outcome(now):
        case TrackRequestState.OPEN, _:
            return SuggestionTile(suggestion, SuggestionState.PENDING, until=request.deadline)
        case TrackRequestState.FAILED, reason:
            return SuggestionTile(suggestion, SuggestionState.FAILED, reason)
        case _:  # done: it is tracked and so no suggestion, or it was untracked since and is one again
            return SuggestionTile(suggestion)


def latest_by_item(requests: Sequence[TrackRequest]) -> dict[str, TrackRequest]:
    """Item id -> the last track request for it."""
    return {request.item.item: request for request in sorted(requests, key=lambda each: each.opened_at)}


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """The state of capture of a user's mailbox.

    Attributes:
        refused_kinds: the kinds that Graph refuses, while the other one is captured.
        no_notifications: why capture is slow: Graph sends no notifications of some or all items.
    """

    status: MailboxStatus
    reason: str | None = None
    since: datetime | None = None
    complete_as_of: datetime | None = None
    refused_kinds: tuple[KindRefused, ...] = ()
    no_notifications: str | None = None


class EmptyReason(StrEnum):
    """Why a timeline is empty."""

    NOT_ENROLLED = "not_enrolled"
    BLOCKED = "blocked"
    PAUSED = "paused"
    NOTHING = "nothing_in_three_days"


EMPTY_REASONS = {
    MailboxStatus.REMOVED: EmptyReason.NOT_ENROLLED,
    MailboxStatus.BLOCKED: EmptyReason.BLOCKED,
    MailboxStatus.PAUSED: EmptyReason.PAUSED,
    MailboxStatus.ENROLLED: EmptyReason.NOTHING,
}


def explain_empty(capture: CaptureStatus | None) -> tuple[EmptyReason, str | None]:
    """Why an empty timeline is empty, and the reason of the capture's state."""
    if capture is None:
        return EmptyReason.NOT_ENROLLED, None
    return EMPTY_REASONS[capture.status], capture.reason


def shows_suggestions(capture: CaptureStatus | None) -> bool:
    """True while the mailbox is enrolled: also when capture is paused or blocked, never after its removal."""
    return capture is not None and capture.status is not MailboxStatus.REMOVED
