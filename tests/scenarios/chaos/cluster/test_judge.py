"""The judge of the end of a run finds each thing that can be wrong."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from scenarios.chaos.cluster.api import User
from scenarios.chaos.cluster.crm import deal_records
from scenarios.chaos.cluster.guard import Leak
from scenarios.chaos.cluster.judge import Evidence, Tracked, judge
from scenarios.chaos.cluster.load import Mail
from scenarios.chaos.cluster.operations import MAIL, Operation
from scenarios.chaos.whole.verdict import Wrong

ANN = User("ann", "ann@contoso.example", httpx2.AsyncClient())
RECORDS = {(record["type"], record["id"]): record for number in (0, 1) for record in deal_records(number)}
RELATED = frozenset({("account", "account-0"), ("contact", "contact-0"), ("opportunity", "deal-0")})
ENTRY = ("contact/contact-0", "ann")

SUGGESTED, TRACKED, UNTRACKED = (("ann", f"item-{number}") for number in range(3))


def mails() -> list[Mail]:
    suggested, tracked, untracked = (
        Mail(number, ANN, 0, f"item-{number}", Operation(MAIL, 0.0, 1.0)) for number in range(3)
    )
    tracked.track = untracked.track = untracked.untrack = Operation("track", 1.0, 2.0)
    tracked.track_answered = untracked.track_answered = untracked.untrack_answered = True
    return [suggested, tracked, untracked]


def evidence(**changes: Any) -> Evidence:
    """What is right, with these changes."""
    items = (SUGGESTED, TRACKED, UNTRACKED)
    right = Evidence(
        mails=mails(),
        records=RECORDS,
        activities={item: f"Mail {number}" for number, item in enumerate(items)},
        matches=dict.fromkeys(items, RELATED),
        suggestions=dict.fromkeys(items, RELATED),
        tracked={"tenant/one": Tracked("Mail 1", frozenset({ENTRY}))},
        stored=["Mail 1"],
        shown={("ann", "contact/contact-0"): ["Mail 1"]},
        failed={},
        leaks=[],
        at=datetime(2026, 11, 30, tzinfo=UTC),
    )
    return replace(right, **changes)


RIGHT = evidence()
SHOWN = ("ann", "contact/contact-0")
ONE = RIGHT.tracked["tenant/one"]


def test_right_is_right() -> None:
    verdict = judge(evidence())
    assert verdict.findings == []
    assert verdict.checked == {"mails": 3, "matches": 18, "tracks": 2, "untracks": 1}


def without(table: Any, item: Any) -> Any:
    return {key: value for key, value in table.items() if key != item}


@pytest.mark.parametrize(
    "changes, found",
    [
        ({"activities": without(RIGHT.activities, SUGGESTED)}, Wrong.LOST),
        ({"activities": {**RIGHT.activities, SUGGESTED: "Mail 7"}}, Wrong.STALE),
        ({"activities": {**RIGHT.activities, ("ann", "item-9"): "Mail 9"}}, Wrong.EXTRA),
        ({"matches": without(RIGHT.matches, TRACKED)}, Wrong.LOST),
        ({"matches": {**RIGHT.matches, TRACKED: RELATED - {("opportunity", "deal-0")}}}, Wrong.LOST),
        ({"matches": {**RIGHT.matches, TRACKED: RELATED | {("opportunity", "deal-1")}}}, Wrong.EXTRA),
        ({"matches": {**RIGHT.matches, ("ann", "item-9"): RELATED}}, Wrong.EXTRA),
        ({"suggestions": without(RIGHT.suggestions, SUGGESTED)}, Wrong.LOST),
        ({"suggestions": {**RIGHT.suggestions, ("ann", "item-9"): RELATED}}, Wrong.EXTRA),
        ({"tracked": {}}, Wrong.LOST),
        ({"tracked": {**RIGHT.tracked, "tenant/two": ONE}}, Wrong.DUPLICATED),
        ({"tracked": {**RIGHT.tracked, "tenant/two": replace(ONE, subject="Mail 0")}}, Wrong.EXTRA),
        ({"tracked": {**RIGHT.tracked, "tenant/two": replace(ONE, subject="Mail 2")}}, Wrong.STALE),
        ({"tracked": {"tenant/one": replace(ONE, regarding=frozenset())}}, Wrong.STALE),
        ({"stored": []}, Wrong.LOST),
        ({"stored": ["Mail 1", "Mail 1"]}, Wrong.DUPLICATED),
        ({"stored": ["Mail 1", "Mail 2"]}, Wrong.STALE),
        ({"shown": {}}, Wrong.LOST),
        ({"shown": {SHOWN: ["Mail 1", "Mail 1"]}}, Wrong.DUPLICATED),
        ({"leaks": [Leak("opportunity/deal-0", "tracking-2", 16.0)]}, Wrong.WRONGLY_PUBLIC),
    ],
)
def test_each_fault_is_found(changes: dict[str, Any], found: Wrong) -> None:
    assert [each.kind for each in judge(evidence(**changes)).findings] == [found]


def test_state_of_a_lost_track_is_named() -> None:
    verdict = judge(evidence(stored=[], failed={"Mail 1": "failed (gone)"}))
    assert [each.text for each in verdict.findings] == [
        "was tracked and is not in tracking's store; its state is failed (gone)"
    ]


def test_call_without_an_answer_may_have_succeeded_or_not() -> None:
    sent = mails()
    sent[1].track_answered = sent[2].untrack_answered = False
    assert judge(evidence(mails=sent)).findings == []
    both = {"tenant/one": ONE, "tenant/two": replace(ONE, subject="Mail 2")}
    shown = ["Mail 1", "Mail 2"]
    assert judge(evidence(mails=sent, tracked=both, stored=shown, shown={SHOWN: shown})).findings == []
    assert judge(evidence(mails=sent, tracked={}, stored=[], shown={})).findings == []
