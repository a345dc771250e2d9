"""Payloads of Graph with values of every wrong type, and what is right for each, by no code of the service.

A field is drawn with its right value. The right value of a broken field is that of a missing one; the parts
of a list that are intact stay.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

HALF_PAIRS = ("\ud83d", "\udc00")
TEXTS = (
    "Offer",
    "Angebot für Ärzte",
    "\u202eright to left\u202c",
    "\U0001f680 start",
    "\x00\x01\x1f",
    "a" * 3000,
    "\U0001f680" * 500,
    "\ufeff\ufffe\uffff",
    "tab\tand\r\nline",
    '"quoted" \\ / </script>',
    "e\u0301",
)
WORDS = ("emailAddress", "address", "name", "id", "dateTime", "value", "@odata.type", "", "\ud800", "x")
HUGE_NUMBER = "a number that Python does not read"
SCALARS: tuple[tuple[Any, ...], ...] = (
    (None,),
    (True, False),
    (0, -1, 7, 10**400, HUGE_NUMBER, -(2**63)),
    (0.5, -0.0, 1e308, 5e-324),
    TEXTS,
    (*TEXTS, "", " "),
    (*HALF_PAIRS, "\ud83d\ud83d"),
    ([], {}, [[]], {"": {}}),
)
ZONES = {
    "UTC": "UTC",
    "tzone://Microsoft/Utc": "UTC",
    "Tokyo Standard Time": "Asia/Tokyo",
    "W. Europe Standard Time": "Europe/Berlin",
    "America/Sao_Paulo": "America/Sao_Paulo",
}
"""Name of a time zone in Graph -> IANA's."""
SURELY_WHOLE = 50_000
"""Characters of an activity that has less than 320 KiB, whatever its characters are: six bytes each."""
SENSITIVITIES = ("normal", "personal", "private", "confidential")
SENSITIVITY_PROPERTY = "Integer 0x36"
ROLES = {"required": "required", "optional": "optional", "resource": None}
DRAFT, MEETING_MAIL, UNKNOWN_FOLDER, NO_DATE = "draft", "meeting_mail", "unknown_folder", "no_date"
SERIES_MASTER, TIME_ZONE = "series_master", "time_zone_unknown"


@dataclass(frozen=True, slots=True)
class AnyPayload:
    """A payload and its right values.

    Attributes:
        fields: the payload.
        refused: why it is no activity; None: it is one.
        values: the right values of an activity, by the names of its fields. Participants are lists of
            (role, address, name).
    """

    fields: dict[str, Any]
    refused: str | None
    values: dict[str, Any]

    @property
    def text(self) -> str:
        """The payload as JSON, in ASCII: half surrogate pairs are escaped."""
        return json.dumps(self.fields, allow_nan=False).replace(f'"{HUGE_NUMBER}"', "9" * 5000)


Drawn = tuple[Any, Any]
"""The JSON of a field, and its right value. `MISSING` is no JSON."""
MISSING = object()


class AnyPayloads:
    """Draws payloads; the same seed draws the same ones.

    Args:
        seed: of the generator.
        now: items are live at this time and some days around it.
        damage: the share of the fields that are broken.
    """

    def __init__(self, seed: int, now: datetime, damage: float = 0.25) -> None:
        self._random = random.Random(seed)
        self._now = now.replace(microsecond=0)
        self._damage = damage

    # -- items ------------------------------------------------------------------------------------

    def message(self, *, folder: str | None, refused: bool = True) -> AnyPayload:
        """A message.

        Args:
            folder: the id of a live folder; None: the payload has none.
            refused: some are no activities.
        """
        drawn: dict[str, Drawn] = {
            "subject": self._text(default="", is_cut=True),
            "receivedDateTime": self._time(),
            "sentDateTime": self._time(),
            "internetMessageId": self._text(),
            "conversationId": self._text(),
            "webLink": self._text(),
            "from": self._maybe_person("from"),
            "toRecipients": self._people("to"),
            "ccRecipients": self._people("cc"),
            "bccRecipients": self._people("bcc"),
            "isDraft": self._broken_or(False, False, wrong_if=bool),
            "changeKey": self._text(),
            "@odata.etag": self._text(),
            "singleValueExtendedProperties": self._extended(),
        }
        if not drawn["receivedDateTime"][1] and not drawn["sentDateTime"][1] and not self._chance(0.1):
            drawn["receivedDateTime"] = self._intact_time()
        reason = self._reason({DRAFT: 0.02, MEETING_MAIL: 0.02, UNKNOWN_FOLDER: 0.02}) if refused else None
        if reason == DRAFT:
            drawn["isDraft"] = True, True
        if reason == MEETING_MAIL:
            drawn["@odata.type"] = "#microsoft.graph.eventMessageRequest", None
        if folder is not None:
            drawn["parentFolderId"] = (self._any(avoid=folder) if reason == UNKNOWN_FOLDER else folder), None
        received, sent = drawn["receivedDateTime"][1], drawn["sentDateTime"][1]
        if not received and not sent:
            if refused:
                reason = reason or NO_DATE
            else:
                drawn["receivedDateTime"] = self._intact_time()
                received = drawn["receivedDateTime"][1]
        values = {
            "kind": "email",
            "subject": drawn["subject"][1],
            "at": received or sent,
            "received_at": received,
            "sent_at": sent,
            "internet_message_id": drawn["internetMessageId"][1],
            "conversation": drawn["conversationId"][1],
            "web_link": drawn["webLink"][1],
            "direction": "incoming",
            "participants": [
                *drawn["from"][1],
                *drawn["toRecipients"][1],
                *drawn["ccRecipients"][1],
            ],
            "sensitivity": drawn["singleValueExtendedProperties"][1],
        }
        return AnyPayload(self._fields(drawn), reason, values)

    def event(self, *, refused: bool = True) -> AnyPayload:
        """A meeting, or an occurrence of a series."""
        all_day = self._broken_or(self._chance(0.2), False, wrong_if=lambda value: isinstance(value, bool))
        start = self._now + timedelta(minutes=self._random.randrange(-2000, 2000))
        drawn: dict[str, Drawn] = {
            "subject": self._text(default="", is_cut=True),
            "organizer": self._maybe_person("organizer"),
            "attendees": self._attendees(),
            "isAllDay": all_day,
            "isCancelled": self._broken_or(
                self._chance(0.5), False, wrong_if=lambda value: isinstance(value, bool)
            ),
            "isDraft": (self._any(), None),
            "sensitivity": self._sensitivity(),
            "iCalUId": self._text(),
            "webLink": self._text(),
            "originalStart": self._time(),
            "seriesMasterId": self._text(),
            "changeKey": self._text(),
            "start": self._zoned(start, whole_day=all_day[1]),
            "end": self._zoned(start + timedelta(hours=1), whole_day=all_day[1]),
            "type": self._random.choice(
                [
                    ("singleInstance", False),
                    ("occurrence", True),
                    ("exception", True),
                    (MISSING, False),
                    (7, False),
                ]
            ),
        }
        if not drawn["start"][1] and not drawn["end"][1] and not (refused and self._chance(0.1)):
            drawn["start"] = self._zoned(start, whole_day=all_day[1], intact=True)
        reason = self._reason({SERIES_MASTER: 0.02, TIME_ZONE: 0.02}) if refused else None
        if reason == SERIES_MASTER:
            drawn["type"] = "seriesMaster", False
        if reason == TIME_ZONE and not all_day[1]:
            drawn["start"] = {"dateTime": "2026-11-24T14:00:00", "timeZone": "Mars Standard Time"}, None
        elif reason == TIME_ZONE:
            reason = None
        begins, ends = drawn["start"][1] or drawn["end"][1], drawn["end"][1] or drawn["start"][1]
        if reason is None and begins is None:
            reason = NO_DATE
        values = {
            "kind": "meeting",
            "subject": drawn["subject"][1],
            "at": begins,
            "start": begins,
            "end": ends,
            "all_day": all_day[1],
            "cancelled": drawn["isCancelled"][1],
            "sensitivity": drawn["sensitivity"][1],
            "ical_uid": drawn["iCalUId"][1],
            "web_link": drawn["webLink"][1],
            "original_start": (drawn["originalStart"][1] or begins) if drawn["type"][1] else None,
            "direction": None,
            "participants": [*drawn["organizer"][1], *drawn["attendees"][1]],
        }
        return AnyPayload(self._fields(drawn), reason, values)

    def _fields(self, drawn: dict[str, Drawn]) -> dict[str, Any]:
        fields = [(name, value) for name, (value, _) in drawn.items() if value is not MISSING]
        fields += [
            (f"{self._random.choice(WORDS)}-{number}", self._any())
            for number in range(self._random.choice((0, 0, 1, 3)))
        ]
        self._random.shuffle(fields)
        return dict(fields)

    def _reason(self, shares: dict[str, float]) -> str | None:
        return next((reason for reason, share in shares.items() if self._chance(share)), None)

    # -- fields -----------------------------------------------------------------------------------

    def _text(self, default: str | None = None, *, is_cut: bool = False) -> Drawn:
        """A text; one that an activity may have in part is very long at times."""
        if self._chance(self._damage):
            return self._wrong(str, default)
        text = self._random.choice(TEXTS) + str(self._random.randrange(10**6))
        if is_cut and self._chance(self._damage / 200):
            text *= self._random.choice((100, 20_000 // len(text) * 20))
        if self._chance(0.1):
            broken = self._random.choice(HALF_PAIRS)
            return f"{broken}{text}{broken}", f"\ufffd{text}\ufffd"
        return text, text

    def _broken_or(self, value: Any, default: Any, *, wrong_if: Callable[[Any], bool]) -> Drawn:
        if not self._chance(self._damage):
            return value, value
        broken = self._any_or_missing()
        return (
            (broken, default)
            if broken is MISSING or not wrong_if(broken) or broken is False
            else (MISSING, default)
        )

    def _wrong(self, right_type: type, default: Any) -> Drawn:
        """A value of another type, or none."""
        value = self._any_or_missing()
        while isinstance(value, right_type) and value:
            value = self._any_or_missing()
        return value, default

    def _time(self) -> Drawn:
        if self._chance(self._damage):
            value = self._random.choice(
                [
                    "soon",
                    "2026-13-45T99:99:99Z",
                    "0001-01-01T00:00:00Z",
                    "",
                    "24:00",
                    "2026",
                    "\ud83d",
                    "9" * 500,
                    self._any_or_missing(),
                ]
            )
            # A text of any other kind would be a right time by chance.
            return (MISSING if isinstance(value, str) and value == "2026" else value), None
        return self._intact_time()

    def _intact_time(self) -> Drawn:
        time = self._now - timedelta(seconds=self._random.randrange(60, 2 * 86400))
        shown = self._random.choice(
            (
                time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                time.strftime("%Y-%m-%dT%H:%M:%S.0000000Z"),
                time.strftime("%Y-%m-%dT%H:%M:%S"),
                time.astimezone(ZoneInfo("Asia/Kolkata")).isoformat(),
                time.astimezone(ZoneInfo("America/St_Johns")).isoformat(),
            )
        )
        return shown, time

    def _zoned(self, time: datetime, *, whole_day: bool, intact: bool = False) -> Drawn:
        if not intact and self._chance(self._damage / 2):
            part = self._random.choice(
                [
                    self._wrong(dict, None)[0],
                    {"dateTime": self._wrong(str, None)[0], "timeZone": "UTC"},
                    {"timeZone": "UTC"},
                    {"dateTime": "soon", "timeZone": "UTC"},
                    {},
                ]
            )
            if isinstance(part, dict) and part.get("dateTime") is MISSING:
                part = {}
            return part, None
        if whole_day:
            day = time.replace(hour=0, minute=0, second=0)
            return {"dateTime": day.strftime("%Y-%m-%dT%H:%M:%S.0000000"), "timeZone": "UTC"}, day
        name = self._random.choice(list(ZONES))
        local = time.astimezone(ZoneInfo(ZONES[name])).replace(tzinfo=None)
        zone = self._random.choice([name, name, name, MISSING, None, 5]) if name == "UTC" else name
        part = {"dateTime": local.isoformat() + self._random.choice(("", ".0000000")), "timeZone": zone}
        if zone is MISSING:
            del part["timeZone"]
        return part, time

    def _sensitivity(self) -> Drawn:
        if self._chance(self._damage):
            return self._random.choice(["secret", *[self._wrong(str, None)[0]] * 3]), "normal"
        value = self._random.choice(SENSITIVITIES)
        return self._random.choice((value, value.upper())), value

    def _extended(self) -> Drawn:
        if self._chance(self._damage):
            return self._wrong(list, None)[0], "normal"
        number = self._random.randrange(4)
        entry = {"id": self._random.choice((SENSITIVITY_PROPERTY, "integer 0X36")), "value": str(number)}
        parts = [*[self._no_object() for _ in range(self._random.choice((0, 0, 2)))], entry]
        return parts, SENSITIVITIES[number]

    # -- people -----------------------------------------------------------------------------------

    def _maybe_person(self, role: str) -> Drawn:
        entry, right = self._person(role)
        return entry, right

    def _people(self, role: str) -> Drawn:
        if self._chance(self._damage / 3):
            return self._wrong(list, None)[0], []
        count = self._count()
        drawn = [self._person(role) for _ in range(count)]
        return [entry for entry, _ in drawn if entry is not MISSING], [
            each for _, right in drawn for each in right
        ]

    def _attendees(self) -> Drawn:
        if self._chance(self._damage / 3):
            return self._wrong(list, None)[0], []
        entries, right = [], []
        for _ in range(self._count()):
            kind = self._random.choice(list(ROLES))
            shown = self._random.choice((kind, kind.title()))
            role = ROLES[kind]
            if self._chance(self._damage):
                shown = self._random.choice([self._wrong(str, None)[0], "chair", ""])
                role = "required"
            entry, people = self._person(role or "resource")
            if isinstance(entry, dict):
                entry["type"] = shown
                if shown is MISSING:
                    del entry["type"]
            if entry is not MISSING:
                entries.append(entry)
                right += people if role else []
        return entries, right

    def _count(self) -> int:
        return 1000 if self._chance(self._damage / 500) else self._random.choice((0, 1, 1, 2, 3, 20))

    def _person(self, role: str) -> tuple[Any, list[tuple[str, str, str | None]]]:
        """An entry, and its role, address and name; nothing where the address is broken."""
        address = self._random.choice(
            ("ann{}@fabrikam.com", "ö{}@müller.example", "/O=EX/CN={}", "\x01{}@x", "{}")
        )
        address = address.format(self._random.randrange(10**6))
        name, right_name = self._text(is_cut=True)
        if self._chance(self._damage / 2):
            broken = self._random.choice(
                [
                    self._no_object(),
                    MISSING,
                    {"emailAddress": self._no_object()},
                    {"emailAddress": {"name": "Ann"}},
                    {"emailAddress": {"address": self._random.choice([None, "", "  ", 7, [], {}, True])}},
                    {},
                ]
            )
            return broken, []
        shown = address
        if self._chance(0.05):
            shown, address = f"{address}\ud83d", f"{address}\ufffd"
        email = {"address": shown, "name": name, f"x{self._random.randrange(9)}": self._any()}
        if name is MISSING:
            del email["name"]
        return {"emailAddress": email, "status": self._any()}, [(role, address, right_name)]

    # -- any JSON ---------------------------------------------------------------------------------

    def _no_object(self) -> Any:
        value = self._any()
        return [value] if isinstance(value, dict) else value

    def _any_or_missing(self) -> Any:
        return MISSING if self._chance(0.2) else self._any()

    def _any(self, depth: int = 3, avoid: Any = None) -> Any:
        """Any JSON, but `avoid`."""
        choice = self._random.randrange(12 if depth else 8)
        if choice < 8:
            value = self._random.choice(SCALARS[choice])
            return None if value == avoid else value
        if choice == 8:
            return self._nested(self._random.choice((2, 50)))
        parts = [self._any(depth - 1) for _ in range(self._random.randrange(4))]
        return parts if choice == 9 else {self._random.choice(WORDS): part for part in parts}

    def _nested(self, depth: int) -> Any:
        value: Any = None
        for level in range(depth):
            value = [value] if level % 2 else {"emailAddress": value}
        return value

    def _chance(self, share: float) -> bool:
        return self._random.random() < share


def differences(payload: AnyPayload, activity: dict[str, Any]) -> list[str]:
    """What an activity, as JSON, has other than it should. Subject and names of a large one may be cut."""
    is_cut = len(json.dumps(payload.values, default=str, ensure_ascii=False)) > SURELY_WHOLE
    found = []
    for name, right in payload.values.items():
        value = activity.get(name)
        if name == "participants":
            value = [(each["role"], each["address"], each.get("name")) for each in value or ()]
        elif isinstance(right, datetime):
            value = datetime.fromisoformat(value).astimezone(UTC) if value else None
        if value != right and not (is_cut and _is_cut_from(value, right)):
            found.append(f"{name}: {value!r} is not {right!r}")
    return found


def _is_cut_from(value: Any, right: Any) -> bool:
    """Whether a subject is the begin of the right one, or participants have the right addresses."""
    if isinstance(right, str):
        return isinstance(value, str) and right.startswith(value)
    if not isinstance(right, list) or len(value) != len(right):
        return False
    pairs = list(zip(value, right, strict=True))
    return all(one[:2] == other[:2] and (other[2] or "").startswith(one[2] or "") for one, other in pairs)
