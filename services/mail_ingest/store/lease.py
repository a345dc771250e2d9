"""The lease of a mailbox: the right to record and publish changes of it."""

import time
from datetime import timedelta

from shared.keys import MailboxKey


class LeaseLostError(Exception):
    """Another worker may hold the mailbox: nothing more may be recorded or published of it."""


def lease_prefix(instance: str | None) -> str:
    """How the ids of the leases of a named replica begin; without a name they have no prefix."""
    return f"{instance}/" if instance else ""


class Lease:
    """A lease, granted by MongoDB's clock.

    This process judges it by its monotonic clock, which goes on while the process is suspended, and counts
    from before the request to MongoDB. So the lease ends here no later than in MongoDB.

    Args:
        key: the mailbox.
        holder: id of this lease; each acquisition has a new one, which fences earlier holders.
        duration: time until the lease ends without a renewal.
        requested_at: monotonic time, in seconds, before MongoDB was requested to grant it.
    """

    def __init__(self, key: MailboxKey, holder: str, duration: timedelta, requested_at: float) -> None:
        self.key = key
        self.holder = holder
        self.duration = duration
        self._until = requested_at + duration.total_seconds()

    def extend(self, requested_at: float) -> None:
        """MongoDB has granted the whole duration again, requested at this monotonic time."""
        self._until = requested_at + self.duration.total_seconds()

    def revoke(self) -> None:
        """MongoDB has refused the renewal: another worker holds the mailbox."""
        self._until = 0.0

    def check(self) -> None:
        """Raises LeaseLostError unless this worker certainly holds the mailbox."""
        if time.monotonic() >= self._until:
            raise LeaseLostError
