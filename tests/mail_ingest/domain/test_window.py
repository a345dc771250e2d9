"""Comparison of the captured items with a reading of the window."""

from datetime import UTC, datetime, timedelta

from services.mail_ingest.domain.items import CapturedItem
from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.domain.window import compare_window
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
