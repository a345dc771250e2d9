"""What one user sees on one record now.

Tracked activities, and mixed in by time up to 50 suggestions of her own: inside their window on the
server's clock, not dismissed here, and not tracked here by anybody already.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from shared.events import Activity, MailboxStatus, Role
from shared.records import RecordKey

from .activity import Claim, ClaimState

MOST_SUGGESTIONS = 50
"""As many as the page shows at once; `has_more` says that there are others."""
KEPT_AFTER_WINDOW = timedelta(days=1)
"""A suggestion is deleted this long after it was last visible."""
DISMISSED_AFTER_LAST_SEEN = timedelta(days=30)
"""A dismissal outlives its item by this, so that no replay brings the item back."""


class State(StrEnum):
    """Of a suggestion, as its owner sees it on a record."""

    UNTRACKED = "untracked"
    PENDING = "pending"
    FAILED = "failed"


SAYS = {
    Role.FROM: "From",
    Role.TO: "To",
    Role.CC: "Cc",
    Role.ORGANIZER: "Organizer",
    Role.REQUIRED: "Required",
    Role.OPTIONAL: "Optional",
}
"""How a sentence names each role."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a match: a participant of the activity, and the phrase of the rule that reached the record."""

    participant: int
    phrase: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An activity as matched with one record; private to its owner.

    Attributes:
        more: how many further reasons there are.
    """

    activity: Activity
    reasons: tuple[Reason, ...] = ()
    more: int = 0

    @property
    def why(self) -> tuple[str, ...]:
        """`Cc: ann@fabrikam.com is a stakeholder of this opportunity`, a sentence a reason."""
        people = self.activity.participants
        return tuple(
            f"{SAYS[people[reason.participant].role]}: {people[reason.participant].address} {reason.phrase}"
            for reason in self.reasons
        )


@dataclass(frozen=True, slots=True)
class Tile:
    """A suggestion with its state on this record.

    Attributes:
        reason: why it failed.
        until: when pending ends as failed.
    """

    suggestion: Suggestion
    state: State = State.UNTRACKED
    reason: str | None = None
    until: datetime | None = None


def is_visible(activity: Activity, now: datetime) -> bool:
    """Is the item inside its window?"""
    return activity.visible_from <= now < activity.visible_until


@dataclass(slots=True)
class Suggestions:
    """Collects the tiles of one user on one record, newest first, until it has enough; `claims` are hers there, by item."""

    record: RecordKey
    now: datetime
    claims: Mapping[str, Claim]
    tiles: list[Tile] = field(default_factory=list)
    has_more: bool = False

    def take(self, page: Iterable[Suggestion], dismissed: Collection[str], tracked: Collection[str]) -> bool:
        """Takes the next page in order; False when there are enough.

        Left out are identities that she has dismissed and that anybody has tracked on this record.
        """
        for suggestion in page:
            tile = tile_of(suggestion, self.claims.get(suggestion.activity.item), self.now)
            if not is_visible(suggestion.activity, self.now) or suggestion.activity.identity in tracked:
                continue
            if suggestion.activity.identity in dismissed and tile.state is not State.PENDING:
                continue
            if len(self.tiles) == MOST_SUGGESTIONS:
                self.has_more = True
                return False
            self.tiles.append(tile)
        return True

    def keep_pending(self, tracked: Collection[str]) -> None:
        """Adds what she has asked for and what is matched no longer: a withdrawal changes nothing while it is pending."""
        shown = {tile.suggestion.activity.item for tile in self.tiles}
        for item, claim in self.claims.items():
            if (
                claim.activity
                and claim.is_open(self.now)
                and item not in shown
                and claim.activity.identity not in tracked
            ):
                self.tiles.append(tile_of(Suggestion(claim.activity), claim, self.now))
        self.tiles.sort(key=lambda tile: tile.suggestion.activity.at, reverse=True)


def tile_of(suggestion: Suggestion, claim: Claim | None, now: datetime) -> Tile:
    """A suggestion in the state that her last claim on it, if any, gives it."""
    if claim is None:
        return Tile(suggestion)
    match claim.outcome(now):
        case ClaimState.OPEN, _:
            return Tile(suggestion, State.PENDING, until=claim.deadline)
        case ClaimState.FAILED, reason:
            return Tile(suggestion, State.FAILED, reason)
        case _:  # done: tracked, and so not a suggestion; or untracked since, and one again
            return Tile(suggestion)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What capture does with her mailbox."""

    status: MailboxStatus
    reason: str | None = None
    since: datetime | None = None
    complete_as_of: datetime | None = None


class Empty(StrEnum):
    """Why a timeline shows no suggestion."""

    NOT_ENROLLED = "not_enrolled"
    BLOCKED = "blocked"
    PAUSED = "paused"
    NOTHING = "nothing_in_three_days"


WHY_EMPTY = {
    MailboxStatus.REMOVED: Empty.NOT_ENROLLED,
    MailboxStatus.BLOCKED: Empty.BLOCKED,
    MailboxStatus.PAUSED: Empty.PAUSED,
    MailboxStatus.ENROLLED: Empty.NOTHING,
}


def why_empty(mailbox: Mailbox | None) -> tuple[Empty, str | None]:
    """Why there is nothing, and the reason behind that."""
    return (WHY_EMPTY[mailbox.status], mailbox.reason) if mailbox else (Empty.NOT_ENROLLED, None)


def shows_suggestions(mailbox: Mailbox | None) -> bool:
    """Suggestions are returned while the mailbox is enrolled: also where capture stands still, never once it was removed."""
    return mailbox is not None and mailbox.status is not MailboxStatus.REMOVED


def newest(claims: Sequence[Claim]) -> dict[str, Claim]:
    """The last claim on each item."""
    return {claim.item[2]: claim for claim in sorted(claims, key=lambda claim: claim.opened_at)}
