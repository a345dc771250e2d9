"""Commits of one consumer: after the work, repeated while Kafka is away, harmless when they are late."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from .errors import RetryableError

log = logging.getLogger(__name__)

COMMIT_TIMEOUT = timedelta(seconds=5)
"""aiokafka waits for ever for a Kafka that is away, and the next batch waits with it."""
LATE_COMMIT_ERRORS = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
"""Errors of a commit after the partition moved to another member, which processes the batch again."""


class GroupCommits:
    """What one member has committed to its group, and what it still has to.

    Args:
        topic: its name, in the log.
        connected: returns aiokafka's consumer; raises RetryableError when it is not connected.
    """

    def __init__(self, topic: str, connected: Callable[[], AIOKafkaConsumer]) -> None:
        self._topic = topic
        self._connected = connected
        self._uncommitted: dict[TopicPartition, int] = {}
        self._uncommitted_since: float | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether a commit failed, and none has succeeded since."""
        return self._uncommitted_since is not None

    def overdue_seconds(self, now_ms: int) -> float:
        """Seconds since the first of the commits that failed; 0 when none is overdue."""
        if self._uncommitted_since is None:
            return 0.0
        return max(0.0, now_ms / 1000 - self._uncommitted_since)

    def forget(self) -> None:
        """Drops what is not committed: the partitions are another member's, or are read from elsewhere."""
        self._uncommitted.clear()
        self._uncommitted_since = None

    async def commit(self, after: Mapping[TopicPartition, int]) -> None:
        """Commits the offsets behind what is processed, and those of earlier commits that failed."""
        offsets = self._uncommitted | dict(after)
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT.total_seconds()):
                await self._connected().commit(offsets)
            self.forget()
        except LATE_COMMIT_ERRORS as late:
            self.forget()
            log.info(
                "commit after the partition moved, ignored",
                extra={"topic": self._topic, "error": type(late).__name__},
            )
        except (KafkaError, TimeoutError) as error:
            # Harmless: `commit_overdue` or the next commit covers it, or the messages come again.
            self._uncommitted = offsets
            self._uncommitted_since = self._uncommitted_since or time.time()
            log.warning(
                "commit failed, retrying with the next one",
                extra={"topic": self._topic, "error": type(error).__name__},
            )

    async def prove_membership(self, offsets: Mapping[TopicPartition, int], within: timedelta) -> None:
        """Commits offsets outside of a batch: the group accepts them only from a member.

        Raises:
            RetryableError: the group does not accept the commit in time.
        """
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._connected().commit(dict(offsets))
        except (TimeoutError, KafkaError) as error:
            raise RetryableError(f"the group refuses the commit: {type(error).__name__}") from error
