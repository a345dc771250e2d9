"""Changes of meetings, chosen by a seeded generator: booked, moved, cancelled, deleted; series; the clock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from simulator.control.client import TenantControl

from .mail_changes import OUTSIDERS, SENSITIVITIES, THREE_DAYS, WORDS

RULES = {
    "FREQ=DAILY;COUNT=9": (1, 9),
    "FREQ=WEEKLY;COUNT=6": (7, 6),
    "FREQ=DAILY;INTERVAL=2;COUNT=5": (2, 5),
    "FREQ=DAILY": (1, 9),
}
"""Rule -> the days between two occurrences, and the number of those that changes may name."""
LENGTHS = (timedelta(minutes=30), timedelta(hours=1), timedelta(hours=25))


@dataclass(slots=True)
class KnownMeeting:
    """A meeting that changes may name.

    Attributes:
        owners: the mailboxes that still have a copy, the organizer's first where it is one of ours.
        originals: of a series, the original starts that are neither cancelled nor deleted anywhere.
    """

    uid: str
    start: datetime
    length: timedelta
    owners: list[str]
    originals: list[datetime] = field(default_factory=list)
    is_series: bool = False
    all_day: bool = False


@dataclass
class MeetingChanges:
    """The meetings of the mailboxes, and what may happen to them; see `MailChanges`."""

    tenant: TenantControl
    random: Random
    users: dict[str, str]
    lifetime: tuple[float, float]
    known: list[KnownMeeting] = field(default_factory=list)
    number: int = 0

    def table(self) -> dict[str, tuple[int, Callable[[], bool]]]:
        """Name of a change -> its weight, and the change; it returns False when it is impossible now."""
        return {
            "meeting booked": (6, self.book),
            "meeting booked outside the window": (1, self.book_outside),
            "meeting that enters by the clock": (2, self.book_entering),
            "meeting about to expire": (1, self.book_expiring),
            "meeting edited": (3, self.edit),
            "meeting moved in time": (3, self.reschedule),
            "meeting moved out of the window or back": (2, self.move_far),
            "meeting attendees changed": (3, self.change_attendees),
            "meeting answered": (2, self.respond),
            "meeting cancelled": (2, self.cancel),
            "meeting deleted": (2, self.delete),
            "series booked": (2, self.book_series),
            "occurrence changed": (2, self.change_occurrence),
            "occurrence moved far": (1, self.move_occurrence_far),
            "occurrence cancelled": (1, self.cancel_occurrence),
            "occurrence deleted": (1, self.delete_occurrence),
        }

    # bookings

    def book(self) -> bool:
        start = _now() + timedelta(hours=self.random.uniform(-60, 60))
        self._book(start, all_day=self.random.random() < 0.1)
        return True

    def book_outside(self) -> bool:
        self._book(_now() + timedelta(days=self.random.choice([-6, 4, 5, 40])))
        return True

    def book_entering(self) -> bool:
        """A meeting a little outside the window, which the clock alone lets in."""
        self._book(_now() + THREE_DAYS + self._soon())
        return True

    def book_expiring(self) -> bool:
        length = timedelta(minutes=30)
        self._book(_now() - THREE_DAYS - length + self._soon(), length=length)
        return True

    def book_series(self) -> bool:
        start = _now() + timedelta(hours=self.random.uniform(-100, 30))
        rule, (days, count) = self.random.choice(list(RULES.items()))
        meeting = self._book(start, length=timedelta(minutes=30), rule=rule)
        meeting.is_series = True
        meeting.originals = [meeting.start + timedelta(days=days) * number for number in range(count)]
        return True

    # changes of whole meetings

    def edit(self) -> bool:
        meeting = self._choose(self.known)
        if meeting is None:
            return False
        changes = self.random.choice(
            [{"subject": self._subject()}, {"location": "Stockholm"}, {"sensitivity": self._sensitivity()}]
        )
        self.tenant.change_meeting(meeting.uid, **changes)
        return True

    def reschedule(self) -> bool:
        return self._reschedule(timedelta(hours=self.random.uniform(-30, 30)))

    def move_far(self) -> bool:
        return self._reschedule(timedelta(days=self.random.choice([-8, -4, 4, 30])))

    def change_attendees(self) -> bool:
        meeting = self._choose([each for each in self.known if not each.is_series])
        if meeting is None:
            return False
        changed = self.tenant.change_meeting(
            meeting.uid, attendees=self._attendees(), optional=[self.random.choice(OUTSIDERS)]
        )
        self._update_owners(meeting, changed)
        return True

    def respond(self) -> bool:
        meeting = self._choose([each for each in self.known if len(each.owners) > 1])
        if meeting is None:
            return False
        answer = self.random.choice(["accepted", "tentativelyAccepted", "declined"])
        self.tenant.respond(self.random.choice(meeting.owners[1:]), meeting.uid, answer)
        return True

    def cancel(self) -> bool:
        meeting = self._choose(self.known)
        if meeting is None:
            return False
        self.known.remove(meeting)
        self.tenant.cancel(meeting.uid)
        return True

    def delete(self) -> bool:
        """Delete one owner's copy; the organizer's is cancelled instead."""
        meeting = self._choose([each for each in self.known if len(each.owners) > 1])
        if meeting is None:
            return False
        mailbox = self.random.choice(meeting.owners[1:])
        meeting.owners.remove(mailbox)
        self.tenant.delete_event(mailbox, meeting.uid)
        return True

    # changes of occurrences

    def change_occurrence(self) -> bool:
        found = self._choose_occurrence()
        if found is None:
            return False
        meeting, original = found
        hours = timedelta(hours=self.random.choice([0, 1, -2]))
        start = original + hours
        self.tenant.change_meeting(
            meeting.uid,
            original_start=original.isoformat(),
            start=start.isoformat(),
            end=(start + meeting.length).isoformat(),
            subject=self._subject(),
        )
        return True

    def move_occurrence_far(self) -> bool:
        found = self._choose_occurrence()
        if found is None:
            return False
        meeting, original = found
        start = original + timedelta(days=self.random.choice([-20, 20]))
        self.tenant.change_meeting(
            meeting.uid,
            original_start=original.isoformat(),
            start=start.isoformat(),
            end=(start + meeting.length).isoformat(),
        )
        return True

    def cancel_occurrence(self) -> bool:
        found = self._choose_occurrence()
        if found is None:
            return False
        meeting, original = found
        meeting.originals.remove(original)
        self.tenant.cancel(meeting.uid, original.isoformat())
        return True

    def delete_occurrence(self) -> bool:
        """Delete an occurrence in one owner's calendar."""
        found = self._choose_occurrence()
        if found is None:
            return False
        meeting, original = found
        meeting.originals.remove(original)
        self.tenant.delete_event(self.random.choice(meeting.owners), meeting.uid, original.isoformat())
        return True

    # parts

    def _book(self, start: datetime, **properties: Any) -> KnownMeeting:
        length = properties.pop("length", None) or self.random.choice(LENGTHS)
        start, all_day = start.replace(microsecond=0), bool(properties.get("all_day"))
        if all_day:
            start, length = start.replace(hour=0, minute=0, second=0), timedelta(days=1)
        organizer = self._user() if self.random.random() < 0.7 else None
        booked = self.tenant.book(
            {"name": "Organizer", "address": self.users[organizer]}
            if organizer
            else self.random.choice(OUTSIDERS),
            self._attendees(),
            start.isoformat(),
            end=(start + length).isoformat(),
            optional=[self.random.choice(OUTSIDERS)],
            subject=self._subject(),
            sensitivity=self._sensitivity(),
            **properties,
        )
        meeting = KnownMeeting(booked["uid"], start, length, [], all_day=all_day)
        self._update_owners(meeting, booked)
        self.known.append(meeting)
        return meeting

    def _reschedule(self, by: timedelta) -> bool:
        meeting = self._choose([each for each in self.known if not (each.is_series or each.all_day)])
        if meeting is None:
            return False
        meeting.start += timedelta(seconds=by // timedelta(seconds=1))
        end = meeting.start + meeting.length
        self.tenant.change_meeting(meeting.uid, start=meeting.start.isoformat(), end=end.isoformat())
        return True

    def _update_owners(self, meeting: KnownMeeting, changed: dict[str, Any]) -> None:
        copies = sorted(changed["copies"], key=lambda copy: not copy["is_organizer"])
        meeting.owners = [copy["mailbox"] for copy in copies]

    def _choose(self, meetings: list[KnownMeeting]) -> KnownMeeting | None:
        """A meeting that somebody has, mostly one of the latest."""
        having = [each for each in meetings if each.owners]
        recent = having[-20:] if self.random.random() < 0.5 else having
        return self.random.choice(recent) if recent else None

    def _choose_occurrence(self) -> tuple[KnownMeeting, datetime] | None:
        meeting = self._choose([each for each in self.known if each.originals])
        return (meeting, self.random.choice(meeting.originals)) if meeting else None

    def _attendees(self) -> list[Any]:
        number = min(self.random.randint(1, 3), len(self.users))
        users = [self.users[each] for each in self.random.sample(list(self.users), number)]
        return [*users, self.random.choice(OUTSIDERS)]

    def _soon(self) -> timedelta:
        return timedelta(seconds=int(self.random.uniform(*self.lifetime)))

    def _user(self) -> str:
        return self.random.choice(list(self.users))

    def _sensitivity(self) -> str:
        return self.random.choice(SENSITIVITIES)

    def _subject(self) -> str:
        self.number += 1
        return f"Meeting {self.random.choice(WORDS)} {self.number}"


def _now() -> datetime:
    """The time in whole seconds, as Exchange has it."""
    return datetime.now(UTC).replace(microsecond=0)
