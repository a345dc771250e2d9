"""What is true of a whole tenant: who decides it, and when its mailboxes are tried again."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .retries import JITTER, BlockReason, after_block

PROBE_TIMEOUT = timedelta(minutes=1)
"""A probe without a result is repeated after this time, with another mailbox."""
SEVERAL = 3
"""This many mailboxes that Graph refuses alike, without one that it serves since, are the tenant."""
RELEASE_INTERVAL, MAX_RELEASE_TIME = timedelta(milliseconds=200), timedelta(minutes=10)
"""The retries of the mailboxes of a tenant that is no longer blocked take this time for each, and in all."""


@dataclass(frozen=True, slots=True)
class TenantBlock:
    """A tenant that the authority, or Graph for several mailboxes alike, refuses.

    Attributes:
        reason: as that of its mailboxes.
        since: when it was refused first.
        failures: probes in a row that were refused, the refusal that began it included.
        retry_at: when one of its mailboxes is the next probe; the others wait for its result.
    """

    tenant: str
    reason: str
    since: datetime
    failures: int
    retry_at: datetime


def refused_tenant(
    before: TenantBlock | None, tenant: str, reason: str, now: datetime, first: timedelta
) -> TenantBlock:
    """The block after one more refusal.

    Args:
        before: the block that a probe was to end; None: the tenant was not blocked.
        tenant: its id.
        reason: of the refusal.
        now: the present time.
        first: the first back-off; it doubles as that of a mailbox.
    """
    block = before or TenantBlock(tenant, reason, now, 0, now)
    failures = block.failures + 1
    retry_at = after_block(failures, now, reason, first).retry_at
    return replace(block, reason=reason, failures=failures, retry_at=retry_at)


def may_be_of_tenant(reason: str) -> bool:
    """True of a refusal that several mailboxes can share, because it is about the application's token."""
    return reason == BlockReason.TOKEN_REFUSED or reason.partition(":")[0] == BlockReason.PERMISSION


def is_of_tenant(refused_since: Iterable[datetime], last_success: datetime | None) -> bool:
    """Whether refusals of several mailboxes are the tenant's.

    Args:
        refused_since: since when each mailbox is refused for the same reason.
        last_success: when another mailbox of the tenant was last read completely.
    """
    return sum(last_success is None or since > last_success for since in refused_since) >= SEVERAL


def wait_for_probe(retry_at: datetime, now: datetime, random: float, *, was_probe: bool) -> datetime:
    """When a mailbox of a blocked tenant is retried; the first one is the next probe.

    Args:
        retry_at: when the next probe is due.
        now: the present time.
        random: the jitter, from 0 to 1.
        was_probe: the mailbox was the last probe; others go first, because the refusal may be its own.
    """
    pause = max(retry_at - now, timedelta(seconds=1))
    return now + pause * (1 + JITTER * (random + was_probe))


def release_time(mailboxes: int) -> timedelta:
    """The time over which this many mailboxes of a tenant that is no longer blocked are retried."""
    return min(RELEASE_INTERVAL * mailboxes, MAX_RELEASE_TIME)
