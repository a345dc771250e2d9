"""Leases in MongoDB's documents, by MongoDB's clock: the expressions that grant them and that end them.

The clock of a primary may be minutes off, and step. A lease that ends later than its whole term from now was
granted by a clock that was ahead, and counts as ended: its holder is fenced by its id, as one is that was
paused.
"""

from datetime import timedelta
from typing import Any

from .clock import to_milliseconds

NOW = "$$NOW"
"""MongoDB's clock, as it was when the operation began."""
TOLERANCE = timedelta(seconds=5)
"""An operation that began earlier may find a lease that a later one has granted."""


def lease_end(term: timedelta) -> dict[str, Any]:
    """When a lease ends that is granted now."""
    return {"$add": [NOW, to_milliseconds(term)]}


def has_ended(until: object, term: timedelta) -> dict[str, Any]:
    """True of a lease that has ended, or that no right clock has granted, or that is missing.

    Args:
        until: an expression of its end, as `$lease.until`.
        term: the longest time for which such a lease is granted.
    """
    return {"$or": [{"$lt": [until, NOW]}, {"$gt": [until, lease_end(term + TOLERANCE)]}]}
