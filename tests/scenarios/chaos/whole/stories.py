"""A small history of the whole system in which all is right; each test of the judges changes one thing in it.

Carla, a contact and the contact of a deal, writes to Ann. Ann tracks the mail on the deal; Ben sees it there.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from scenarios.chaos.timelines import ItemId, timelines
from scenarios.chaos.topic_log import Published, Reading
from scenarios.chaos.whole.evidence import judge
from scenarios.chaos.whole.history import Answer, Call, Entry, History, Operation, RecordChange, TrackedTile
from scenarios.chaos.whole.join import RecordId
from scenarios.chaos.whole.published import PublishedMatches, PublishedTracked
from scenarios.chaos.whole.verdict import Verdict, Wrong
from shared.events import Activity, ActivityMatched, ActivityTracked, ActivityUntracked
from tests.scenarios.chaos.histories import ANN, BEN, FOLDERS, OWNERS, at, email, message

CARLA, DEAL = ("contact", "carla"), ("opportunity", "deal")
RECORDS: dict[RecordId, dict[str, Any]] = {
    CARLA: {"emails": ["carla@fabrikam.example"], "name": "Carla"},
    DEAL: {"contact_id": "carla", "name": "Deal"},
}
REASONS = ((*CARLA, "contact.address", 0), (*DEAL, "opportunity.contact", 0))
MAIL: ItemId = (ANN, "e1")
TRACKED = "t1"


def version(seconds: float) -> int:
    return int(at(seconds).timestamp() * 1_000_000)


def matched(activity: Activity, reasons: Iterable[tuple[str, str, str, int]] = REASONS) -> ActivityMatched:
    """A message on `matches`, a match for each reason."""
    matches = [{"type": type_, "id": id_, "reasons": [(rule, n)]} for type_, id_, rule, n in reasons]
    return ActivityMatched.model_validate({"activity": activity, "matches": matches, "rules": {}})


def entry(seconds: float = 20.5, record: RecordId = DEAL, by: str = ANN) -> Entry:
    return Entry(record, by, at(seconds))


def event(*entries: Entry, seconds: float = 22, **changes: Any) -> ActivityTracked:
    """The tracked mail, as it is published."""
    values = {
        "tenant": "t",
        "activity": TRACKED,
        "kind": "email",
        "owner": ANN,
        "subject": "Renewal",
        "at": at(1),
        "internet_message_id": "<1@fabrikam.example>",
        "revision": version(seconds),
        "regarding": [
            {
                "type": each.record[0],
                "id": each.record[1],
                "name": RECORDS[each.record]["name"],
                "by": each.by,
                "at": each.at,
                "readers": ["*"],
            }
            for each in entries or [entry()]
        ],
    }
    return ActivityTracked.model_validate(values | changes)


class Story:
    """A history, changed by seconds since its beginning."""

    def __init__(self) -> None:
        self.history = History(OWNERS, until=at(200))
        self.entries: list[dict[str, Any]] = []
        for mailbox in OWNERS:
            self.happens(0, "", FOLDERS, mailbox)
            readings = [Reading(at(each), at(each + 1), 0) for each in range(150, 200, 10)]
            self.history.log.capture.readings[mailbox] = readings
        for record_id in RECORDS:
            self.publishes_record(-500, record_id)
        self.happens(1, "e1", message())
        self.captures(2, email())
        self.matches(3, matched(email()))
        self.calls(20, Operation.TRACK, DEAL, "e1")
        self.tracks(22, event())
        self.answers(30, BEN, DEAL, tracked=[(TRACKED, entry())])
        self.history.exported = {MAIL: set(RECORDS)}
        self.ends(ANN, CARLA, suggestions=["e1"])
        self.ends(ANN, DEAL, tracked=[(TRACKED, entry())])
        self.ends(BEN, CARLA)
        self.ends(BEN, DEAL, tracked=[(TRACKED, entry())])

    # what is done

    def happens(self, seconds: float, item: str, state: Any, mailbox: str = ANN) -> None:
        self.entries.append({"at": at(seconds).isoformat(), "mailbox": mailbox, "item": item, "state": state})

    def publishes_record(self, seconds: float, record_id: RecordId, **changes: Any) -> None:
        self._add_record(seconds, record_id, RECORDS[record_id] | changes)

    def deletes_record(self, seconds: float, record_id: RecordId) -> None:
        self._add_record(seconds, record_id, None)

    def calls(
        self,
        seconds: float,
        operation: Operation,
        record: RecordId,
        target: str,
        status: int | None = 202,
        user: str = ANN,
    ) -> None:
        call = Call(operation, user, record, target, at(seconds), at(seconds + 1), status)
        self.history.calls.append(call)

    # what is published and answered

    def captures(self, seconds: float, activity: Activity | None) -> None:
        self.history.log.capture.items[MAIL].append(Published(at(seconds), version(seconds), activity))

    def matches(self, seconds: float, message: ActivityMatched | None, item: ItemId = MAIL) -> None:
        self.history.log.matches[item].append(PublishedMatches(at(seconds), 1, int(seconds), message))

    def tracks(
        self,
        seconds: float,
        published: ActivityTracked | ActivityUntracked | None,
        activity: str = TRACKED,
        recorded: float | None = None,
        **more: Any,
    ) -> None:
        recorded = seconds if recorded is None else recorded
        message = PublishedTracked(at(seconds), version(recorded), published, **more)
        self.history.log.tracked[activity].append(message)

    def answers(self, seconds: float, reader: str, record: RecordId, status: int = 200, **shown: Any) -> None:
        self.history.answers.append(_answer(reader, record, at(seconds), status, **shown))

    def ends(self, reader: str, record: RecordId, **shown: Any) -> None:
        """What a reader is answered at the end, instead of what the story had before."""
        kept = [each for each in self.history.final if (each.reader, each.record) != (reader, record)]
        self.history.final = [*kept, _answer(reader, record, at(199), 200, **shown)]

    def judge(self) -> Verdict:
        self.history.timelines = timelines(self.entries, OWNERS)
        return judge(self.history, at(140))

    def found(self) -> set[Wrong]:
        """The kinds of the findings."""
        return {each.kind for each in self.judge().findings}

    def _add_record(self, seconds: float, record_id: RecordId, record: dict[str, Any] | None) -> None:
        changes = self.history.records.changes
        changes.append(RecordChange(record_id, record, at(seconds), at(seconds + 0.1)))
        changes.sort(key=lambda each: each.sent)


def _answer(
    reader: str,
    record: RecordId,
    sent: datetime,
    status: int,
    suggestions: Iterable[str] = (),
    tracked: Iterable[tuple[str, Entry]] = (),
) -> Answer:
    return Answer(
        reader,
        record,
        sent,
        sent,
        status,
        tuple((item, "untracked") for item in suggestions),
        tuple(TrackedTile(activity, (each,)) for activity, each in tracked),
    )
