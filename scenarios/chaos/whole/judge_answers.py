"""Judges what readers were answered: all the time while they poll, and of every record at the end.

* **Private stays private.** A suggestion is answered to the owner of its mailbox alone. A record that is
  closed to a reader for more than `CLOSED_WITHIN` is neither answered to this reader nor named on a tile; a
  deleted one keeps its last readers on tiles. Each entry of a tile was requested, and none is answered after
  the answer to its untrack.
* **Nothing is there twice.**
* **The end is exact.** Each owner sees on each record what the brute-force join suggests, but for what this
  owner has dismissed there and what is tracked there; and everything that is tracked there.
"""

from collections import Counter, defaultdict
from datetime import timedelta

from .history import Answer, Call, Entry, History, Operation, is_reader
from .join import Join, RecordId, records_of
from .tracks import Tracks, entries_of
from .verdict import Verdict, Wrong

CLOSED_WITHIN = timedelta(seconds=15)
"""Within this time, a record that was closed to a reader is not answered any more."""
OPENED_WITHIN = timedelta(seconds=120)
"""Within this time, a record that was opened is found: a fault and its recovery may take as long."""
MAX_SUGGESTIONS = 50


def judge_answers(verdict: Verdict, history: History) -> None:
    """Judge all answers."""
    tracks = Tracks(history)
    for answer in (*history.answers, *history.final):
        verdict.checked[f"answers to readers: {answer.status or 'none in time'}"] += 1
        if answer.status == 200:
            _check_privacy(verdict, history, tracks, answer)
            _check_repetitions(verdict, answer)
        elif answer.status == 404 and _was_readable(history, answer):
            what = f"{'/'.join(answer.record)} for {answer.reader}"
            verdict.add(Wrong.LOST, answer.received, what, "not found, although it could be read for long")
    join = history.records.moments()[-1].join
    dismissed = _Dismissals(history, tracks)
    for answer in history.final:
        if answer.status == 200:
            _check_tracked_end(verdict, history, tracks, answer)
            _check_suggestions_end(verdict, history, tracks, answer, join, dismissed)


def _was_readable(history: History, answer: Answer) -> bool:
    states = history.records.states(answer.record, answer.sent - OPENED_WITHIN, answer.received)
    return all(is_reader(answer.reader, state) for state in states)


def _check_privacy(verdict: Verdict, history: History, tracks: Tracks, answer: Answer) -> None:
    def add(what: str, text: str) -> None:
        verdict.add(Wrong.WRONGLY_PUBLIC, answer.received, f"{what} for {answer.reader}", text)

    first = answer.sent - CLOSED_WITHIN
    if not history.may_read(answer.reader, answer.record, first, answer.received):
        add("/".join(answer.record), f"closed for {CLOSED_WITHIN.total_seconds():.0f} s, and answered")
    for item, state in answer.suggestions:
        if tracks.thing_of_item((answer.reader, item)) is None:
            add(f"suggestion {item}", f"answered as {state}, and not in the reader's mailbox")
    for tile in answer.tracked:
        for entry in tile.entries:
            what = f"tracked {tile.activity} on {'/'.join(entry.record)} by {entry.by}"
            if not tracks.was_requested(entry):
                add(what, "answered, and its user has not called Track then")
            untrack = tracks.untracked(tile.activity, entry)
            if untrack is not None and untrack.received < answer.sent:
                text = f"untracked with {untrack.status} at {untrack.received:%H:%M:%S.%f}, and answered"
                add(what, f"{text} at {answer.sent:%H:%M:%S.%f}")
            if entry.record != answer.record and not history.may_read(
                answer.reader, entry.record, first, answer.received, deleted_too=True
            ):
                add(what, "named on another record, and closed to the reader")


def _check_repetitions(verdict: Verdict, answer: Answer) -> None:
    things = [f"suggestion {item}" for item, _ in answer.suggestions]
    things += [f"tracked {tile.activity}" for tile in answer.tracked]
    things += [
        f"tracked {tile.activity} on {'/'.join(entry.record)} by {entry.by}"
        for tile in answer.tracked
        for entry in tile.entries
    ]
    for thing, count in Counter(things).items():
        if count > 1:
            text = f"{count} times in one answer to {answer.reader}"
            verdict.add(Wrong.DUPLICATED, answer.received, thing, text)


def _check_tracked_end(verdict: Verdict, history: History, tracks: Tracks, answer: Answer) -> None:
    """What is on the topic is on the timeline, and nothing else."""
    published = {
        (activity, entry)
        for activity, event in tracks.table.items()
        for entry in _on(entries_of(event), answer.record)
    }
    shown = {(tile.activity, entry) for tile in answer.tracked for entry in _on(tile.entries, answer.record)}
    for kind, found in ((Wrong.LOST, published - shown), (Wrong.EXTRA, shown - published)):
        for activity, entry in found:
            what = f"tracked {activity} on {'/'.join(answer.record)} by {entry.by}"
            text = f"at the end on {'the topic' if kind is Wrong.LOST else 'a timeline'} alone"
            verdict.add(kind, history.until, what, text)


def _on(entries: "list[Entry] | tuple[Entry, ...]", record: RecordId) -> list[Entry]:
    return [entry for entry in entries if entry.record == record]


def _check_suggestions_end(
    verdict: Verdict,
    history: History,
    tracks: Tracks,
    answer: Answer,
    join: Join,
    dismissed: "_Dismissals",
) -> None:
    verdict.checked["timelines compared at the end"] += 1
    expected: set[str] = set()
    for item in history.timelines:
        state = history.item_now(item) if item[0] == answer.reader else None
        thing = tracks.thing_of_item(item)
        if state is not None and thing is not None:
            reasons = join.reasons([each["address"] for each in state.fields["participants"]])
            if answer.record in records_of(reasons):
                expected.add(thing)
    shown = {tracks.thing_of_item((answer.reader, item)) or item for item, _ in answer.suggestions}
    hidden, unknown = dismissed.of(answer.reader, answer.record)
    what = f"suggestions on {'/'.join(answer.record)} for {answer.reader}"
    if extra := shown - (expected - hidden) - unknown:
        verdict.add(Wrong.EXTRA, history.until, what, f"at the end {sorted(extra)} is suggested")
    lost = expected - hidden - tracks.tracked_on(answer.record) - unknown - shown
    if lost and not (answer.has_more and len(shown) >= MAX_SUGGESTIONS):
        verdict.add(Wrong.LOST, history.until, what, f"at the end {sorted(lost)} is not suggested")


class _Dismissals:
    """What is dismissed at the end, as far as the answers to the calls show."""

    def __init__(self, history: History, tracks: Tracks) -> None:
        self._groups: defaultdict[tuple[str, RecordId], defaultdict[str, list[Call]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._history = history
        for call in history.calls:
            thing = tracks.thing_of_call(call)
            if call.operation is not Operation.UNTRACK and thing is not None:
                self._groups[call.user, call.record][thing].append(call)

    def of(self, user: str, record: RecordId) -> tuple[set[str], set[str]]:
        """The things that a user has dismissed on a record for certain, and those of which it is unknown."""
        hidden, unknown = set(), set()
        for thing, calls in self._groups.get((user, record), {}).items():
            acting = [call for call in calls if call.succeeded or call.is_unknown]
            if any(
                call.is_unknown or self._history.restored_since("tracking", call.received) for call in acting
            ):
                unknown.add(thing)
            elif acting and acting[-1].operation is Operation.DISMISS:
                hidden.add(thing)
        return hidden, unknown
