"""How a mailbox stands with Graph: what a failure means for it, and when it is tried again."""

from dataclasses import dataclass
from datetime import datetime, timedelta

THROTTLED = "throttled"
CONDITIONAL_ACCESS = "conditional_access"
UNEXPECTED = "unexpected"

THROTTLED_AFTER = 5
"""So many turns in a row that ended by throttling are a state, not a moment."""
THROTTLED_FOR = timedelta(minutes=5)
"""So long a Retry-After is one, too."""
FIRST, MOST = timedelta(seconds=2), timedelta(minutes=5)
"""Back-off after something passing: doubles from the first to the most."""
MOST_BLOCKED = timedelta(minutes=30)
"""A block is looked at again at least so often; Exchange's policies take up to two hours to apply."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What follows from a failure.

    Attributes:
        retry_at: not before.
        reason: why the mailbox is blocked from now on; None: it is not.
    """

    retry_at: datetime
    reason: str | None


def after_passing(
    failures: int, now: datetime, retry_after: timedelta | None, *, throttled: bool
) -> Standing:
    """After something that passes by itself: throttling, an outage.

    Args:
        failures: turns in a row that ended so, this one included.
        now: the present moment.
        retry_after: as Graph says.
        throttled: Graph said that it is the mailbox's own load.
    """
    wait = max(retry_after or timedelta(), _doubled(FIRST, failures, MOST))
    lasting = throttled and (failures >= THROTTLED_AFTER or wait >= THROTTLED_FOR)
    return Standing(now + wait, THROTTLED if lasting else None)


def after_block(failures: int, now: datetime, reason: str, first: timedelta) -> Standing:
    """After an answer that says that the mailbox is not to be had."""
    return Standing(now + _doubled(first, failures, max(first, MOST_BLOCKED)), reason)


def _doubled(first: timedelta, times: int, most: timedelta) -> timedelta:
    return min(most, first * (1 << min(max(times - 1, 0), 20)))
