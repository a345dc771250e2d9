"""Finds out whether another process runs under the same INSTANCE.

Kafka knows a replica that has an INSTANCE as a static member of its group. When a second process joins
under that name, it takes the member's identity, and the first one joins again under another id.
"""

import logging
import time
from collections import deque
from datetime import timedelta

from .telemetry import IDENTITY_LOSSES

log = logging.getLogger(__name__)

TWIN_LOSSES, TWIN_WITHIN = 3, timedelta(minutes=1)
"""A static member that lost its identity so often within this time has a twin: they take it from each other.
A process that stood still loses it once."""


class MemberIdentity:
    """The id under which Kafka knows a static member of the group of one topic."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._member_id = ""
        self._losses: deque[float] = deque(maxlen=TWIN_LOSSES)

    def observe(self, member_id: str) -> None:
        """Compares the id at an assignment with the one before; another id is a loss, and is counted."""
        if self._member_id not in ("", member_id):
            IDENTITY_LOSSES.labels(self._topic).inc()
            self._losses.append(time.monotonic())
            if self.has_twin:
                log.error(
                    "another process has the same INSTANCE, both lose their partitions again and again",
                    extra={"topic": self._topic},
                )
        self._member_id = member_id

    @property
    def has_twin(self) -> bool:
        """Whether another process runs under the same INSTANCE."""
        losses = self._losses
        return len(losses) == TWIN_LOSSES and losses[0] > time.monotonic() - TWIN_WITHIN.total_seconds()
