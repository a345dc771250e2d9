"""Archives of mail and meetings: loaded whole, moved to the present, released bit by bit.

The dates of an archive are mapped by their rank: the order stays, the times become recent.
"""

import gzip
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import orjson

from simulator.state import ids, meetings, recurrence
from simulator.state import mail_delivery as postoffice
from simulator.state.items import Mail, Meeting
from simulator.state.tenants import Tenant, User
from simulator.state.world import World

from . import calendars, mime
from .mime import Parsed

MAIL_FROM, MAIL_UNTIL = timedelta(hours=-48), timedelta(hours=-1)
MEETINGS_FROM, MEETINGS_UNTIL = timedelta(hours=-48), timedelta(hours=48)
"""Where the first and the last of an archive come to lie, seen from the moment of loading."""

DELIVERED_IN = timedelta(seconds=2)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Waiting:
    """One mailbox of an archive: its user, what is not released yet, and what was."""

    name: str
    user: User
    items: deque[Mail | Meeting] = field(default_factory=deque)
    messages: int = 0
    meetings: int = 0
    released: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For the control API; `name` is the archive's, `oid` the directory's."""
        return {
            "name": self.name,
            "oid": self.user.oid,
            "address": self.user.address,
            "upn": self.user.upn,
            "messages": self.messages,
            "meetings": self.meetings,
            "released": self.released,
            "remaining": len(self.items),
        }


@dataclass(frozen=True, slots=True)
class Read:
    """An archive as it was read: contents by mailbox, addresses that are a mailbox's own."""

    mail: Mapping[str, list[Mail]]
    meetings: Mapping[str, list[Meeting]]
    addresses: Mapping[str, tuple[str, ...]]
    oddities: Mapping[str, int]


class Archive:
    """The archives of one tenant, mailbox by mailbox."""

    def __init__(self, world: World, tenant: Tenant) -> None:
        self._world = world
        self._tenant = tenant
        self.mailboxes: dict[str, Waiting] = {}

    def add(self, read: Read) -> None:
        """Make the users of what was read, and let its items wait."""
        with self._world.lock:
            self._world.counters.oddities.update(read.oddities)
            for name in sorted({*read.mail, *read.meetings, *read.addresses}):
                waiting = self._mailbox(name, read.addresses.get(name, ()))
                mails, events = read.mail.get(name, []), read.meetings.get(name, [])
                waiting.messages += len(mails)
                waiting.meetings += len(events)
                waiting.items.extend(_merged(mails, events))

    def release(self, mailbox: str | None = None, count: int | None = None) -> int:
        """Let the next items of a mailbox, or of all, into the mailbox; how many they were."""
        chosen = [self._find(mailbox)] if mailbox else list(self.mailboxes.values())
        released = 0
        for waiting in chosen:
            for _ in range(len(waiting.items) if count is None else min(count, len(waiting.items))):
                self._release(waiting, waiting.items.popleft())
                released += 1
        return released

    def _release(self, waiting: Waiting, item: Mail | Meeting) -> None:
        user = waiting.user
        if user.mailbox is None:
            raise LookupError(f"{waiting.name} has no mailbox")
        waiting.released += 1
        own = {a.lower() for a in (user.address, *user.other_addresses)}
        origin = item.origin if isinstance(item, Mail) else item.organizer
        mine = origin is not None and origin.address.lower() in own
        if isinstance(item, Mail):
            received = item.sent if mine else item.sent + DELIVERED_IN
            folder = "sentitems" if mine else "inbox"
            postoffice.put(self._world, user.mailbox, item, folder, received)
        else:
            meetings.put(self._world, user.mailbox, item, is_organizer=mine)

    def _find(self, name: str) -> Waiting:
        for waiting in self.mailboxes.values():
            if name in (waiting.name, waiting.user.oid, waiting.user.upn):
                return waiting
        raise LookupError(f"no mailbox {name} in the archive")

    def _mailbox(self, name: str, addresses: tuple[str, ...]) -> Waiting:
        if name not in self.mailboxes:
            oid = ids.object_id(self._tenant.id, name)
            user = self._tenant.users.get(oid)
            if user is None:
                upn = name if "@" in name else f"{name}@{self._tenant.domain}"
                user = self._world.add_user(
                    self._tenant,
                    addresses[0] if addresses else upn,
                    name=name,
                    oid=oid,
                    upn=upn,
                    other_addresses=addresses[1:],
                )
            self.mailboxes[name] = Waiting(name, user)
        return self.mailboxes[name]


def read(mail: Path | None, events: Path | None, now: datetime) -> Read:
    """Everything in a folder of mail and in a folder of calendars, moved to around `now`.

    Takes a while and changes nothing. FileNotFoundError where a folder is not there.
    """
    oddities: Counter[str] = Counter()
    return Read(
        mail={} if mail is None else _read_mail(_folder(mail), now, oddities),
        meetings={} if events is None else _read_meetings(_folder(events), now, oddities),
        addresses={} if mail is None else _own_addresses(mail),
        oddities=oddities,
    )


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}")
    return path


# mail


def _read_mail(folder: Path, now: datetime, oddities: Counter[str]) -> dict[str, list[Mail]]:
    owners = _Owners(folder)
    found: list[tuple[Parsed, str, list[str]]] = []
    for source, raw, quoted in _messages(folder):
        parsed = mime.parse(raw, quoted=quoted)
        found.append((parsed, _identity(parsed, raw), owners.of(parsed) or [source]))
        oddities["further From addresses"] += max(0, len(parsed.origin) - 1)
        oddities["messages without Message-ID"] += parsed.internet_message_id is None
        oddities["messages without a date"] += parsed.date is None
        oddities["messages without From"] += not parsed.origin
    dates: dict[str, datetime] = {}
    for parsed, identity, _ in found:
        dates.setdefault(identity, parsed.date or _LONG_AGO)
    sent = _by_rank(dates, now + MAIL_FROM, now + MAIL_UNTIL)
    boxes: defaultdict[str, list[Mail]] = defaultdict(list)
    for parsed, identity, names in found:
        mail = _mail(parsed, sent[identity])
        for name in names:
            boxes[name].append(mail)
    for mails in boxes.values():
        mails.sort(key=lambda m: m.sent)
    return boxes


def _messages(folder: Path) -> Iterator[tuple[str, bytes, bool]]:
    """Each message with the mailbox that its file names, and whether it comes from an mbox."""
    for path in sorted(folder.iterdir()):
        name = path.name.removesuffix(".gz")
        if name.endswith(".mbox"):
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            for message in split_mbox(raw):
                yield name.removesuffix(".mbox"), message, True
        elif path.name.endswith(".eml"):
            yield folder.name, path.read_bytes(), False


def split_mbox(raw: bytes) -> Iterator[bytes]:
    """The messages of an mbox, without their `From ` lines."""
    raw = raw.replace(b"\r\n", b"\n") if raw.startswith(b"From ") and b"\r\n" in raw[:500] else raw
    start = 0
    while start < len(raw):
        end = raw.find(b"\n\nFrom ", start)
        part = raw[start:] if end < 0 else raw[start : end + 1]
        line, _, message = part.partition(b"\n")
        if line.startswith(b"From ") or message:
            yield message if line.startswith(b"From ") else part
        if end < 0:
            return
        start = end + 2


class _Owners:
    """Whose mailboxes a message lies in, by the index beside the archive, if there is one."""

    def __init__(self, folder: Path) -> None:
        self._by_id: defaultdict[str, deque[list[str]]] = defaultdict(deque)
        self._by_file: dict[str, list[str]] = {}
        for row in _lines(folder, "index.jsonl"):
            if isinstance(row.get("owners"), list):
                self._by_file[str(row.get("file") or "")] = row["owners"]
                self._by_id[str(row.get("id") or "").strip()].append(row["owners"])

    def of(self, parsed: Parsed) -> list[str] | None:
        if parsed.file and parsed.file in self._by_file:
            return self._by_file[parsed.file]
        rows = self._by_id.get(parsed.internet_message_id or "")
        if not rows:
            return None
        return rows.popleft() if len(rows) > 1 else rows[0]


def _lines(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.exists():
        raw = plain.read_bytes()
    elif packed.exists():
        raw = gzip.decompress(packed.read_bytes())
    else:
        return
    for line in raw.splitlines():
        if line.strip():
            yield orjson.loads(line)


def _own_addresses(folder: Path) -> dict[str, tuple[str, ...]]:
    path = folder / "mailboxes.json"
    if not path.exists():
        return {}
    known = orjson.loads(path.read_bytes())
    return {name: tuple(each.get("addresses") or ()) for name, each in known.items()}


def _identity(parsed: Parsed, raw: bytes) -> str:
    if parsed.internet_message_id is None:
        return ids.digest(raw).hex()
    origin = parsed.origin[0].address.lower() if parsed.origin else ""
    return f"{parsed.internet_message_id}\x1f{origin}\x1f{parsed.date}"


def _mail(parsed: Parsed, sent: datetime) -> Mail:
    return Mail(
        internet_message_id=parsed.internet_message_id,
        subject=parsed.subject,
        sent=sent,
        origin=parsed.origin[0] if parsed.origin else None,
        to=parsed.to,
        cc=parsed.cc,
        bcc=parsed.bcc,
        reply_to=parsed.reply_to,
        sender=parsed.sender,
        body=parsed.body,
        importance=parsed.importance,
        sensitivity=parsed.sensitivity,
        has_attachments=parsed.has_attachments,
    )


# meetings


def _read_meetings(folder: Path, now: datetime, oddities: Counter[str]) -> dict[str, list[Meeting]]:
    boxes: dict[str, list[Meeting]] = {}
    for path in sorted(folder.glob("*.ics")):
        found, bad = calendars.read(path.read_bytes())
        boxes[path.name.removesuffix(".ics")] = found
        oddities["events left out"] += bad
    dates: dict[str, datetime] = {}
    for found in boxes.values():
        for meeting in found:
            dates.setdefault(meeting.uid, meeting.start)
    starts = _by_rank(dates, now + MEETINGS_FROM, now + MEETINGS_UNTIL)
    return {
        name: sorted((_moved(m, starts[m.uid]) for m in found), key=lambda m: m.start)
        for name, found in boxes.items()
    }


def _moved(meeting: Meeting, start: datetime) -> Meeting:
    """The meeting at another time, as long as it was; whole days begin at midnight."""
    start = start.replace(second=0)
    if meeting.all_day:
        start = datetime.combine(start.date(), time(), UTC)
    try:
        end = start + meeting.length
    except OverflowError:
        end = start
    pattern = meeting.recurrence
    if pattern is not None:
        pattern = recurrence.shifted(pattern, start - meeting.start)
    return replace(meeting, start=start, end=end, recurrence=pattern)


# dates


def _by_rank(dates: dict[str, datetime], first: datetime, last: datetime) -> dict[str, datetime]:
    """A new date for each key, evenly between two moments, in the order of the old ones."""
    ordered = sorted(dates, key=lambda key: dates[key])
    step = (last - first) / max(1, len(ordered) - 1)
    return {key: (first + n * step).replace(microsecond=0) for n, key in enumerate(ordered)}


def _merged(mails: list[Mail], events: list[Meeting]) -> Iterator[Mail | Meeting]:
    """Mail and meetings, each in its order, spread over one another."""
    placed: list[tuple[float, int, Mail | Meeting]] = [
        (n / len(mails), 0, mail) for n, mail in enumerate(mails)
    ]
    placed += [(n / len(events), 1, event) for n, event in enumerate(events)]
    placed.sort(key=lambda each: each[:2])
    return (item for _, _, item in placed)
