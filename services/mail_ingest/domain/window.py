"""What a reading of an item, or two readings of the whole window, mean for what was captured.

Every item asks the same question: what is known of it, what was found, what is to be said?
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from shared.events import Activity, Kind

from .capture import Reason, Refused

VIEWS_WITHOUT = 2
"""A meeting that so many complete calendar views in a row lack is gone: one view may have been read while it moved."""


class Absent(StrEnum):
    """An item that is not there to be read."""

    NOT_FOUND = "not_found"
    NOT_SHOWN = "not_shown"
    LEFT = "left"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Known:
    """What was noted of an item; all that is kept of one.

    Attributes:
        digest: of the activity as it was said. Read flags, categories and moves change the change key
            and nothing that is said.
        version: of the note; 0 where there is none yet.
        gone: not an activity (any more).
        refused: why it never was one.
        missing: complete calendar views in a row that lacked it.
        unsent: noted, and Kafka may not have it.
    """

    item: str
    kind: Kind
    change_key: str = ""
    digest: str = ""
    version: int = 0
    at: datetime | None = None
    leaves_at: datetime | None = None
    gone: bool = True
    refused: str | None = None
    missing: int = 0
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What an item is now."""

    item: str
    kind: Kind
    change_key: str
    what: Activity | Refused | Absent

    @property
    def digest(self) -> str:
        """The same for the same activity; empty for anything else."""
        return (
            sha256(self.what.model_dump_json().encode()).hexdigest()[:32]
            if isinstance(self.what, Activity)
            else ""
        )


class Do(StrEnum):
    """What is to be done about an item."""

    SAY = "say"  # note it, say the activity
    WITHDRAW = "withdraw"  # note it as gone, say the tombstone
    REMEMBER = "remember"  # note why it is none; nothing was ever said of it
    NOTHING = "nothing"


def decide(known: Known | None, found: Found) -> Do:
    """What is to be done about an item that was found to be this."""
    said = known is not None and (known.unsent or not known.gone)
    if isinstance(found.what, Activity):
        current = known is not None and not known.gone and not known.unsent and _same(known, found)
        return Do.NOTHING if current else Do.SAY
    if said:
        return Do.WITHDRAW
    if isinstance(found.what, Refused) and (known is None or known.change_key != found.change_key):
        return Do.REMEMBER
    return Do.NOTHING


def _same(known: Known, found: Found) -> bool:
    return known.change_key == found.change_key or known.digest == found.digest


def names_a_window(known: Known | None, found: Found) -> bool:
    """Is this something that only a reading of the window can resolve: a series, there or gone?"""
    if isinstance(found.what, Refused):
        return found.what.reason is Reason.SERIES_MASTER
    return (
        found.what is Absent.NOT_FOUND
        and found.kind is Kind.MEETING
        and (known is None or known.refused == Reason.SERIES_MASTER)
    )


def was_missed(known: Known | None, found: Found, do: Do, last_reading: datetime | None) -> bool:
    """Does this, found by reading the window, mean that a hint was missed?

    Not a meeting that has come within three days by the clock, not an occurrence: hints name its
    series; and not what had been noted and is merely said again.
    """
    if known is not None and known.unsent:
        return False
    if isinstance(found.what, Activity) and found.kind is Kind.MEETING:
        by_itself = last_reading is None or found.what.visible_from > last_reading
        if by_itself or found.what.original_start is not None:
            return False
    return do in {Do.SAY, Do.WITHDRAW}


@dataclass(frozen=True, slots=True)
class Compared:
    """What a reading of the window says beside the items that it shows.

    Attributes:
        ask: what it no longer shows: each is asked for by its id, and gone where that is not found.
        gone: meetings that too many views lacked.
        missing: meetings that this view lacked -> how many in a row now.
        back: meetings that had been missing and are shown again.
    """

    ask: tuple[Known, ...]
    gone: tuple[Known, ...]
    missing: Mapping[str, int]
    back: tuple[str, ...]


def compare(live: Iterable[Known], shown: frozenset[str], now: datetime) -> Compared:
    """Compares what was captured with a complete reading of the window.

    Args:
        live: what is captured and not gone.
        shown: the ids of everything that the window shows.
        now: what has left by now is no longer expected to be shown.
    """
    ask, gone, missing, back = [], [], {}, []
    for known in live:
        if known.item in shown:
            if known.missing:
                back.append(known.item)
        elif left(known, now):
            continue
        elif known.kind is Kind.EMAIL:
            ask.append(known)
        elif known.missing + 1 >= VIEWS_WITHOUT:
            gone.append(known)
        else:
            ask.append(known)
            missing[known.item] = known.missing + 1
    return Compared(tuple(ask), tuple(gone), missing, tuple(back))


def left(known: Known, now: datetime) -> bool:
    """Is its time over?"""
    return known.leaves_at is not None and known.leaves_at <= now
