from dataclasses import replace
from datetime import timedelta

import pytest

from services.tracking.domain.activity import NO_ANSWER, Claim, ClaimState, claim
from services.tracking.domain.timeline import (
    Empty,
    Mailbox,
    Reason,
    State,
    Suggestion,
    Suggestions,
    Tile,
    is_visible,
    newest,
    shows_suggestions,
    why_empty,
)
from shared.events import MailboxStatus

from .worlds import ANN, DAY, HOUR, NOW, RENEWAL, asks, email, meeting, subjects

TEN_MINUTES = timedelta(minutes=10)
SECOND = timedelta(seconds=1)


def taken(
    *suggestions: Suggestion,
    claims: dict[str, Claim] | None = None,
    dismissed: frozenset[str] = frozenset(),
    tracked: frozenset[str] = frozenset(),
) -> Suggestions:
    found = Suggestions(RENEWAL, NOW, claims or {})
    found.take(suggestions, dismissed, tracked)
    return found


def asked(**changes: object) -> dict[str, Claim]:
    [ask] = asks((ANN, RENEWAL))
    return {"mail-1": replace(claim("c", email(), ask, TEN_MINUTES), **changes)}  # type: ignore[arg-type]


def test_an_email_is_visible_from_its_arrival_for_three_days() -> None:
    mail = email(at=NOW)
    assert [is_visible(mail, NOW + late) for late in (-SECOND, 0 * SECOND, 3 * DAY - SECOND, 3 * DAY)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_meeting_is_visible_from_three_days_before_its_start_until_three_days_after_its_end() -> None:
    kick_off = meeting(start=NOW)
    times = (-3 * DAY - SECOND, -3 * DAY, HOUR + 3 * DAY - SECOND, HOUR + 3 * DAY)
    assert [is_visible(kick_off, NOW + late) for late in times] == [False, True, True, False]


def test_a_suggestion_says_why_in_sentences() -> None:
    suggestion = Suggestion(
        email(),
        (Reason(2, "is a stakeholder of this opportunity"), Reason(0, "is the contact of this opportunity")),
        more=4,
    )
    assert suggestion.why == (
        "Cc: ann@fabrikam.com is a stakeholder of this opportunity",
        "From: joe@fabrikam.com is the contact of this opportunity",
    )


def test_what_is_outside_its_window_is_not_shown_whatever_the_store_says() -> None:
    found = taken(
        Suggestion(email(at=NOW + HOUR)), Suggestion(email(at=NOW - 3 * DAY)), Suggestion(meeting())
    )
    assert subjects(found.tiles) == ["Kick-off"]


def test_the_fiftieth_is_shown_and_the_next_is_more() -> None:
    fifty = [Suggestion(email(item=f"mail-{n}", identity=str(n))) for n in range(50)]
    assert (len(taken(*fifty).tiles), taken(*fifty).has_more) == (50, False)
    more = taken(*fifty, Suggestion(email(item="one-more", identity="one-more")))
    assert (len(more.tiles), more.has_more) == (50, True)


def test_hidden_ones_do_not_count_as_more() -> None:
    fifty = [Suggestion(email(item=f"mail-{n}", identity=str(n))) for n in range(50)]
    found = taken(
        *fifty,
        Suggestion(email(identity="gone")),
        Suggestion(email(identity="shared")),
        dismissed=frozenset({"gone"}),
        tracked=frozenset({"shared"}),
    )
    assert (len(found.tiles), found.has_more) == (50, False)


@pytest.mark.parametrize(
    "hidden",
    [{"dismissed": frozenset({"<offer@fabrikam.com>"})}, {"tracked": frozenset({"<offer@fabrikam.com>"})}],
)
def test_dismissed_and_tracked_things_are_hidden_by_identity(hidden: dict[str, frozenset[str]]) -> None:
    assert taken(Suggestion(email()), **hidden).tiles == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "claims,state,reason",
    [
        ({}, State.UNTRACKED, None),
        (asked(), State.PENDING, None),
        (asked(state=ClaimState.FAILED, reason="gone"), State.FAILED, "gone"),
        (asked(deadline=NOW), State.FAILED, NO_ANSWER),
        (asked(state=ClaimState.DONE), State.UNTRACKED, None),
    ],
)
def test_the_state_is_that_of_her_last_claim(
    claims: dict[str, Claim], state: State, reason: str | None
) -> None:
    [tile] = taken(Suggestion(email()), claims=claims).tiles
    assert (tile.state, tile.reason) == (state, reason)


def test_the_last_claim_counts() -> None:
    [ask] = asks((ANN, RENEWAL))
    failed = replace(claim("1", email(), ask, TEN_MINUTES), state=ClaimState.FAILED)
    again = replace(claim("2", email(), ask, TEN_MINUTES), opened_at=NOW + SECOND)
    assert newest([again, failed])["mail-1"].id == "2"


def test_a_match_withdrawn_while_pending_changes_nothing() -> None:
    found = taken(Suggestion(meeting()), claims=asked())
    found.keep_pending(frozenset())
    assert [(tile.suggestion.activity.item, tile.state) for tile in found.tiles] == [
        ("meeting-1", State.UNTRACKED),
        ("mail-1", State.PENDING),
    ]


def test_pending_is_there_once_and_not_beside_its_tracked_one() -> None:
    found = taken(Suggestion(email()), claims=asked())
    found.keep_pending(frozenset())
    assert found.tiles == [Tile(Suggestion(email()), State.PENDING, until=NOW + TEN_MINUTES)]
    tracked = taken(claims=asked())
    tracked.keep_pending({"<offer@fabrikam.com>"})
    assert tracked.tiles == []


def test_an_empty_timeline_says_why() -> None:
    assert why_empty(None) == (Empty.NOT_ENROLLED, None)
    assert why_empty(Mailbox(MailboxStatus.REMOVED)) == (Empty.NOT_ENROLLED, None)
    assert why_empty(Mailbox(MailboxStatus.BLOCKED, "access_policy")) == (Empty.BLOCKED, "access_policy")
    assert why_empty(Mailbox(MailboxStatus.PAUSED)) == (Empty.PAUSED, None)
    assert why_empty(Mailbox(MailboxStatus.ENROLLED)) == (Empty.NOTHING, None)


def test_suggestions_are_shown_while_the_mailbox_is_enrolled() -> None:
    shown = {status: shows_suggestions(Mailbox(status)) for status in MailboxStatus}
    assert shown == {
        MailboxStatus.ENROLLED: True,
        MailboxStatus.PAUSED: True,
        MailboxStatus.BLOCKED: True,
        MailboxStatus.REMOVED: False,
    }
    assert not shows_suggestions(None)
