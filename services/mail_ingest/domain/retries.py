"""When a mailbox is retried after a failure, and when the failure blocks the mailbox."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class BlockReason(StrEnum):
    """Why a mailbox is blocked, or has no notifications; any other refusal is `graph_` and the HTTP status.

    `permission` may be followed by `:` and the name of the missing permission.
    """

    ACCESS_POLICY = "access_policy"
    ANOTHER_ENVIRONMENT = "another_environment"
    CONDITIONAL_ACCESS = "conditional_access"
    CONSENT_MISSING = "consent_missing"
    CREDENTIAL_REFUSED = "credential_refused"
    NO_MAILBOX = "no_mailbox"
    PERMISSION = "permission"
    THROTTLED = "throttled"
    TOKEN_REFUSED = "token_refused"  # noqa: S105  # a reason, not a credential
    UNAVAILABLE = "unavailable"
    UNEXPECTED = "unexpected"
    UNKNOWN_TENANT = "unknown_tenant"
    WEBHOOK = "webhook"


THROTTLED_SYNCS = 5
"""This many throttled syncs in a row block the mailbox; fewer are retried without a change of its status."""
THROTTLED_RETRY_AFTER = timedelta(minutes=5)
"""A wait of this length blocks the mailbox, too."""
FIRST_BACKOFF, MAX_BACKOFF = timedelta(seconds=2), timedelta(minutes=5)
"""Back-off after a temporary failure: it doubles from the first to the maximum."""
MAX_BLOCKED_BACKOFF = timedelta(minutes=30)
"""A blocked mailbox is retried at least this often; Exchange's policies take up to two hours to apply."""

FIRST_SUBSCRIPTION_PAUSE, MAX_SUBSCRIPTION_PAUSE = timedelta(seconds=15), timedelta(hours=1)
"""Pauses after Graph refused or lacked a subscription; capture by windows goes on meanwhile."""
FIRST_WINDOW_PAUSE = timedelta(seconds=5)
"""The first pause after a reading of the window failed while Graph answered for the mailbox."""
CONTENT_PAUSE = timedelta(seconds=2)
"""After a failure of the mailbox; a user who waits does not wait for the back-off of its other work."""
JITTER = 1 / 4
"""The part by which a pause is longer at most, so that mailboxes do not retry together."""


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


def next_subscription_attempt(
    failures: int, now: datetime, retry_after: timedelta | None, random: float
) -> datetime:
    """When a mailbox's subscriptions are requested again after a refusal or an outage.

    Args:
        failures: attempts in a row that failed, this one included.
        now: the present time.
        retry_after: Graph's `Retry-After`, if there is one.
        random: the jitter, from 0 to 1.
    """
    pause = _doubled(FIRST_SUBSCRIPTION_PAUSE, failures, MAX_SUBSCRIPTION_PAUSE)
    return now + max(pause, retry_after or timedelta()) * (1 + JITTER * random)


def content_attempt(now: datetime, retry_after: timedelta | None) -> datetime:
    """When the content for a track request is requested again after a failure of the mailbox.

    Args:
        now: the present time.
        retry_after: Graph's `Retry-After`, if there is one.
    """
    return now + max(CONTENT_PAUSE, retry_after or timedelta())


def next_window_attempt(
    failures: int, now: datetime, retry_after: timedelta | None, random: float, interval: timedelta
) -> datetime:
    """When a mailbox's window is read again after a failure that is the window's alone.

    Args:
        failures: readings in a row that failed, this one included.
        now: the present time.
        retry_after: Graph's `Retry-After`, if there is one.
        random: the jitter, from 0 to 1.
        interval: of the readings without a failure; a failed one is repeated no later.
    """
    pause = _doubled(FIRST_WINDOW_PAUSE, failures, interval)
    return now + max(pause, retry_after or timedelta()) * (1 + JITTER * random)


def _doubled(first: timedelta, times: int, maximum: timedelta) -> timedelta:
    return min(maximum, first * (1 << min(max(times - 1, 0), 20)))
