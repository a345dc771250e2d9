"""Reads an archive of mail and meetings, and shifts its dates to the present.

Dates are mapped by rank: the order stays the same, the times become recent.
"""

import gzip
from codecs import BOM_UTF8
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import orjson

from simulator.state import ids, recurrence
from simulator.state.items import Mail, Meeting

from . import calendars, mime
from .mime import ParsedMessage

MAIL_FROM, MAIL_UNTIL = timedelta(hours=-48), timedelta(hours=-1)
MEETINGS_FROM, MEETINGS_UNTIL = timedelta(hours=-48), timedelta(hours=48)
"""The new dates of the first and the last item of an archive, relative to the time of loading."""

_DATE_IF_MISSING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ArchiveContent:
    """The content of an archive: items by mailbox, and the addresses of each mailbox."""

    mail: Mapping[str, list[Mail]]
    meetings: Mapping[str, list[Meeting]]
    addresses: Mapping[str, tuple[str, ...]]
    oddities: Mapping[str, int]


def read(mail: Path | None, events: Path | None, now: datetime) -> ArchiveContent:
    """Read a folder of mail and a folder of calendars, with dates shifted to around `now`.

    Reading takes up to minutes and changes no state.

    Raises:
        FileNotFoundError: a folder does not exist.
    """
    oddities: Counter[str] = Counter()
    return ArchiveContent(
        mail={} if mail is None else _read_mail(_existing_folder(mail), now, oddities),
        meetings={} if events is None else _read_meetings(_existing_folder(events), now, oddities),
        addresses={} if mail is None else _own_addresses(mail),
        oddities=oddities,
    )


def _existing_folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}")
    return path


# mail


def _read_mail(folder: Path, now: datetime, oddities: Counter[str]) -> dict[str, list[Mail]]:
    index = _MailboxIndex(folder)
    messages: list[tuple[ParsedMessage, str, list[str]]] = []
    for source, raw, quoted in _messages(folder):
        parsed = mime.parse(raw, quoted=quoted)
        messages.append((parsed, _identity(parsed, raw), index.find_owners(parsed) or [source]))
        oddities["further From addresses"] += max(0, len(parsed.origin) - 1)
        oddities["messages without Message-ID"] += parsed.internet_message_id is None
        oddities["messages without a date"] += parsed.date is None
        oddities["messages without From"] += not parsed.origin
    dates: dict[str, datetime] = {}
    for parsed, identity, _ in messages:
        dates.setdefault(identity, parsed.date or _DATE_IF_MISSING)
    sent = _shift_by_rank(dates, now + MAIL_FROM, now + MAIL_UNTIL)
    by_mailbox: defaultdict[str, list[Mail]] = defaultdict(list)
    for parsed, identity, names in messages:
        mail = _mail(parsed, sent[identity])
        for name in names:
            by_mailbox[name].append(mail)
    for mails in by_mailbox.values():
        mails.sort(key=lambda m: m.sent)
    return by_mailbox


def _messages(folder: Path) -> Iterator[tuple[str, bytes, bool]]:
    """Each message with the mailbox of its file name, and whether it is from an mbox."""
    for path in sorted(folder.iterdir()):
        name = path.name.removesuffix(".gz")
        if name.endswith(".mbox"):
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            for message in split_mbox(raw.removeprefix(BOM_UTF8)):
                yield name.removesuffix(".mbox"), message, True
        elif path.name.endswith(".eml"):
            yield folder.name, path.read_bytes().removeprefix(BOM_UTF8), False


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


class _MailboxIndex:
    """The mailboxes of each message, from the `index.jsonl` of the archive, if it has one."""

    def __init__(self, folder: Path) -> None:
        self._by_id: defaultdict[str, deque[list[str]]] = defaultdict(deque)
        self._by_file: dict[str, list[str]] = {}
        for row in _lines(folder, "index.jsonl"):
            if isinstance(row.get("owners"), list):
                self._by_file[str(row.get("file") or "")] = row["owners"]
                self._by_id[str(row.get("id") or "").strip()].append(row["owners"])

    def find_owners(self, parsed: ParsedMessage) -> list[str] | None:
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
    mailboxes = orjson.loads(path.read_bytes())
    return {name: tuple(each.get("addresses") or ()) for name, each in mailboxes.items()}


def _identity(parsed: ParsedMessage, raw: bytes) -> str:
    if parsed.internet_message_id is None:
        return ids.digest(raw).hex()
    origin = parsed.origin[0].address.lower() if parsed.origin else ""
    return f"{parsed.internet_message_id}\x1f{origin}\x1f{parsed.date}"


def _mail(parsed: ParsedMessage, sent: datetime) -> Mail:
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
    by_mailbox: dict[str, list[Meeting]] = {}
    for path in sorted(folder.glob("*.ics")):
        found, omitted = calendars.read(path.read_bytes())
        by_mailbox[path.name.removesuffix(".ics")] = found
        oddities["events left out"] += omitted
    dates: dict[str, datetime] = {}
    for found in by_mailbox.values():
        for meeting in found:
            dates.setdefault(meeting.uid, meeting.start)
    starts = _shift_by_rank(dates, now + MEETINGS_FROM, now + MEETINGS_UNTIL)
    return {
        name: sorted((_shifted(m, starts[m.uid]) for m in found), key=lambda m: m.start)
        for name, found in by_mailbox.items()
    }


def _shifted(meeting: Meeting, start: datetime) -> Meeting:
    """The meeting at another time with the same length; whole days begin at midnight."""
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


def _shift_by_rank(dates: dict[str, datetime], first: datetime, last: datetime) -> dict[str, datetime]:
    """A new date for each key, evenly spaced between two times, in the order of the old dates."""
    ordered = sorted(dates, key=lambda key: dates[key])
    step = (last - first) / max(1, len(ordered) - 1)
    return {key: (first + n * step).replace(microsecond=0) for n, key in enumerate(ordered)}
