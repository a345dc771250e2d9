"""What happens to an item."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.mail_ingest.domain.activities import NotCaptured, NotCapturedReason
from services.mail_ingest.domain.items import (
    Absence,
    CapturedItem,
    ItemAction,
    ObservedItem,
    ObservedState,
    absent,
    decide_action,
    item_update,
    may_appear,
    needs_window,
    placed,
    was_missed,
)
from services.mail_ingest.domain.kinds import KINDS
from shared.clock import to_micros
from shared.events import Activity, ActivityKind

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def activity(subject: str = "Offer") -> Activity:
    return Activity(
        tenant="t",
        mailbox="m",
        item="i",
        kind=ActivityKind.EMAIL,
        identity="x",
        subject=subject,
        at=NOW,
        visible_from=NOW,
        visible_until=NOW + timedelta(days=3),
    )


def observed(state: ObservedState, change_key: str = "k1") -> ObservedItem:
    return ObservedItem("i", ActivityKind.EMAIL, change_key, state)


def captured(**changes: Any) -> CapturedItem:
    fields = {"change_key": "k1", "digest": observed(activity()).digest, "version": 1}
    return CapturedItem("i", ActivityKind.EMAIL, **{**fields, **changes})


CHANGED, DRAFT = activity("Another"), NotCaptured(NotCapturedReason.DRAFT)


@pytest.mark.parametrize(
    "before, now, action",
    [
        (None, observed(activity()), ItemAction.PUBLISH),
        (captured(), observed(activity()), ItemAction.NONE),
        (captured(), observed(activity(), "k2"), ItemAction.NONE),
        (captured(), observed(CHANGED, "k2"), ItemAction.PUBLISH),
        (captured(publish_pending=True), observed(activity()), ItemAction.PUBLISH),
        (captured(gone=NOW), observed(activity()), ItemAction.PUBLISH),
        (captured(), observed(DRAFT), ItemAction.WITHDRAW),
        (captured(), observed(Absence.NOT_FOUND), ItemAction.WITHDRAW),
        (captured(gone=NOW, publish_pending=True), observed(Absence.EXPIRED), ItemAction.WITHDRAW),
        (captured(gone=NOW), observed(Absence.NOT_FOUND), ItemAction.NONE),
        (captured(gone=NOW), observed(DRAFT), ItemAction.NONE),
        (captured(gone=NOW), observed(DRAFT, "k2"), ItemAction.RECORD),
        (None, observed(DRAFT), ItemAction.RECORD),
        (None, observed(Absence.NOT_FOUND), ItemAction.NONE),
    ],
)
def test_action_follows_from_stored_and_observed_state(
    before: CapturedItem | None, now: ObservedItem, action: ItemAction
) -> None:
    assert decide_action(before, now) is action


def test_update_of_an_activity_has_the_next_version_and_is_pending() -> None:
    before = captured(version=to_micros(NOW) + 5, missing=1)

    update = item_update(before, observed(CHANGED, "k2"), ItemAction.PUBLISH, NOW)

    assert update.previous_version == before.version
    assert update.captured == captured(
        change_key="k2",
        digest=observed(CHANGED).digest,
        version=before.version + 1,
        at=CHANGED.at,
        leaves_at=CHANGED.visible_until,
        publish_pending=True,
    )


def test_update_of_a_refused_item_has_the_reason_and_is_not_published() -> None:
    update = item_update(None, observed(DRAFT), ItemAction.RECORD, NOW)

    assert update.captured == captured(digest="", version=to_micros(NOW), gone=NOW, refused="draft")
    assert item_update(captured(), observed(DRAFT), ItemAction.WITHDRAW, NOW).captured.publish_pending


@pytest.mark.parametrize("state, action", [(CHANGED, ItemAction.PUBLISH), (DRAFT, ItemAction.WITHDRAW)])
def test_resent_item_stays_resent_until_kafka_has_it(state: ObservedState, action: ItemAction) -> None:
    pending = captured(publish_pending=True, resent=True)

    assert item_update(pending, observed(state), action, NOW).captured.is_resend_pending
    published = replace(pending, publish_pending=False)
    assert not item_update(published, observed(state), action, NOW).captured.is_resend_pending


def test_gone_item_keeps_the_end_of_its_window() -> None:
    live = captured(leaves_at=NOW)

    gone = item_update(live, absent(live, Absence.NOT_FOUND), ItemAction.WITHDRAW, NOW).captured

    assert (gone.leaves_at, gone.gone) == (NOW, NOW)


def test_item_expires_at_the_end_of_its_window() -> None:
    assert captured(leaves_at=NOW).is_expired(NOW)
    assert not captured(leaves_at=NOW + timedelta(microseconds=1)).is_expired(NOW)


def test_series_needs_the_window_whether_it_is_there_or_gone() -> None:
    master = ObservedItem("i", ActivityKind.MEETING, "k", NotCaptured(NotCapturedReason.SERIES_MASTER))
    lost = ObservedItem("i", ActivityKind.MEETING, "", Absence.NOT_FOUND)

    assert needs_window(captured(), master, KINDS)
    assert needs_window(None, lost, KINDS)
    assert needs_window(captured(gone=NOW, refused=NotCapturedReason.SERIES_MASTER), lost, KINDS)
    assert not needs_window(captured(gone=NOW), lost, KINDS)
    assert not needs_window(None, observed(Absence.NOT_FOUND), KINDS)
    assert not needs_window(None, observed(DRAFT), KINDS)


def test_item_may_appear_that_was_never_captured_and_is_not_found() -> None:
    assert may_appear(None, observed(Absence.NOT_FOUND))
    assert not may_appear(captured(), observed(Absence.NOT_FOUND))
    assert not may_appear(captured(gone=NOW, refused="draft"), observed(Absence.NOT_FOUND))
    assert not may_appear(None, observed(DRAFT))


def meeting(visible_from: datetime, original_start: datetime | None = None) -> ObservedItem:
    changes = {
        "kind": ActivityKind.MEETING,
        "visible_from": visible_from,
        "original_start": original_start,
    }
    return ObservedItem("i", ActivityKind.MEETING, "k", activity().model_copy(update=changes))


def missed(before: CapturedItem | None, now: ObservedItem, action: ItemAction) -> bool:
    return was_missed(before, now, action, last_reading=NOW, kinds=KINDS)


def test_meeting_that_enters_by_the_clock_or_by_its_series_is_not_missed() -> None:
    earlier, later = NOW - timedelta(minutes=1), NOW + timedelta(minutes=1)

    assert missed(None, observed(activity()), ItemAction.PUBLISH)
    assert missed(None, observed(Absence.NOT_FOUND), ItemAction.WITHDRAW)
    assert missed(None, meeting(earlier), ItemAction.PUBLISH)
    assert not missed(None, meeting(later), ItemAction.PUBLISH)
    assert not missed(None, meeting(earlier, original_start=NOW), ItemAction.PUBLISH)
    assert not missed(None, observed(activity()), ItemAction.NONE)
    assert not missed(None, observed(DRAFT), ItemAction.RECORD)
    assert not missed(captured(publish_pending=True), observed(activity()), ItemAction.PUBLISH)


@pytest.mark.parametrize("ahead", [timedelta(seconds=40), timedelta(days=2), timedelta(days=3000)])
def test_email_from_the_future_counts_from_its_first_sight(ahead: timedelta) -> None:
    def seen(before: CapturedItem | None, now: datetime) -> ObservedItem:
        own = NOW + ahead
        moved = {"at": own, "visible_from": own, "visible_until": own + timedelta(days=3)}
        return placed(before, observed(activity().model_copy(update=moved)), now, KINDS)

    first = seen(None, NOW + timedelta(microseconds=7))
    stored = item_update(None, first, ItemAction.PUBLISH, NOW).captured
    assert first.state == activity()
    assert (stored.at, stored.first_seen) == (NOW, NOW)

    again = seen(stored, NOW + timedelta(days=1))
    assert decide_action(replace(stored, publish_pending=False), again) is ItemAction.NONE
    expired = item_update(stored, absent(stored, Absence.EXPIRED), ItemAction.WITHDRAW, NOW).captured
    left = seen(expired, NOW + timedelta(days=3))
    assert left.state == NotCaptured(NotCapturedReason.OUT_OF_WINDOW)


def test_email_of_now_and_meeting_of_tomorrow_keep_their_own_time() -> None:
    email = observed(activity())
    assert placed(None, email, NOW, KINDS) is email
    meeting = ObservedItem("i", ActivityKind.MEETING, "k1", activity())
    assert placed(None, meeting, NOW - timedelta(days=1), KINDS) is meeting
