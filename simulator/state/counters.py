"""Counters of received requests and of sent notifications."""

from collections import Counter, defaultdict
from typing import Any


class Counters:
    """Counts since the start or since the last reset."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        """Graph requests by kind: `message.by_id`, `messages.window`, `calendar_view`, …"""
        self.statuses: Counter[int] = Counter()
        self.tokens: Counter[str] = Counter()
        self.notifications: Counter[str] = Counter()
        """made, sent, answered_202, answered_other, retried, lost, duplicated, given_up."""
        self.by_mailbox: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self.fetched: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """Immutable ids of the items that were fetched by their own id, by (tenant, mailbox)."""
        self.oddities: Counter[str] = Counter()
        """Properties of loaded archives that Graph cannot represent, such as further From addresses."""

    def reset(self) -> None:
        """Set all counters to zero."""
        self.__init__()  # type: ignore[misc]

    def as_dict(self) -> dict[str, Any]:
        """All counters as JSON for the control interface."""
        return {
            "requests": dict(self.requests),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "tokens": dict(self.tokens),
            "notifications": dict(self.notifications),
            "oddities": dict(self.oddities),
        }
