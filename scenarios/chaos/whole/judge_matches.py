"""Judges `activities` and `matches`: each message by its cause, and the end by the brute-force join.

* **Every message has its cause.** What counts on `matches` shows an activity that was published, never an
  earlier one than the message before it. Each of its reasons held at some moment since the message before it,
  and each that it lacks did not hold at some such moment. A tombstone needs a moment without any reason.
* **The end is exact.** When all is quiet, `matches` has exactly the join of all records with all live items
  of the simulator, with every reason, and tracking has stored the same.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from scenarios.chaos.judge import Evidence, FaultKind, differences
from scenarios.chaos.judge import judge as judge_capture
from scenarios.chaos.timelines import ItemId
from scenarios.chaos.topic_log import Published
from shared.events import Activity, ActivityMatched

from .history import BEGINNING, History, Moment, during
from .join import Join, Reason, records_of
from .published import PublishedMatches
from .verdict import Verdict, Wrong

LAG = timedelta(seconds=90)
"""A message may show what the CRM was so long before the message before it: both waited as long."""

CAPTURE_FAULTS = {
    FaultKind.MISSING: Wrong.LOST,
    FaultKind.UNREAD: Wrong.LOST,
    FaultKind.WRONGLY_GONE: Wrong.LOST,
    FaultKind.EXTRA: Wrong.EXTRA,
    FaultKind.INVALID: Wrong.EXTRA,
    FaultKind.STALE: Wrong.STALE,
    FaultKind.DISORDERED: Wrong.STALE,
    FaultKind.WRONG_IDENTITY: Wrong.DUPLICATED,
}
"""What the judge of `activities` finds, in the terms of the whole system."""


def judge_activities(verdict: Verdict, history: History, since: datetime) -> None:
    """Judge `activities` by the simulator's history; `since` is the end of the changes."""
    evidence = Evidence(history.timelines, history.log.capture)
    found = judge_capture(evidence, list(history.owners), since, history.until)
    verdict.checked.update(found.checked)
    for each in found.findings:
        what = f"activity {'/'.join(each.item)}"
        verdict.add(CAPTURE_FAULTS[each.kind], each.at, what, f"{each.kind}: {each.text}")


def judge_matches(verdict: Verdict, history: History) -> None:
    """Judge `matches`, and what tracking has stored of them."""
    moments = history.records.moments()
    for text in history.log.invalid:
        verdict.add(Wrong.EXTRA, history.until, text, f"a message that cannot be read: {text}")
    for at, text in history.log.repeated:
        verdict.add(Wrong.DUPLICATED, at, text, f"two messages with one number: {text}")
    for item, published in history.log.matches.items():
        _check_causes(verdict, moments, item, published, history.log.capture.items.get(item, []))
    final = moments[-1].join
    for item in sorted(history.timelines.keys() | history.log.matches.keys() | history.exported.keys()):
        _check_end(verdict, history, final, item)


def _check_causes(
    verdict: Verdict,
    moments: Sequence[Moment],
    item: ItemId,
    messages: Sequence[PublishedMatches],
    activities: Sequence[Published],
) -> None:
    """The first law, for each message of an item that counts."""
    since, number = BEGINNING, 0
    before: ActivityMatched | None = None
    for message in (each for each in messages if each.counts):
        verdict.checked["messages on matches"] += 1
        window = list(during(moments, since, message.at))
        if message.matched is not None:
            shown = _position(activities, number, message.matched.activity)
            if shown is None:
                text = f"{message.matched.activity.subject!r} was not published since the message before"
                kind = Wrong.STALE if activities else Wrong.EXTRA
                verdict.add(kind, message.at, _name(item), text)
            else:
                number = shown
            _check_reasons(verdict, item, message.at, message.matched, window)
        elif before is not None and not _may_be_gone(
            activities[number:], before.activity, window, message.at
        ):
            verdict.add(Wrong.LOST, message.at, _name(item), "withdrawn, and it was related all the time")
        before = message.matched
        since = message.at - LAG


def _check_reasons(
    verdict: Verdict, item: ItemId, at: datetime, matched: ActivityMatched, window: Sequence[Moment]
) -> None:
    addresses = [each.address for each in matched.activity.participants]
    held = [moment.join.reasons(addresses) for moment in window]
    possible, certain = set[Reason]().union(*held), set.intersection(*held)
    if wrong := listed_reasons(matched) - possible:
        text = f"{sorted(wrong)} held at no moment since the message before"
        verdict.add(Wrong.EXTRA, at, _name(item), text)
    if missing := _not_listed(matched, certain):
        text = f"{sorted(missing)} held at every moment since the message before"
        verdict.add(Wrong.LOST, at, _name(item), text)


def listed_reasons(matched: ActivityMatched) -> set[Reason]:
    """The reasons that a message lists."""
    return {(match.type, match.id, rule, index) for match in matched.matches for rule, index in match.reasons}


def _not_listed(matched: ActivityMatched, reasons: set[Reason]) -> set[Reason]:
    """The reasons that a message should list and does not; a match with further reasons lists only five."""
    cut = {(match.type, match.id) for match in matched.matches if match.more}
    return {each for each in reasons - listed_reasons(matched) if each[:2] not in cut}


def _position(activities: Sequence[Published], first: int, activity: Activity) -> int | None:
    """The number of the message on `activities` that shows this, from `first` on."""
    return next(
        (number for number in range(first, len(activities)) if activities[number].activity == activity), None
    )


def _may_be_gone(
    activities: Sequence[Published], before: Activity, window: Sequence[Moment], at: datetime
) -> bool:
    """Whether the item was none, or without any reason, at some moment."""
    states = [before, *(each.activity for each in activities if each.at <= at)]
    for state in states:
        if state is None or state.visible_until <= at:
            return True
        addresses = [each.address for each in state.participants]
        if any(not moment.join.reasons(addresses) for moment in window):
            return True
    return False


def _check_end(verdict: Verdict, history: History, join: Join, item: ItemId) -> None:
    """The second law for one item."""
    expected = history.item_now(item)
    addresses = [each["address"] for each in expected.fields["participants"]] if expected else []
    reasons = join.reasons(addresses)
    matched = last_matched(history.log.matches, item)
    verdict.checked["items joined at the end"] += 1
    listed = listed_reasons(matched) if matched else set()
    missing = _not_listed(matched, reasons) if matched else reasons
    if missing:
        text = f"at the end {sorted(missing)} is missing on matches"
        verdict.add(Wrong.LOST, history.until, _name(item), text)
    if extra := listed - reasons:
        verdict.add(Wrong.EXTRA, history.until, _name(item), f"at the end {sorted(extra)} is on matches")
    if matched and expected and reasons and (wrong := differences(matched.activity, expected)):
        verdict.add(Wrong.STALE, history.until, _name(item), f"at the end matches has old values of {wrong}")
    stored = history.exported.get(item, set())
    if lost := records_of(reasons) - stored:
        verdict.add(Wrong.LOST, history.until, _name(item), f"tracking has not stored {sorted(lost)}")
    if more := stored - records_of(reasons):
        verdict.add(Wrong.EXTRA, history.until, _name(item), f"tracking has stored {sorted(more)}")


def last_matched(
    matches: Mapping[ItemId, Sequence[PublishedMatches]], item: ItemId
) -> ActivityMatched | None:
    """What every reader of `matches` has of an item at the end."""
    counting = [each for each in matches.get(item, ()) if each.counts]
    return counting[-1].matched if counting else None


def _name(item: ItemId) -> str:
    return f"match {'/'.join(item)}"
