"""Compares what is on the topics and in the databases at the end with what was done."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from scenarios.chaos.whole.join import Join, Record, RecordId, records_of
from scenarios.chaos.whole.verdict import Verdict, Wrong

from .crm import client_address
from .guard import Leak
from .load import Mail

ItemId = tuple[str, str]
"""Mailbox and item."""


Found = tuple[Wrong, str, str]
"""What is wrong, with which thing, and how."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """A tracked activity on `tracked-activities`.

    Attributes:
        regarding: (record `type/id`, oid of the user who tracked it).
    """

    subject: str
    regarding: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Evidence:
    """What was done, and what there is at the end.

    Attributes:
        records: what readers of `records` have.
        activities: item -> subject, of `activities`.
        matches: item -> records, of `matches`.
        suggestions: item -> records, of tracking's database.
        tracked: key -> the activity, of `tracked-activities`.
        stored: the subjects of the tracked activities of tracking's database.
        shown: (owner, record) -> the subjects of the tracked activities in the answers of the API.
        failed: subject -> state and reason of a suggestion that a Track did not change.
        leaks: records that were shown although they were closed.
        at: the end.
    """

    mails: Sequence[Mail]
    records: Mapping[RecordId, Record]
    activities: Mapping[ItemId, str]
    matches: Mapping[ItemId, AbstractSet[RecordId]]
    suggestions: Mapping[ItemId, AbstractSet[RecordId]]
    tracked: Mapping[str, Tracked]
    stored: Sequence[str]
    shown: Mapping[tuple[str, str], Sequence[str]]
    failed: Mapping[str, str]
    leaks: Sequence[Leak]
    at: datetime


def judge(evidence: Evidence) -> Verdict:
    """Compare everything."""
    verdict = Verdict()
    for check in (_mails, _tracks, _leaks):
        for kind, what, text in check(evidence, verdict.checked):
            verdict.add(kind, evidence.at, what, text)
    return verdict


def _mails(evidence: Evidence, checked: Counter[str]) -> Iterator[Found]:
    """Every mail is an activity and has exactly the matches of the join, on the topic and in the store."""
    join = Join(evidence.records)
    for mail in evidence.mails:
        item = mail.owner.oid, mail.item
        checked["mails"] += 1
        subject = evidence.activities.get(item)
        if subject is None:
            yield Wrong.LOST, mail.subject, "is no activity"
        elif subject != mail.subject:
            yield Wrong.STALE, mail.subject, f"is an activity with the subject {subject}"
        expected = records_of(join.reasons([client_address(mail.deal)]))
        for place, found in (
            ("on matches", evidence.matches.get(item, frozenset())),
            ("in tracking's store", evidence.suggestions.get(item, frozenset())),
        ):
            checked["matches"] += len(expected)
            if missing := expected - found:
                yield Wrong.LOST, mail.subject, f"lacks {sorted(missing)} {place}"
            if extra := found - expected:
                yield Wrong.EXTRA, mail.subject, f"has {sorted(extra)} {place}"
    sent = {(mail.owner.oid, mail.item) for mail in evidence.mails}
    for place, items in (
        ("activities", evidence.activities.keys()),
        ("matches", evidence.matches.keys()),
        ("tracking's store", evidence.suggestions.keys()),
    ):
        for item in items - sent:
            yield Wrong.EXTRA, "/".join(item), f"is on {place}, and nobody sent it"


def _tracks(evidence: Evidence, checked: Counter[str]) -> Iterator[Found]:
    """What was tracked is tracked, once, everywhere; what was untracked is not."""
    published = Counter(each.subject for each in evidence.tracked.values())
    regarding = {each.subject: each.regarding for each in evidence.tracked.values()}
    stored = Counter(evidence.stored)
    for mail in evidence.mails:
        shown = Counter(evidence.shown.get((mail.owner.oid, mail.record), ()))
        places = {"on tracked-activities": published, "in tracking's store": stored, "in the API": shown}
        for place, subjects in places.items():
            count = subjects[mail.subject]
            if count > 1:
                yield Wrong.DUPLICATED, mail.subject, f"is {count} times {place}"
            if mail.must_be_tracked and not count:
                reason = evidence.failed.get(mail.subject)
                text = f"was tracked and is not {place}; its state is {reason or 'unknown'}"
                yield Wrong.LOST, mail.subject, text
            if mail.must_not_be_tracked and count:
                kind = Wrong.STALE if mail.untrack_answered else Wrong.EXTRA
                yield kind, mail.subject, f"is tracked {place}, and must not be"
        checked["tracks"] += mail.track_answered
        checked["untracks"] += mail.untrack_answered
        entry = (mail.record, mail.owner.oid)
        if mail.must_be_tracked and published[mail.subject] and regarding[mail.subject] != {entry}:
            yield Wrong.STALE, mail.subject, f"is regarding {sorted(regarding[mail.subject])}"


def _leaks(evidence: Evidence, _: Counter[str]) -> Iterator[Found]:
    """No replica showed a record long after it was closed."""
    for leak in evidence.leaks:
        text = f"was shown by {leak.replica} {leak.seconds:.0f} s after it was closed"
        yield Wrong.WRONGLY_PUBLIC, leak.record, text
