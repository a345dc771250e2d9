"""What is to be done about an item, and what a reading of the window means."""

from datetime import UTC, datetime, timedelta

import pytest

from services.mail_ingest.domain.capture import Reason, Refused
from services.mail_ingest.domain.window import (
    Absent,
    Do,
    Found,
    Known,
    compare,
    decide,
    left,
    names_a_window,
    was_missed,
)
from shared.events import Activity, Kind

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def activity(subject: str = "Offer") -> Activity:
    return Activity(
        tenant="t", mailbox="m", item="i", kind=Kind.EMAIL, identity="x", subject=subject, direction=None, original_start=None, at=NOW,
        visible_from=NOW, visible_until=NOW + timedelta(days=3),
    )  # fmt: skip


def found(what: Activity | Refused | Absent, change_key: str = "k1") -> Found:
    return Found("i", Kind.EMAIL, change_key, what)


def known(**changes: object) -> Known:
    made: dict[str, object] = {
        "change_key": "k1",
        "digest": found(activity()).digest,
        "version": 1,
        "gone": False,
    }
    return Known("i", Kind.EMAIL, **{**made, **changes})  # type: ignore[arg-type]


NEW, DRAFT = activity("Another"), Refused(Reason.DRAFT)


@pytest.mark.parametrize(
    "before, now, do",
    [
        (None, found(activity()), Do.SAY),
        (known(), found(activity()), Do.NOTHING),
        (known(), found(activity(), "k2"), Do.NOTHING),
        (known(), found(NEW, "k2"), Do.SAY),
        (known(unsent=True), found(activity()), Do.SAY),
        (known(gone=True), found(activity()), Do.SAY),
        (known(), found(DRAFT), Do.WITHDRAW),
        (known(), found(Absent.NOT_FOUND), Do.WITHDRAW),
        (known(gone=True, unsent=True), found(Absent.LEFT), Do.WITHDRAW),
        (known(gone=True), found(Absent.NOT_FOUND), Do.NOTHING),
        (known(gone=True), found(DRAFT), Do.NOTHING),
        (known(gone=True), found(DRAFT, "k2"), Do.REMEMBER),
        (None, found(DRAFT), Do.REMEMBER),
        (None, found(Absent.NOT_FOUND), Do.NOTHING),
    ],
)
def test_what_is_done_follows_from_what_is_known_and_found(before: Known | None, now: Found, do: Do) -> None:
    assert decide(before, now) is do


def live(item: str, kind: Kind, missing: int = 0, leaves_in: timedelta = timedelta(days=1)) -> Known:
    return Known(item, kind, gone=False, missing=missing, leaves_at=NOW + leaves_in)


def test_what_the_window_no_longer_shows() -> None:
    shown = live("shown", Kind.EMAIL)
    unseen = live("unseen", Kind.EMAIL)
    once, twice, back = (
        live("once", Kind.MEETING),
        live("twice", Kind.MEETING, missing=1),
        live("back", Kind.MEETING, missing=1),
    )
    over = live("over", Kind.MEETING, missing=1, leaves_in=timedelta())

    compared = compare([shown, unseen, once, twice, back, over], frozenset({"shown", "back"}), NOW)

    assert compared.ask == (unseen, once)
    assert compared.gone == (twice,)
    assert compared.missing == {"once": 1}
    assert compared.back == ("back",)


def test_an_item_leaves_when_its_time_is_over() -> None:
    assert left(live("i", Kind.EMAIL, leaves_in=timedelta()), NOW)
    assert not left(live("i", Kind.EMAIL, leaves_in=timedelta(microseconds=1)), NOW)


def test_a_series_there_or_gone_needs_the_window() -> None:
    lost = Found("i", Kind.MEETING, "", Absent.NOT_FOUND)

    assert names_a_window(known(), Found("i", Kind.MEETING, "k", Refused(Reason.SERIES_MASTER)))
    assert names_a_window(None, lost)
    assert names_a_window(known(gone=True, refused=Reason.SERIES_MASTER), lost)
    assert not names_a_window(known(gone=True), lost)
    assert not names_a_window(None, found(Absent.NOT_FOUND))
    assert not names_a_window(None, found(DRAFT))


def meeting(visible_from: datetime, original_start: datetime | None = None) -> Found:
    what = activity().model_copy(
        update={"kind": Kind.MEETING, "visible_from": visible_from, "original_start": original_start}
    )
    return Found("i", Kind.MEETING, "k", what)


def test_what_comes_by_the_clock_or_by_its_series_was_not_missed() -> None:
    earlier, later = NOW - timedelta(minutes=1), NOW + timedelta(minutes=1)

    assert was_missed(None, found(activity()), Do.SAY, NOW)
    assert was_missed(None, found(Absent.NOT_FOUND), Do.WITHDRAW, NOW)
    assert was_missed(None, meeting(earlier), Do.SAY, NOW)
    assert not was_missed(None, meeting(later), Do.SAY, NOW)
    assert not was_missed(None, meeting(earlier, original_start=NOW), Do.SAY, NOW)
    assert not was_missed(None, found(activity()), Do.NOTHING, NOW)
    assert not was_missed(None, found(DRAFT), Do.REMEMBER, NOW)
    assert not was_missed(known(unsent=True), found(activity()), Do.SAY, NOW)
