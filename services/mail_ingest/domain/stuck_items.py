"""Items that cannot be fetched: each is set aside, and fetched again at a time of its own.

Among them are items that Graph has notified of and does not find yet. Those are nobody's failure, and no
administrator sees them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.events import ActivityKind
from shared.keys import MailboxKey

FIRST_PAUSE, MAX_PAUSE = timedelta(seconds=5), timedelta(hours=1)
"""The pause between two fetches of a stuck item: it doubles from the first to the maximum."""
NOT_FOUND_YET = "not_found_yet"
"""The reason of an item that was notified, never captured, and is not found."""
FIRST_SEARCH_PAUSE = timedelta(seconds=2)
MAX_SEARCH = timedelta(minutes=1)
"""Graph notifies of an item up to so long before it finds it. The pauses in between double."""
MIN_JITTER = 0.75
"""The least part of a pause that is waited, so that items that failed together are fetched apart."""


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """Why Graph does not return an item, while it answers for the item's mailbox.

    Attributes:
        reason: `graph_` and the HTTP status, or a `FailureReason` of `graph/errors.py`.
        retry_after: Graph's `Retry-After`, if there is one.
    """

    reason: str
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class StuckItem:
    """An item that is set aside. Nothing is known of it: it is neither gone nor changed.

    Attributes:
        item: its immutable id.
        owner: the mailbox that holds it.
        reason: of the last failure.
        since: when it was first set aside.
        failures: fetches in a row that failed.
        retry_at: when it is fetched again.
    """

    item: str
    owner: MailboxKey
    kind: ActivityKind
    reason: str
    since: datetime
    failures: int
    retry_at: datetime


def set_aside(
    stuck: StuckItem | None,
    owner: MailboxKey,
    item: tuple[ActivityKind, str],
    failure: ItemFailure,
    now: datetime,
    jitter: float,
) -> StuckItem:
    """The stuck item after one more failure.

    Args:
        stuck: as it was before; None at the first failure.
        owner: the mailbox.
        item: kind and id.
        failure: the failure.
        now: the present time.
        jitter: a random number from 0 to 1.
    """
    kind, item_id = item
    failures = stuck.failures + 1 if stuck else 1
    doubled = min(MAX_PAUSE, _doubled(FIRST_PAUSE, failures))
    pause = max(doubled * _part(jitter), failure.retry_after or timedelta())
    since = stuck.since if stuck else now
    return StuckItem(item_id, owner, kind, failure.reason, since, failures, now + pause)


def search_again(
    stuck: StuckItem | None, owner: MailboxKey, item: tuple[ActivityKind, str], now: datetime, jitter: float
) -> StuckItem | None:
    """The stuck item after Graph has not found a new one; None when it has been sought for long enough.

    The arguments are those of `set_aside`.
    """
    kind, item_id = item
    failures = stuck.failures + 1 if stuck else 1
    since = stuck.since if stuck else now
    end = since + MAX_SEARCH
    if now >= end:
        return None
    retry_at = min(end, now + _doubled(FIRST_SEARCH_PAUSE, failures) * _part(jitter))
    return StuckItem(item_id, owner, kind, NOT_FOUND_YET, since, failures, retry_at)


def _doubled(first: timedelta, failures: int) -> timedelta:
    return first * (1 << min(failures - 1, 20))


def _part(jitter: float) -> float:
    return MIN_JITTER + (1 - MIN_JITTER) * jitter
