"""Judges `tracked-activities` by what the users have called, and what each call answered.

* **Nothing is public that nobody shares.** Each entry of each message was requested by its user, and none
  that an untrack with a 2xx took back is recorded again after it, nor sent long after it.
* **Nothing that was accepted is lost.** What a Track with a 2xx requested is public at the end, or has failed
  for a reason that there was. Only what a restored database cannot know, or had pending, is excused.
* **The end is right**: names, readers, subjects and times are those of the records and of the items.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta

from shared.events import ActivityTracked

from .history import Call, History, Operation, micros
from .join import RecordId
from .published import PublishedTracked
from .tracks import Tracks, entries_of
from .verdict import Verdict, Wrong

LATE = timedelta(seconds=60)
"""No send is delivered so long after it was given up."""
MAX_NAME = 200
NO_ANSWER = "no_answer"
"""Why a Track has failed that waited too long, or was pending in a database that was put back."""
SHOWN_FIELDS = ("subject", "start", "end", "cancelled")
"""Fields of the item that an event repeats."""


def judge_tracks(verdict: Verdict, history: History) -> None:
    """Judge the whole log of `tracked-activities`, and its end."""
    tracks = Tracks(history)
    for activity, published in history.log.tracked.items():
        _check_log(verdict, tracks, activity, published)
    _check_accepted(verdict, history, tracks)
    last_records = _last_records(history)
    for activity, event in tracks.table.items():
        _check_values(verdict, history, activity, event, last_records)
    _check_copies(verdict, history, tracks)


def _check_log(
    verdict: Verdict, tracks: Tracks, activity: str, published: Sequence[PublishedTracked]
) -> None:
    events: dict[int, ActivityTracked] = {}
    for each in published:
        verdict.checked["messages on tracked-activities"] += 1
        if not isinstance(each.event, ActivityTracked):
            continue
        if events.setdefault(each.version, each.event) != each.event:
            text = f"two states of revision {each.version}"
            verdict.add(Wrong.DUPLICATED, each.at, f"tracked {activity}", text)
        for pair, count in Counter((entry.record, entry.by) for entry in entries_of(each.event)).items():
            if count > 1:
                verdict.add(Wrong.DUPLICATED, each.at, f"tracked {activity}", f"{count} entries {pair}")
        for entry in entries_of(each.event):
            what = f"tracked {activity} on {'/'.join(entry.record)} by {entry.by}"
            if not tracks.was_requested(entry):
                text = "published, and its user has not called Track then"
                verdict.add(Wrong.WRONGLY_PUBLIC, each.at, what, text)
            untrack = tracks.untracked(activity, entry)
            if untrack is not None and _is_after(each, untrack):
                text = f"untracked with {untrack.status} at {untrack.received:%H:%M:%S.%f}, and published"
                verdict.add(Wrong.WRONGLY_PUBLIC, each.at, what, text)
    if published and not published[-1].counts:
        verdict.add(
            Wrong.STALE, published[-1].at, f"tracked {activity}", "an old revision is the last message"
        )


def _is_after(published: PublishedTracked, untrack: Call) -> bool:
    return micros(published.version) > untrack.received or published.at > untrack.received + LATE


def _check_accepted(verdict: Verdict, history: History, tracks: Tracks) -> None:
    """Each accepted Track is public at the end, or has failed for a reason."""
    accepted = [call for call in history.calls if call.operation is Operation.TRACK and call.succeeded]
    last = {(call.user, call.record, call.target): call for call in accepted}
    for call in last.values():
        verdict.checked["accepted Tracks"] += 1
        thing = tracks.thing_of_call(call)
        if thing is None or _may_be_untracked(tracks, call, thing):
            verdict.checked["Tracks that may have been taken back"] += 1
        elif thing in tracks.tracked_on(call.record, call.user):
            verdict.checked["accepted Tracks that are public"] += 1
        elif reason := _why_not(history, call):
            verdict.checked[f"accepted Tracks: {reason}"] += 1
        else:
            failed = history.failed.get((call.user, call.target), set())
            what = f"Track of {call.target} on {'/'.join(call.record)} by {call.user}"
            text = (
                f"accepted with {call.status}, and neither public nor failed for a reason: {sorted(failed)}"
            )
            verdict.add(Wrong.LOST, call.received, what, text)


def _may_be_untracked(tracks: Tracks, track: Call, thing: str) -> bool:
    return any(
        (call.succeeded and call.received > track.sent) or call.is_unknown
        for call in tracks.of(track.user, track.record, Operation.UNTRACK)
        if tracks.thing_of_call(call) == thing
    )


def _why_not(history: History, call: Call) -> str | None:
    """Why an accepted Track need not be public; None: it should be."""
    item = (call.user, call.target)
    timeline = history.timelines.get(item, [])
    gone = any(each.expected is None for each in timeline if each.touches(call.sent, history.until))
    closed = any(state is None for state in history.records.states(call.record, call.sent, history.until))
    if item in history.failed and (gone or closed):
        return "failed, the item or the record is gone"
    if history.restored_since("tracking", call.received):
        return "unknown to tracking's restored database"
    if NO_ANSWER in history.failed.get(item, ()) and history.restored_after("tracking", call.received):
        return "pending in tracking's restored database, whose recovery fails what is pending"
    if item in history.failed and history.restored_since("mail-ingest", call.received):
        return "unknown to mail-ingest's restored database"
    return None


def _last_records(history: History) -> dict[RecordId, tuple[bool, str | None, tuple[str, ...]]]:
    """Record -> whether it is there, its name, and its last readers."""
    found: dict[RecordId, tuple[bool, str | None, tuple[str, ...]]] = {}
    for change in history.records.changes:
        readers = found[change.record_id][2] if change.record_id in found else ("*",)
        if change.record is not None:
            readers = tuple(change.record.get("readers") or ("*",))
        name = change.record.get("name") if change.record is not None else None
        found[change.record_id] = change.record is not None, name, readers
    return found


def _check_values(
    verdict: Verdict,
    history: History,
    activity: str,
    event: ActivityTracked,
    records: dict[RecordId, tuple[bool, str | None, tuple[str, ...]]],
) -> None:
    what, until = f"tracked {activity}", history.until
    for entry in event.regarding:
        there, name, readers = records.get((entry.type, entry.id), (False, None, ()))
        found = not entry.deleted, entry.name, set(entry.readers)
        right = there, name[:MAX_NAME] if name else None, set(readers)
        if found != right:
            text = f"at the end {entry.type}/{entry.id} is published as {found}, it is {right}"
            kind = Wrong.WRONGLY_PUBLIC if not found[2] <= right[2] else Wrong.STALE
            verdict.add(kind, until, what, text)
    thing = event.internet_message_id or event.ical_uid
    states = [
        {name: expected.fields[name] for name in SHOWN_FIELDS}
        for item in history.timelines
        if item[0] == event.owner and (expected := history.item_now(item)) is not None
        if thing in {expected.fields["internet_message_id"], expected.fields["ical_uid"]}
    ]
    shown = {name: getattr(event, name) for name in SHOWN_FIELDS}
    if states and shown not in states:
        verdict.add(Wrong.STALE, until, what, f"at the end {shown} is published, its owner has {states}")


def _check_copies(verdict: Verdict, history: History, tracks: Tracks) -> None:
    """No two activities show one thing of one owner, with one subject, on one record."""
    shown: defaultdict[tuple[object, ...], set[str]] = defaultdict(set)
    for activity, event in tracks.table.items():
        thing = event.internet_message_id or event.ical_uid
        for entry in entries_of(event):
            shown[thing, event.owner, event.subject, event.start, entry.record].add(activity)
    for copy, activities in shown.items():
        if len(activities) > 1:
            text = f"{copy} is there as {sorted(activities)}"
            verdict.add(Wrong.DUPLICATED, history.until, f"tracked {copy[0]}", text)
