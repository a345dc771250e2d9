"""Compares everything that was published with what there was.

Two laws:

* **Every message has its cause.** A message was recorded at its version's time, after the last message of
  its item. At some moment between the two the item was what the message shows: this activity, or none. So a
  tombstone needs a deletion, a move or an expiry, also when the item came back later; and no activity is
  published after its end. The expiry may be that of the activity as it was published last: it ends for every
  reader then, also where a change of the last moment has prolonged it.
* **Two readings find everything.** When an item has not changed since before the last two complete readings
  of its window, the last message is what the item is.

Requests for an item that a fault has answered excuse a delay, never a wrong message: an item that is set
aside is fetched again after about as long as it has failed already.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from shared.events import Activity

from .normaliser import Expected
from .timelines import BEGINNING, END, ItemId, Segment, Timeline
from .topic_log import Published, Reading, TopicLog

READINGS = 2
"""Complete readings after which a change must be published."""

FIRST_PAUSE = timedelta(seconds=15)
"""An item that cannot be fetched may wait so long, and then as long again as it has failed."""

FAR_APART = timedelta(minutes=2)
"""Answers of faults to requests for one item that are further apart are two outages of it."""


class FaultKind(StrEnum):
    """What can be wrong with what was published."""

    MISSING = "missing"  # an item is an activity, and none is published
    EXTRA = "extra"  # an activity is published of an item that is none
    STALE = "stale"  # an activity is published with values that the item does not have
    WRONGLY_GONE = "wrongly gone"  # a tombstone without a cause, although the item may be back
    DISORDERED = "disordered"  # a version that is not greater than the one before
    WRONG_IDENTITY = "wrong identity"  # copies of one thing differ, or different things are equal
    INVALID = "invalid"  # a message that cannot be read
    UNREAD = "unread"  # a mailbox whose window was not read often enough


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault."""

    kind: FaultKind
    item: ItemId
    at: datetime
    text: str


@dataclass
class Verdict:
    """What the comparison found.

    Attributes:
        checked: comparisons by law, and what was excused.
    """

    findings: list[Finding] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    def count(self, kind: FaultKind) -> int:
        """The number of items with this fault."""
        return len({each.item for each in self.findings if each.kind is kind})


@dataclass(frozen=True)
class Evidence:
    """What there was, and what was published.

    Attributes:
        timelines: of every item.
        log: everything that was published.
        obstructed: item -> when faults answered requests for it, in order.
        folders_known_for: a folder tree that is not older than this is not read again.
    """

    timelines: Mapping[ItemId, Timeline]
    log: TopicLog
    obstructed: Mapping[ItemId, Sequence[datetime]] = field(default_factory=dict)
    folders_known_for: timedelta = timedelta()


def judge(evidence: Evidence, mailboxes: Iterable[str], since: datetime, until: datetime) -> Verdict:
    """Compare everything.

    Args:
        evidence: what there was, and what was published.
        mailboxes: that must have been read.
        since: the end of the changes; two readings of each mailbox must have begun after it.
        until: the end of the log.
    """
    verdict = Verdict()
    for text in evidence.log.invalid:
        verdict.findings.append(Finding(FaultKind.INVALID, ("", text), until, text))
    for item in evidence.timelines.keys() | evidence.log.items.keys():
        timeline = evidence.timelines.get(item) or [Segment(BEGINNING, END, None)]
        published = evidence.log.items.get(item, [])
        _check_causes(verdict, item, timeline, published)
        _check_readings(verdict, evidence, item, timeline, published)
    _check_identities(verdict, evidence)
    for mailbox in mailboxes:
        readings = [each for each in evidence.log.readings[mailbox] if each.began >= since]
        if len(readings) < READINGS:
            text = f"{len(readings)} complete readings of its window after the last change"
            verdict.findings.append(Finding(FaultKind.UNREAD, (mailbox, ""), until, text))
    return verdict


def judge_one_reading(evidence: Evidence, since: datetime) -> Verdict:
    """Compare what one reading of each mailbox, which began after `since`, has found by itself."""
    verdict = Verdict()
    for item, timeline in evidence.timelines.items():
        reading = next((each for each in evidence.log.readings[item[0]] if each.began >= since), None)
        if reading is None:
            text = "no complete reading of its window"
            verdict.findings.append(Finding(FaultKind.UNREAD, (item[0], ""), since, text))
            continue
        segment = _segment_at(timeline, reading.announced)
        if segment.start <= reading.began and not segment.before_folders_moved:
            _compare(verdict, item, segment, evidence.log.items.get(item, []), reading.announced)
    return verdict


def _check_causes(verdict: Verdict, item: ItemId, timeline: Timeline, published: Sequence[Published]) -> None:
    """The first law, for each message of an item."""
    before = Published(BEGINNING, 0, None)
    for message in published:
        verdict.checked["messages"] += 1
        if message.version <= before.version:
            text = f"version {message.version} after {before.version}"
            verdict.findings.append(Finding(FaultKind.DISORDERED, item, message.at, text))
        if message.activity is None and before.version and before.activity is None:
            verdict.checked["repeated tombstones"] += 1
        elif message.activity is None and _has_expired(before.activity, message.version):
            verdict.checked["tombstones of what had expired as published"] += 1
        else:
            since = _time(before.version) if before.version else BEGINNING
            possible = [each for each in timeline if each.touches(since, _time(message.version))]
            states = [state for each in possible for state in (each.expected, *each.before_folders_moved)]
            fault = _fault_of(message.activity, states)
            if fault is not None:
                text = f"published {_name(message.activity)}, it was {_names(possible)}"
                verdict.findings.append(Finding(fault, item, message.at, text))
        before = message


def _has_expired(activity: Activity | None, version: int) -> bool:
    """Whether a published activity had ended when its tombstone was recorded."""
    return activity is not None and activity.visible_until <= _time(version)


def _fault_of(published: Activity | None, possible: Sequence[Expected | None]) -> FaultKind | None:
    """What is wrong with a message about an item that was one of these; None: nothing."""
    if any(differences(published, each) == [] for each in possible):
        return None
    if published is None:
        return FaultKind.WRONGLY_GONE
    return FaultKind.STALE if any(each is not None for each in possible) else FaultKind.EXTRA


def _check_readings(
    verdict: Verdict, evidence: Evidence, item: ItemId, timeline: Timeline, published: Sequence[Published]
) -> None:
    """The second law, for each segment of an item that lasted long enough."""
    readings = evidence.log.readings.get(item[0], [])
    obstructed = evidence.obstructed.get(item, ())
    for before, segment in zip([None, *timeline], timeline, strict=False):
        start = segment.start
        if segment.before_folders_moved:
            start += evidence.folders_known_for
        due = _due(readings, start)
        while due is not None:
            excuse = _excused_until(obstructed, start, due)
            if excuse is None:
                break
            verdict.checked["delays excused by faults of items"] += 1
            due = _due(readings, excuse)
        if due is not None and due < segment.end:
            verdict.checked["states after two readings"] += 1
            verdict.checked.update(_by_the_clock(before, segment))
            _compare(verdict, item, segment, published, due)


def _by_the_clock(before: Segment | None, segment: Segment) -> list[str]:
    """The names under which a state counts that began without any change."""
    if before is None:
        return []
    if segment.expected is not None:
        enters = segment.expected.enters_by_clock and segment.start == segment.expected.visible_from
        return ["states that began by the clock"] if enters else []
    leaves = before.expected is not None and segment.start == before.expected.visible_until
    return ["states that ended by the clock"] if leaves else []


def _due(readings: Sequence[Reading], start: datetime) -> datetime | None:
    """When the second complete reading that began after a time was announced; None: there is none."""
    first = bisect_right(readings, start, key=lambda each: each.began)
    return readings[first + READINGS - 1].announced if first + READINGS <= len(readings) else None


def _excused_until(obstructed: Sequence[datetime], start: datetime, due: datetime) -> datetime | None:
    """When an item that could not be fetched is fetched again at the latest; None: it could be fetched.

    Only a time after `due` is an excuse.
    """
    outage: list[datetime] = []
    for hit in obstructed:
        if hit > due:
            break
        if outage and hit - outage[-1] > FAR_APART:
            outage.clear()
        outage.append(hit)
    if not outage or start - outage[-1] > FAR_APART:
        return None
    until = outage[-1] + FIRST_PAUSE + (outage[-1] - outage[0])
    return until if until > due else None


def _compare(
    verdict: Verdict, item: ItemId, segment: Segment, published: Sequence[Published], at: datetime
) -> None:
    """Compare what an item is with the last message about it at a time."""
    number = bisect_right(published, at, key=lambda each: each.at)
    activity = published[number - 1].activity if number else None
    if not (wrong := differences(activity, segment.expected)):
        return
    if segment.expected is None:
        kind = FaultKind.EXTRA
    else:
        kind = FaultKind.MISSING if activity is None else FaultKind.STALE
    since = "the beginning" if segment.start == BEGINNING else f"{segment.start:%H:%M:%S.%f}"
    text = f"since {since} {_expected_name(segment.expected)}, published {_name(activity)}: {wrong}"
    verdict.findings.append(Finding(kind, item, at, text))


def _check_identities(verdict: Verdict, evidence: Evidence) -> None:
    """Equal things have equal identities, and different things different ones."""
    names: dict[tuple[str, ...], str] = {}
    things: dict[str, tuple[str, ...]] = {}
    for item, timeline in evidence.timelines.items():
        for message in evidence.log.items.get(item, []):
            matching = [
                each.expected for each in timeline if not differences(message.activity, each.expected)
            ]
            if message.activity is None or not matching or matching[0] is None:
                continue
            thing, name = matching[0].identity, message.activity.identity
            if names.setdefault(thing, name) != name or things.setdefault(name, thing) != thing:
                text = f"{name} is the identity of {thing} and of {things.get(name)}"
                verdict.findings.append(Finding(FaultKind.WRONG_IDENTITY, item, message.at, text))


def differences(activity: Activity | None, expected: Expected | None) -> list[str]:
    """The names of the fields that differ; `everything` where only one of the two is there."""
    if activity is None or expected is None:
        return [] if activity is None and expected is None else ["everything"]
    found = activity.model_dump(exclude={"identity"})
    names = found.keys() | expected.fields.keys()
    return sorted(name for name in names if found.get(name) != expected.fields.get(name, _NOTHING))


_NOTHING = object()
"""Differs from every value: a field that the normaliser does not know."""


def _segment_at(timeline: Timeline, at: datetime) -> Segment:
    return next(each for each in timeline if each.touches(at, at))


def _time(version: int) -> datetime:
    return datetime.fromtimestamp(version // 1_000_000, UTC) + timedelta(microseconds=version % 1_000_000)


def _name(activity: Activity | None) -> str:
    return "nothing" if activity is None else f"{activity.kind} at {activity.at:%d. %H:%M:%S}"


def _expected_name(expected: Expected | None) -> str:
    return (
        "nothing"
        if expected is None
        else f"{expected.fields['kind']} at {expected.fields['at']:%d. %H:%M:%S}"
    )


def _names(segments: Sequence[Segment]) -> str:
    names = [_expected_name(each.expected) for each in segments]
    changes = (
        [names[0], *(after for before, after in pairwise(names) if after != before)] if names else ["unknown"]
    )
    return ", then ".join(changes)
