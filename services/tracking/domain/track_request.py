"""Track requests: a user's decision to share an item, until the item's content arrives.

    untracked -> pending -> tracked
                        `-> failed -> (Track again) -> pending

A *track request* requests the content of one item from mail-ingest. An item has at most one open
request; users who select Track meanwhile join it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from shared.events import Activity, ActivityKind
from shared.keys import ItemKey, RecordKey

NO_ANSWER = "no_answer"
"""The reason of a track request that mail-ingest has not answered before its deadline."""
DELETED = "deleted"
"""The reason of a track request whose records were all deleted while it was pending."""
MAX_ENTRIES = 60
"""Entries of one tracked activity: its event must fit with all readers of each of their records."""
FIRST_REPEAT, MAX_REPEAT = timedelta(seconds=15), timedelta(seconds=45)
"""A request without an answer is sent again after 15 s, then when its age has doubled, at least every 45 s.

mail-ingest may have lost it with its database. Most requests are answered within seconds; one that waits
there, for a throttled mailbox, is recorded once, however often it is sent.
"""
TOO_MANY_ENTRIES = "too_many_entries"
"""The reason of a track request whose tracked activity would have more than `MAX_ENTRIES`."""


@dataclass(frozen=True, slots=True)
class Regarding:
    """A user's decision to put an item on a record; later an entry of the tracked activity.

    Attributes:
        by: Entra object id of the user.
        name: the user's name.
    """

    record: RecordKey
    by: str
    at: datetime
    name: str | None = None

    def same_entry(self, other: "Regarding") -> bool:
        """True for the same user and record: a user has at most one entry for a record."""
        return (self.record, self.by) == (other.record, other.by)


class TrackRequestState(StrEnum):
    """Only an open request accepts further entries and content."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TrackRequest:
    """A request for the content of one item.

    Attributes:
        regarding: the entries that the content's tracked activity gets.
        activity: what the tile shows while the request is pending, also after the match is withdrawn;
            None once the request is closed.
        reason: why it failed.
    """

    id: str
    item: ItemKey
    kind: ActivityKind
    regarding: tuple[Regarding, ...]
    opened_at: datetime
    deadline: datetime
    activity: Activity | None = None
    state: TrackRequestState = TrackRequestState.OPEN
    reason: str | None = None

    def is_open(self, now: datetime) -> bool:
        """True while the request accepts entries and content."""
        return self.state is TrackRequestState.OPEN and now < self.deadline

    def outcome(self, now: datetime) -> tuple[TrackRequestState, str | None]:
        """State and reason at `now`: past its deadline an open request has failed, stored as such or not."""
        if self.state is TrackRequestState.OPEN and not self.is_open(now):
            return TrackRequestState.FAILED, NO_ANSWER
        return self.state, self.reason


def open_request(
    request_id: str, activity: Activity, regarding: Regarding, timeout: timedelta
) -> TrackRequest:
    """A new track request for an item; it fails after `timeout` without an answer."""
    opened_at = regarding.at
    return TrackRequest(
        request_id, activity.key, activity.kind, (regarding,), opened_at, opened_at + timeout, activity
    )
