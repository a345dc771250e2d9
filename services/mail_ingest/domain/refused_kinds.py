"""Kinds of items that Graph refuses while it answers for another kind of the same mailbox.

An administrator may permit an application to read mail and no calendars, or the other way round. The other
kind is captured as ever; the refused one is tried again with growing pauses, and what is captured of it stays
until it leaves the capture window.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.events import ActivityKind

from .retries import after_block


@dataclass(frozen=True, slots=True)
class RefusedKind:
    """A kind that Graph refuses.

    Attributes:
        reason: as that of a blocked mailbox.
        since: when it was first refused.
        failures: attempts in a row that were refused.
        retry_at: when it is tried again.
    """

    kind: ActivityKind
    reason: str
    since: datetime
    failures: int
    retry_at: datetime


def refused_kinds(
    before: Iterable[RefusedKind],
    reasons: Mapping[ActivityKind, str],
    read: AbstractSet[ActivityKind],
    now: datetime,
    first: timedelta,
) -> tuple[RefusedKind, ...]:
    """The refused kinds after a reading of the window.

    Args:
        before: the refused kinds as they were.
        reasons: of the kinds that this reading was refused.
        read: the kinds that it has read.
        now: the present time.
        first: the first pause; see `after_block`.
    """
    kept = {each.kind: each for each in before if each.kind not in read}
    for kind, reason in reasons.items():
        last = kept.get(kind)
        failures, since = (last.failures + 1, last.since) if last is not None else (1, now)
        retry_at = after_block(failures, now, reason, first).retry_at
        kept[kind] = RefusedKind(kind, reason, since, failures, retry_at)
    return tuple(kept[kind] for kind in sorted(kept))


def waiting_kinds(refused: Iterable[RefusedKind], now: datetime) -> AbstractSet[ActivityKind]:
    """The refused kinds that are not tried again yet."""
    return {each.kind for each in refused if each.retry_at > now}
