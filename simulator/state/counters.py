"""What the simulator was asked and what it sent, counted."""

from collections import Counter, defaultdict
from typing import Any


class Counters:
    """Counts since the start, or since the last reset."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        """Graph requests by kind: `message.by_id`, `messages.window`, `calendar_view`, …"""
        self.statuses: Counter[int] = Counter()
        self.tokens: Counter[str] = Counter()
        self.notifications: Counter[str] = Counter()
        """made, sent, answered_202, answered_other, retried, lost, duplicated, given_up."""
        self.by_mailbox: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self.fetched: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """Immutable ids of what was fetched by its own id, by tenant and mailbox."""
        self.oddities: Counter[str] = Counter()
        """Things in loaded archives that Graph cannot show: further From addresses and the like."""

    def reset(self) -> None:
        """Everything to zero."""
        self.__init__()  # type: ignore[misc]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for the control API."""
        return {
            "requests": dict(self.requests),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "tokens": dict(self.tokens),
            "notifications": dict(self.notifications),
            "oddities": dict(self.oddities),
        }
