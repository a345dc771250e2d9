"""Whether the API may answer: a record that is closed to a reader elsewhere must be closed here, too."""

from datetime import timedelta

from shared.freshness import TopicFreshness

from .publishing.outbox_loop import Refusal

STALE_AFTER = timedelta(seconds=15)
"""What is closed to a reader is closed here within this time, or nobody gets an answer."""
NOT_READY_AFTER = timedelta(seconds=30)
"""A fault of one broker is over within 20 s, and no replica is taken out of service for it."""


class RecordFreshness:
    """What the age of the records permits.

    Args:
        freshness: of the topic `records`, as all replicas of this service read it.
        store_refusal: why the store must not be used now, or None; it comes first.
        is_required: False in tests without Kafka.
    """

    def __init__(
        self, freshness: TopicFreshness, store_refusal: Refusal, *, is_required: bool = True
    ) -> None:
        self._freshness = freshness
        self._store_refusal = store_refusal
        self._is_required = is_required

    async def refusal(self) -> str | None:
        """Why the API must not answer now, or None; raises RetryableError when MongoDB is unavailable."""
        return await self._store_refusal() or self._stale(STALE_AFTER)

    async def check(self) -> str | None:
        """Why this replica is not ready, or None."""
        return self._stale(NOT_READY_AFTER)

    def _stale(self, limit: timedelta) -> str | None:
        if not self._is_required or self._freshness.age_seconds() <= limit.total_seconds():
            return None
        return f"records have not been read to their end for {limit.total_seconds():.0f} s"
