"""What a failure means for a mailbox."""

from datetime import UTC, datetime, timedelta

import pytest

from services.mail_ingest.domain.standing import Standing, after_block, after_passing

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
def test_what_passes_is_waited_for_and_long_throttling_is_a_state(
    failures: int, retry_after: int | None, throttled: bool, wait: int, reason: str | None
) -> None:
    asked = None if retry_after is None else timedelta(seconds=retry_after)

    assert after_passing(failures, NOW, asked, throttled=throttled) == Standing(
        NOW + timedelta(seconds=wait), reason
    )


@pytest.mark.parametrize("failures, minutes", [(1, 1), (3, 4), (6, 30), (1000, 30)])
def test_a_block_is_looked_at_again_ever_less_often(failures: int, minutes: int) -> None:
    assert after_block(failures, NOW, "access_policy", timedelta(minutes=1)) == Standing(
        NOW + timedelta(minutes=minutes), "access_policy"
    )
