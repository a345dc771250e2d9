"""Small histories of one mailbox, and what was published of them, for the tests of the judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from scenarios.chaos.judge import Evidence, FaultKind, Verdict, judge, judge_one_reading
from scenarios.chaos.normaliser import Owner
from scenarios.chaos.timelines import ItemId, timelines
from scenarios.chaos.topic_log import Published, Reading, TopicLog
from shared.events import Activity

ANN, BEN = "ann", "ben"
OWNERS = {name: Owner("t", name, frozenset({f"{name}@contoso.example"})) for name in (ANN, BEN)}
BEGAN = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
FOLDERS = {
    "kind": "folders",
    "parents": {"root": "root", "inbox": "root", "sent": "root", "junk": "root", "bin": "root", "old": "bin"},
    "well_known": {
        "msgfolderroot": "root",
        "inbox": "inbox",
        "sentitems": "sent",
        "junkemail": "junk",
        "deleteditems": "bin",
    },
}


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def message(**changes: Any) -> dict[str, Any]:
    """A message of Carla in Ann's Inbox, in the simulator's terms."""
    return {
        "kind": "message",
        "folder": "inbox",
        "draft": False,
        "about_meeting": False,
        "subject": "Renewal",
        "message_id": "<1@fabrikam.example>",
        "sent": at(0).isoformat(),
        "received": at(1).isoformat(),
        "from": ["Carla", "carla@fabrikam.example"],
        "to": [["Ann", "ann@contoso.example"]],
        "cc": [],
        "sensitivity": "normal",
        "conversation": "c1",
        "link": "https://outlook.example/1",
        **changes,
    }


def meeting(**changes: Any) -> dict[str, Any]:
    """A single meeting, in the simulator's terms."""
    occurrence = {
        "item": "m1",
        "uid": "uid1",
        "original_start": None,
        "subject": "Kick-off",
        "start": at(3600).isoformat(),
        "end": at(7200).isoformat(),
        "all_day": False,
        "cancelled": False,
        "sensitivity": "normal",
        "organizer": ["Carla", "carla@fabrikam.example"],
        "attendees": [["required", "Ann", "ann@contoso.example"], ["resource", "Room", "room@x.example"]],
        "link": "https://outlook.example/m1",
        **changes,
    }
    return {"kind": "event", "occurrences": [occurrence]}


def email(**changes: Any) -> Activity:
    """The activity of `message`."""
    return Activity(
        **{
            "tenant": "t",
            "mailbox": ANN,
            "item": "e1",
            "kind": "email",
            "identity": "i1",
            "subject": "Renewal",
            "participants": [
                {"role": "from", "address": "carla@fabrikam.example", "name": "Carla"},
                {"role": "to", "address": "ann@contoso.example", "name": "Ann"},
            ],
            "direction": "incoming",
            "at": at(1),
            "visible_from": at(1),
            "visible_until": at(1) + timedelta(days=3),
            "sent_at": at(0),
            "received_at": at(1),
            "internet_message_id": "<1@fabrikam.example>",
            "conversation": "c1",
            "web_link": "https://outlook.example/1",
            **changes,
        }
    )


def appointment(**changes: Any) -> Activity:
    """The activity of `meeting`."""
    return Activity(
        **{
            "tenant": "t",
            "mailbox": ANN,
            "item": "m1",
            "kind": "meeting",
            "identity": "im1",
            "subject": "Kick-off",
            "participants": [
                {"role": "organizer", "address": "carla@fabrikam.example", "name": "Carla"},
                {"role": "required", "address": "ann@contoso.example", "name": "Ann"},
            ],
            "at": at(3600),
            "visible_from": at(3600) - timedelta(days=3),
            "visible_until": at(7200) + timedelta(days=3),
            "start": at(3600),
            "end": at(7200),
            "ical_uid": "uid1",
            "web_link": "https://outlook.example/m1",
            **changes,
        }
    )


@dataclass
class Story:
    """What happened, by seconds since the beginning; Ann's window is read every ten seconds for a minute."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    log: TopicLog = field(default_factory=TopicLog)
    obstructed: dict[ItemId, Sequence[datetime]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for mailbox in OWNERS:
            self.happens(0, "", FOLDERS, mailbox)
            self.log.readings[mailbox] = [Reading(at(each), at(each + 1), 0) for each in range(10, 61, 10)]

    def happens(self, seconds: float, item: str, state: Mapping[str, Any] | None, mailbox: str = ANN) -> None:
        """An item has a new state in the simulator; None: it is deleted."""
        self.entries.append({"at": at(seconds).isoformat(), "mailbox": mailbox, "item": item, "state": state})

    def publishes(
        self,
        seconds: float,
        activity: Activity | None,
        item: str = "e1",
        mailbox: str = ANN,
        version: int | None = None,
    ) -> None:
        """A message on `activities`; None: a tombstone."""
        version = version or int(at(seconds).timestamp() * 1_000_000)
        self.log.items[mailbox, item].append(Published(at(seconds), version, activity))

    @property
    def evidence(self) -> Evidence:
        known_for = timedelta(minutes=1)
        return Evidence(timelines(self.entries, OWNERS), self.log, self.obstructed, known_for)

    def judge(self) -> Verdict:
        return judge(self.evidence, OWNERS, at(30), at(70))

    def faults(self) -> list[FaultKind]:
        """The kinds of the findings."""
        return [each.kind for each in self.judge().findings]

    def faults_after_one_reading(self, since: float) -> list[FaultKind]:
        return [each.kind for each in judge_one_reading(self.evidence, at(since)).findings]
