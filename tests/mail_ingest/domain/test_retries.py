"""When a mailbox is retried after a failure."""

from datetime import UTC, datetime, timedelta

import pytest

from services.mail_ingest.domain.retries import (
    RetryDecision,
    after_block,
    after_unavailable,
    content_attempt,
    next_window_attempt,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "failures, retry_after, throttled, wait, reason",
    [
        (1, None, False, 2, None),
        (4, None, False, 16, None),
        (20, None, False, 300, None),
        (1, 40, True, 40, None),
        (1, 300, True, 300, "throttled"),
        (5, 10, True, 32, "throttled"),
        (9, 10, False, 300, None),
    ],
)
def test_temporary_failure_is_retried_and_long_throttling_blocks(
    failures: int, retry_after: int | None, throttled: bool, wait: int, reason: str | None
) -> None:
    requested_wait = None if retry_after is None else timedelta(seconds=retry_after)

    decision = after_unavailable(failures, NOW, requested_wait, throttled=throttled)

    assert decision == RetryDecision(NOW + timedelta(seconds=wait), reason)


@pytest.mark.parametrize("failures, minutes", [(1, 1), (3, 4), (6, 30), (1000, 30)])
def test_blocked_mailbox_is_retried_less_and_less_often(failures: int, minutes: int) -> None:
    decision = after_block(failures, NOW, "access_policy", timedelta(minutes=1))

    assert decision == RetryDecision(NOW + timedelta(minutes=minutes), "access_policy")


def test_content_is_requested_again_soon_but_never_before_graph_permits_it() -> None:
    assert content_attempt(NOW, None) - NOW == timedelta(seconds=2)
    assert content_attempt(NOW, timedelta(seconds=1)) - NOW == timedelta(seconds=2)
    assert content_attempt(NOW, timedelta(minutes=10)) - NOW == timedelta(minutes=10)


def test_window_that_failed_is_read_again_no_later_than_any_other() -> None:
    def pause(failures: int, retry_after: timedelta | None = None) -> timedelta:
        return next_window_attempt(failures, NOW, retry_after, 0.0, timedelta(minutes=1)) - NOW

    assert [pause(failures).total_seconds() for failures in (1, 2, 3, 9)] == [5, 10, 20, 60]
    assert pause(1, timedelta(minutes=10)) == timedelta(minutes=10)
