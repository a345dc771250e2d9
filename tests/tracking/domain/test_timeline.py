from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from services.tracking.domain.timeline import (
    MAX_SUGGESTIONS_PER_TIMELINE,
    CaptureStatus,
    EmptyReason,
    MatchReason,
    Suggestion,
    SuggestionCollector,
    SuggestionState,
    SuggestionTile,
    explain_empty,
    is_visible,
    latest_by_item,
    shows_suggestions,
)
from services.tracking.domain.track_request import (
    NO_ANSWER,
    TrackRequest,
    TrackRequestState,
    open_request,
)
from shared.events import MailboxStatus
from tests.tracking.worlds import ANN, DAY, HOUR, NOW, RENEWAL, email, meeting, regarding

TEN_MINUTES = timedelta(minutes=10)
SECOND = timedelta(seconds=1)


def collect(
    *suggestions: Suggestion,
    requests: dict[str, TrackRequest] | None = None,
    dismissed: frozenset[str] = frozenset(),
    tracked: frozenset[str] = frozenset(),
) -> SuggestionCollector:
    collector = SuggestionCollector(NOW, requests or {})
    collector.add_page(suggestions, dismissed, tracked)
    return collector


def request_on_mail_1(**changes: object) -> dict[str, TrackRequest]:
    [entry] = regarding((ANN, RENEWAL))
    request = open_request("r", email(), entry, TEN_MINUTES)
    return {"mail-1": replace(request, **changes)}  # type: ignore[arg-type]


def subjects(tiles: Sequence[SuggestionTile]) -> list[str]:
    return [tile.suggestion.activity.subject for tile in tiles]


def test_email_is_visible_from_its_arrival_for_three_days() -> None:
    mail = email(at=NOW)
    times = (-SECOND, 0 * SECOND, 3 * DAY - SECOND, 3 * DAY)
    assert [is_visible(mail, NOW + later) for later in times] == [False, True, True, False]


def test_meeting_is_visible_from_three_days_before_its_start_until_three_days_after_its_end() -> None:
    kick_off = meeting(start=NOW)
    times = (-3 * DAY - SECOND, -3 * DAY, HOUR + 3 * DAY - SECOND, HOUR + 3 * DAY)
    assert [is_visible(kick_off, NOW + later) for later in times] == [False, True, True, False]


def test_suggestion_explains_its_reasons_in_sentences() -> None:
    suggestion = Suggestion(
        email(),
        (
            MatchReason(2, "is a stakeholder of this opportunity"),
            MatchReason(0, "is the contact of this opportunity"),
        ),
        more=4,
    )
    assert suggestion.why == (
        "Cc: ann@fabrikam.com is a stakeholder of this opportunity",
        "From: joe@fabrikam.com is the contact of this opportunity",
    )


def test_items_outside_their_window_are_not_shown() -> None:
    collector = collect(
        Suggestion(email(at=NOW + HOUR)), Suggestion(email(at=NOW - 3 * DAY)), Suggestion(meeting())
    )
    assert subjects(collector.tiles) == ["Kick-off"]


def test_fiftieth_suggestion_is_shown_and_the_next_is_more() -> None:
    fifty = [Suggestion(email(item=f"mail-{n}", identity=str(n))) for n in range(50)]
    assert MAX_SUGGESTIONS_PER_TIMELINE == 50
    assert (len(collect(*fifty).tiles), collect(*fifty).has_more) == (50, False)
    more = collect(*fifty, Suggestion(email(item="one-more", identity="one-more")))
    assert (len(more.tiles), more.has_more) == (50, True)


def test_hidden_suggestions_do_not_count_as_more() -> None:
    fifty = [Suggestion(email(item=f"mail-{n}", identity=str(n))) for n in range(50)]
    collector = collect(
        *fifty,
        Suggestion(email(identity="dismissed")),
        Suggestion(email(identity="tracked")),
        dismissed=frozenset({"dismissed"}),
        tracked=frozenset({"tracked"}),
    )
    assert (len(collector.tiles), collector.has_more) == (50, False)


def test_copies_of_one_identity_are_one_suggestion() -> None:
    copies = [Suggestion(email(item=f"mail-{n}")) for n in (3, 1, 2)]
    other = Suggestion(meeting())

    def shown(requests: dict[str, TrackRequest]) -> list[tuple[str, SuggestionState]]:
        tiles = collect(*copies, other, requests=requests).tiles
        return [(tile.suggestion.activity.item, tile.state) for tile in tiles]

    assert shown({}) == [("mail-3", SuggestionState.UNTRACKED), ("meeting-1", SuggestionState.UNTRACKED)]
    pending = request_on_mail_1()
    assert shown(pending) == [("mail-1", SuggestionState.PENDING), ("meeting-1", SuggestionState.UNTRACKED)]

    withdrawn = collect(copies[0], requests=pending)
    withdrawn.add_pending(frozenset())
    assert [tile.suggestion.activity.item for tile in withdrawn.tiles] == ["mail-1"]


@pytest.mark.parametrize("hidden", ["dismissed", "tracked"])
def test_dismissed_and_tracked_items_are_hidden_by_identity(hidden: str) -> None:
    identities = {hidden: frozenset({"<offer@fabrikam.com>"})}
    assert collect(Suggestion(email()), **identities).tiles == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "requests,state,reason",
    [
        ({}, SuggestionState.UNTRACKED, None),
        (request_on_mail_1(), SuggestionState.PENDING, None),
        (
            request_on_mail_1(state=TrackRequestState.FAILED, reason="gone"),
            SuggestionState.FAILED,
            "gone",
        ),
        (request_on_mail_1(deadline=NOW), SuggestionState.FAILED, NO_ANSWER),
        (request_on_mail_1(state=TrackRequestState.DONE), SuggestionState.UNTRACKED, None),
    ],
)
def test_state_follows_from_the_last_track_request(
    requests: dict[str, TrackRequest], state: SuggestionState, reason: str | None
) -> None:
    [tile] = collect(Suggestion(email()), requests=requests).tiles
    assert (tile.state, tile.reason) == (state, reason)


def test_last_track_request_of_an_item_counts() -> None:
    [entry] = regarding((ANN, RENEWAL))
    failed = replace(open_request("1", email(), entry, TEN_MINUTES), state=TrackRequestState.FAILED)
    again = replace(open_request("2", email(), entry, TEN_MINUTES), opened_at=NOW + SECOND)
    assert latest_by_item([again, failed])["mail-1"].id == "2"


def test_pending_item_stays_when_its_match_is_withdrawn() -> None:
    collector = collect(Suggestion(meeting()), requests=request_on_mail_1())
    collector.add_pending(frozenset())
    assert [(tile.suggestion.activity.item, tile.state) for tile in collector.tiles] == [
        ("meeting-1", SuggestionState.UNTRACKED),
        ("mail-1", SuggestionState.PENDING),
    ]


def test_pending_item_is_shown_once_and_not_beside_its_tracked_activity() -> None:
    collector = collect(Suggestion(email()), requests=request_on_mail_1())
    collector.add_pending(frozenset())
    assert collector.tiles == [
        SuggestionTile(Suggestion(email()), SuggestionState.PENDING, until=NOW + TEN_MINUTES)
    ]
    tracked = collect(requests=request_on_mail_1())
    tracked.add_pending({"<offer@fabrikam.com>"})
    assert tracked.tiles == []


def test_empty_timeline_is_explained() -> None:
    assert explain_empty(None) == (EmptyReason.NOT_ENROLLED, None)
    assert explain_empty(CaptureStatus(MailboxStatus.REMOVED)) == (EmptyReason.NOT_ENROLLED, None)
    blocked = CaptureStatus(MailboxStatus.BLOCKED, "access_policy")
    assert explain_empty(blocked) == (EmptyReason.BLOCKED, "access_policy")
    assert explain_empty(CaptureStatus(MailboxStatus.PAUSED)) == (EmptyReason.PAUSED, None)
    assert explain_empty(CaptureStatus(MailboxStatus.ENROLLED)) == (EmptyReason.NOTHING, None)


def test_suggestions_are_shown_while_the_mailbox_is_enrolled() -> None:
    shown = {status: shows_suggestions(CaptureStatus(status)) for status in MailboxStatus}
    assert shown == {
        MailboxStatus.ENROLLED: True,
        MailboxStatus.PAUSED: True,
        MailboxStatus.BLOCKED: True,
        MailboxStatus.REMOVED: False,
    }
    assert not shows_suggestions(None)
