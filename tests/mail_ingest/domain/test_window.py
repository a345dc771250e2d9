"""Comparison of the captured items with a reading of the window."""

from datetime import UTC, datetime, timedelta

import pytest

from services.mail_ingest.domain.items import CapturedItem
from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.domain.window import compare_window, pause_after_page
from shared.events import ActivityKind

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def live(
    item: str, kind: ActivityKind, missing: int = 0, leaves_in: timedelta = timedelta(days=1)
) -> CapturedItem:
    return CapturedItem(item, kind, "k", "d", 1, leaves_at=NOW + leaves_in, missing=missing)


def test_hidden_email_is_fetched_and_meeting_is_gone_after_two_views() -> None:
    shown = live("shown", ActivityKind.EMAIL)
    hidden = live("hidden", ActivityKind.EMAIL)
    once, twice, again = (
        live("once", ActivityKind.MEETING),
        live("twice", ActivityKind.MEETING, missing=1),
        live("again", ActivityKind.MEETING, missing=1),
    )
    expired = live("expired", ActivityKind.MEETING, missing=1, leaves_in=timedelta())

    comparison = compare_window(
        [shown, hidden, once, twice, again, expired], frozenset({"shown", "again"}), NOW, KINDS
    )

    assert comparison.to_fetch == (hidden, once)
    assert comparison.gone == (twice,)
    assert comparison.missing == {"once": 1}
    assert comparison.shown_again == ("again",)


def test_reading_of_many_pages_leaves_most_of_the_time_to_others() -> None:
    assert [pause_after_page(seconds) for seconds in (0.0, 0.1, 9.0)] == pytest.approx([0.0, 0.9, 1.0])
