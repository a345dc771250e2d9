"""When refusals are a tenant's, and when its mailboxes are tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from services.mail_ingest.domain.tenants import (
    is_of_tenant,
    may_be_of_tenant,
    refused_tenant,
    release_time,
    wait_for_probe,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    "minutes_ago, last_success, expected",
    [
        ([0], None, False),
        ([0, 1], None, False),
        ([0, 1, 2], None, True),
        ([0, 1, 2], 3, True),
        ([0, 1, 2], 1.5, False),
        ([0, 500, 600], 3, False),
    ],
)
def test_several_mailboxes_that_are_refused_alike_are_the_tenant(
    minutes_ago: list[float], last_success: float | None, expected: bool
) -> None:
    success = None if last_success is None else NOW - last_success * MINUTE

    assert is_of_tenant([NOW - each * MINUTE for each in minutes_ago], success) is expected


@pytest.mark.parametrize(
    "reason, expected",
    [
        ("token_refused", True),
        ("permission:Mail.Read", True),
        ("permission", True),
        ("access_policy", False),
        ("no_mailbox", False),
        ("unexpected", False),
    ],
)
def test_only_a_refusal_of_the_token_may_be_of_the_tenant(reason: str, expected: bool) -> None:
    assert may_be_of_tenant(reason) is expected


def test_probes_of_a_blocked_tenant_come_less_and_less_often() -> None:
    block = refused_tenant(None, "t", "credential_refused", NOW, MINUTE)
    pauses = [block.retry_at - NOW]
    for _ in range(7):
        block = refused_tenant(block, "t", "consent_missing", NOW, MINUTE)
        pauses.append(block.retry_at - NOW)

    assert pauses == [each * MINUTE for each in (1, 2, 4, 8, 16, 30, 30, 30)]
    assert (block.failures, block.reason, block.since) == (8, "consent_missing", NOW)


def test_the_next_probe_is_another_mailbox() -> None:
    probe_at = NOW + 4 * MINUTE
    others = [wait_for_probe(probe_at, NOW, random, was_probe=False) for random in (0.0, 0.99)]
    probe = wait_for_probe(probe_at, NOW, 0.0, was_probe=True)

    assert probe_at <= min(others)
    assert max(others) < probe <= NOW + 6 * MINUTE


def test_mailboxes_of_a_tenant_are_released_one_after_another() -> None:
    assert release_time(5) == timedelta(seconds=1)
    assert release_time(100_000) == timedelta(minutes=10)
