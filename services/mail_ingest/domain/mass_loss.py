"""Many items that Graph does not find at once: their mailbox may be on the move between two servers.

None of them is gone until Graph does not find it a second time, after a pause.
"""

from datetime import datetime, timedelta

from shared.events import ActivityKind
from shared.keys import MailboxKey

from .stuck_items import StuckItem

NOT_FOUND_AT_ONCE = "not_found_at_once"
"""The reason of an item that was not found together with many others."""
MAX_LOST = 20
"""So many items may be gone at once, however few there are."""
MIN_LOST_PART = 1 / 2
"""The part of a mailbox's live items that is not believed to be gone at once."""
CONFIRMATION_PAUSE = timedelta(minutes=2)
"""At the end of a move a mailbox answers from neither server for a minute or so."""


def is_mass_loss(lost: int, live: int) -> bool:
    """True when so many of a mailbox's live items are not believed to be gone."""
    return lost > MAX_LOST and lost >= MIN_LOST_PART * live


def held_back(
    stuck: StuckItem | None, owner: MailboxKey, item: tuple[ActivityKind, str], now: datetime, jitter: float
) -> StuckItem:
    """The stuck item when it is not found at once with many others.

    Args:
        stuck: as it was before; None when it was not stuck.
        owner: the mailbox.
        item: kind and id.
        now: the present time.
        jitter: a random number from 0 to 1.
    """
    kind, item_id = item
    since, failures = (stuck.since, stuck.failures + 1) if stuck else (now, 1)
    retry_at = now + CONFIRMATION_PAUSE * (1 + jitter / 4)
    return StuckItem(item_id, owner, kind, NOT_FOUND_AT_ONCE, since, failures, retry_at)


def was_held_back(stuck: StuckItem | None, now: datetime) -> bool:
    """True when an item that is not found was held back before, and the pause is over."""
    return stuck is not None and stuck.reason == NOT_FOUND_AT_ONCE and stuck.retry_at <= now


def is_held_back(stuck: StuckItem | None, now: datetime) -> bool:
    """True until the pause of an item that was held back is over."""
    return stuck is not None and stuck.reason == NOT_FOUND_AT_ONCE and stuck.retry_at > now
