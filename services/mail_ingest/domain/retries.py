"""When a mailbox is retried after a failure, and when the failure blocks the mailbox."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class BlockReason(StrEnum):
    """Why a mailbox is blocked; a refusal without an own name is `graph_` and the HTTP status."""

    ACCESS_POLICY = "access_policy"
    CONDITIONAL_ACCESS = "conditional_access"
    CONSENT_MISSING = "consent_missing"
    CREDENTIAL_REFUSED = "credential_refused"
    NO_MAILBOX = "no_mailbox"
    PERMISSION = "permission"
    THROTTLED = "throttled"
    TOKEN_REFUSED = "token_refused"  # noqa: S105  # a reason, not a credential
    UNEXPECTED = "unexpected"
    UNKNOWN_TENANT = "unknown_tenant"


THROTTLED_SYNCS = 5
"""This many throttled syncs in a row block the mailbox; fewer are retried without a change of its status."""
THROTTLED_RETRY_AFTER = timedelta(minutes=5)
"""A wait of this length blocks the mailbox, too."""
FIRST_BACKOFF, MAX_BACKOFF = timedelta(seconds=2), timedelta(minutes=5)
"""Back-off after a temporary failure: it doubles from the first to the maximum."""
MAX_BLOCKED_BACKOFF = timedelta(minutes=30)
"""A blocked mailbox is retried at least this often; Exchange's policies take up to two hours to apply."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """The consequence of a failure.

    Attributes:
        retry_at: no request before this time.
        reason: the mailbox is blocked for this reason; None: its status stays as it is.
    """

    retry_at: datetime
    reason: str | None


def after_unavailable(
    failures: int, now: datetime, retry_after: timedelta | None, *, throttled: bool
) -> RetryDecision:
    """The decision after a temporary failure: throttling or an outage.

    Args:
        failures: syncs in a row that failed, this one included.
        now: the present time.
        retry_after: Graph's `Retry-After`, if there is one.
        throttled: Graph throttles this mailbox.
    """
    wait = max(retry_after or timedelta(), _doubled(FIRST_BACKOFF, failures, MAX_BACKOFF))
    blocked = throttled and (failures >= THROTTLED_SYNCS or wait >= THROTTLED_RETRY_AFTER)
    return RetryDecision(now + wait, BlockReason.THROTTLED if blocked else None)


def after_block(failures: int, now: datetime, reason: str, first: timedelta) -> RetryDecision:
    """The decision after a refusal of the mailbox.

    Args:
        failures: syncs in a row that failed, this one included.
        now: the present time.
        reason: of the refusal.
        first: the first back-off; it doubles up to `MAX_BLOCKED_BACKOFF`.
    """
    return RetryDecision(now + _doubled(first, failures, max(first, MAX_BLOCKED_BACKOFF)), reason)


def _doubled(first: timedelta, times: int, maximum: timedelta) -> timedelta:
    return min(maximum, first * (1 << min(max(times - 1, 0), 20)))
