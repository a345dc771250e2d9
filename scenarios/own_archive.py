"""One's own archive in the demo: the mail, meetings and records of two folders, on the page.

docs/own-archive.md says what may lie in the folders.
"""

import asyncio
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2
import psutil

from deploy.local.processes import LocalError, say
from deploy.local.system import System
from scenarios.records.files import FORMS, read_records
from shared.addresses import normalise
from simulator.control.client import TenantControl
from simulator.sample_company import NotHappened

from .administration import Administration
from .upstream import Upstream, read_all
from .verify import WAITING, flat

LOOK = 0.25
"""Seconds between two looks at how far it has come."""
TELL_EVERY = 5.0
"""Seconds between two lines of progress."""
PATIENCE = 120.0
"""Seconds in which something must have moved on; a large folder is one long step of the simulator's alone."""
AT_ONCE = 50
"""As many suggestions a timeline shows at once."""
READS = 500
"""Timelines that are read at the end, those with the most suggestions: seconds, not minutes, also of a dense archive."""
TRIES = 3
"""Readings of a timeline before it may be called the slowest."""
NAMED = 5
"""Mailboxes that are named at the end."""

MAIL_FORMS = (".mbox", ".mbox.gz", ".eml", ".ics")
HELP = "docs/own-archive.md says what can be shown"


Stored = Counter[tuple[str, str, str]]
"""Mailbox, type and id of a record -> how many suggestions are there."""


class NotUsable(Exception):
    """What was named is no archive; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Source:
    """An archive that can be shown.

    Attributes:
        mail: a folder of mail, and of the calendars beside it.
        records: what upstream is to publish.
    """

    mail: Path
    meetings: Path | None
    records: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Owner:
    """A mailbox of the archive, and what is suggested to its owner."""

    oid: str
    name: str
    upn: str
    items: int
    best: tuple[str, str] | None
    """The record with the most."""


@dataclass(frozen=True, slots=True)
class Read:
    """One reading of a timeline by the API.

    Attributes:
        stored: how many suggestions there are for her on this record.
        shown: how many of them she was shown; None where she may not read the record.
    """

    owner: Owner
    record: tuple[str, str]
    name: str
    stored: int
    shown: int | None
    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds * 1000:.0f} ms, {self.record[0]} {self.name!r} for {self.owner.name}, {self.shown or 0:,} of {self.stored:,} suggestions"


def since_start() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


# -- before anything starts -----------------------------------------------------------------------


def look_at(mail: Path | None, records: Path | None, tenant: str) -> Source:
    """What these two paths hold, all records read; NotUsable or BadRecords says what is wrong with them."""
    if records is None:
        raise NotUsable(
            f"MAIL needs RECORDS: without records there is nothing that mail could belong to ({HELP})."
        )
    if mail is None:
        raise NotUsable(f"RECORDS needs MAIL: without mail there is nothing to suggest ({HELP}).")
    if not mail.is_dir():
        raise NotUsable(
            f"MAIL: {mail} is a file; name the folder that it lies in."
            if mail.exists()
            else f"MAIL: there is no folder {mail}."
        )
    if not records.exists():
        raise NotUsable(f"RECORDS: there is no {records}.")
    forms = {form for path in mail.iterdir() for form in MAIL_FORMS if path.name.endswith(form)}
    if not forms:
        raise NotUsable(
            f"MAIL: in {mail} there is no mail, none of {', '.join(f'*{form}' for form in MAIL_FORMS)} ({HELP})."
        )
    found = read_records(records, tenant)
    if not found:
        where = (
            f"in {records} there is no record, in no {' and no '.join(f'*{form}' for form in FORMS)}"
            if records.is_dir()
            else f"{records} holds no record"
        )
        raise NotUsable(f"RECORDS: {where} ({HELP}).")
    return Source(mail, mail if ".ics" in forms else None, found)


# -- from the folders to the page -----------------------------------------------------------------


def show(system: System, tenant: TenantControl, source: Source, reads: int | None = READS) -> list[Owner]:
    """Loads it, waits until all of it has arrived, and reads timelines; owners with the most suggestions first.

    Raises NotHappened where something did not arrive, or is stored and not shown.
    """
    say(f"publishing {_counted(len(source.records), 'record')} …")
    asyncio.run(_publish(system, source))
    say("loading the mail …")
    boxes = tenant.load_archive(source.mail, source.meetings)
    messages, meetings = (sum(box[kind] for box in boxes) for kind in ("messages", "meetings"))
    if not messages + meetings:
        raise NotUsable(f"MAIL: in {source.mail} there is no message and no meeting ({HELP}).")
    tenant.release()
    there = f"{_counted(messages, 'e-mail')} and {_counted(meetings, 'meeting')} lie in {_counted(len(boxes), 'mailbox', 'mailboxes')}"
    say(f"{there} {since_start():.0f} s after the start; they are captured …")
    administration = Administration(system, tenant.id)
    for box in boxes:
        administration.enrol(box["oid"])
    _arrive(system, administration, boxes)
    say(f"all have arrived, {since_start():.0f} s after the start")
    stored, items = _stored(system)
    owners = [
        Owner(box["oid"], box["name"], box["upn"], items[box["oid"]], _best(stored, box["oid"]))
        for box in boxes
    ]
    owners.sort(key=lambda owner: (-owner.items, owner.name))
    if not stored:
        _expect_nothing(system)
        return owners
    say(
        f"{sum(items.values()):,} of them are suggested, {stored.total():,} times, on {_counted(len({key[1:] for key in stored}), 'record')}"
    )
    with Readers(system, tenant) as readers:
        if _expect_shown(readers.read_all(owners, stored, 1)):
            say(f"the page shows suggestions {since_start():.0f} s after the start")
        _report(readers, readers.read_all(owners, stored, reads))
    return owners


async def _publish(system: System, source: Source) -> None:
    async with Upstream(system.stack.kafka_bootstrap, f"{system.prefix}records") as upstream:
        await upstream.publish(map(dict, source.records))


def _arrive(system: System, administration: Administration, boxes: Sequence[Mapping[str, Any]]) -> None:
    """Until every item is captured and nothing is waiting anywhere."""
    total = sum(box["messages"] + box["meetings"] for box in boxes)
    before: dict[str, Any] = {}
    moved = told = time.monotonic()
    while True:
        states = administration.mailboxes()
        if blocked := [state for state in states if state["status"] == "blocked"]:
            raise NotHappened(f"{len(blocked)} mailboxes cannot be read: {blocked[0]['reason']}")
        captured = sum(state["items"] for state in states)
        unread = sum(state["window_due"] or not state["complete_as_of"] for state in states)
        counts = {"captured": captured, "unread": unread} | ({} if unread else _counts(system))
        now = time.monotonic()
        if counts == before and not any(counts[name] for name in counts.keys() - {"captured"}):
            break
        moved = now if counts != before else moved
        if now - moved > PATIENCE:
            raise NotHappened(
                f"only {captured:,} of {total:,} items arrived, and nothing has moved for {PATIENCE:.0f} s"
            )
        if now - told > TELL_EVERY:
            told = now
            say(f"  {captured:,} of {total:,}")
        before = counts
        time.sleep(LOOK)
    for box in boxes:
        of = next(state["items"] for state in states if state["mailbox"] == box["oid"])
        if of < box["messages"] + box["meetings"]:
            raise NotHappened(
                f"{box['name']}: only {of:,} of {box['messages'] + box['meetings']:,} items arrived"
            )


def _counts(system: System) -> dict[str, Any]:
    """What is still to be done, by the services' own word; each takes a second to ask Kafka, so they are asked together."""
    with ThreadPoolExecutor(len(WAITING)) as together:
        answers = together.map(lambda name: _waiting(system, name), WAITING)
        return {
            f"{name}.{key}": count
            for name, counts in zip(WAITING, answers, strict=True)
            for key, count in counts.items()
        }


def _waiting(system: System, name: str) -> dict[str, Any]:
    keys = WAITING[name]
    try:
        status = dict(flat(system[name].status()))
    except httpx2.HTTPStatusError as busy:
        if busy.response.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
            raise
        return dict.fromkeys(keys, -time.monotonic())  # it cannot say now, so it is not at rest
    if missing := [key for key in keys if key not in status]:
        raise LocalError(f"/status of {name} does not say {missing}")
    return {key: status[key] for key in keys}


def _stored(system: System) -> tuple[Stored, Counter[str]]:
    """What tracking holds: suggestions on each record, and items of each mailbox that are suggested at all."""
    stored: Stored = Counter()
    items: Counter[str] = Counter()
    for line in system.run_command("services.tracking", "export").splitlines():
        row = json.loads(line)
        items[row["mailbox"]] += 1
        stored.update((row["mailbox"], kind, id_) for kind, id_ in row["matches"])
    return stored, items


def _best(stored: Stored, oid: str) -> tuple[str, str] | None:
    hers = [(count, kind, id_) for (owner, kind, id_), count in stored.items() if owner == oid]
    return max(hers)[1:] if hers else None


def _expect_nothing(system: System) -> None:
    """Says why there is nothing; NotHappened where an address of the mail is one of a record's, so that something should be."""
    rows = map(json.loads, system.run_command("services.matcher", "addresses").splitlines())
    of_records = {normalise(address) for row in rows for address in row["addresses"]}
    table, _ = asyncio.run(read_all(system.stack.kafka_bootstrap, f"{system.prefix}activities"))
    of_mail = {
        normalise(person["address"])
        for value, _ in table.values()
        for person in json.loads(value)["participants"]
    }
    if common := of_mail & of_records:
        raise NotHappened(
            f"{len(common)} addresses of the mail are those of records, and nothing is suggested"
        )
    say(
        f"no address of this mail ({len(of_mail):,} in all) is one of a record's ({len(of_records):,}), so nothing is suggested"
    )


# -- what the page will show ----------------------------------------------------------------------


class Readers:
    """The API as the owners read it, each with a token of hers.

    Use it as a context manager.
    """

    def __init__(self, system: System, tenant: TenantControl) -> None:
        self._url = f"{system['tracking'].url}/api/v1"
        self._tenant = tenant
        self._open = ExitStack()
        self._of: dict[str, httpx2.Client] = {}

    def read(self, owner: Owner, record: tuple[str, str], stored: int) -> Read:
        """One reading of a timeline."""
        if owner.oid not in self._of:
            headers = {"Authorization": f"Bearer {self._tenant.sign_in(owner.upn)}"}
            http = self._open.enter_context(
                httpx2.Client(base_url=self._url, headers=headers, timeout=60, trust_env=False)
            )
            http.get("/me").raise_for_status()  # the connection, and the authority's keys
            self._of[owner.oid] = http
        return _read_one(self._of[owner.oid], owner, record, stored)

    def read_all(self, owners: Sequence[Owner], stored: Stored, most: int | None) -> list[Read]:
        """Those timelines with the most suggestions."""
        known = {owner.oid: owner for owner in owners}
        chosen = stored.most_common(most)
        found: list[Read] = []
        told = time.monotonic()
        for (oid, kind, id_), count in chosen:
            found.append(self.read(known[oid], (kind, id_), count))
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                say(f"  {len(found):,} of {len(chosen):,} timelines read")
        return found

    def slowest(self, reads: Sequence[Read]) -> Read:
        """The slowest of these; what looks slow is read again, and the best counts, so that it is the timeline that is slow and not the moment."""
        left = dict.fromkeys(reads, TRIES - 1)
        while True:
            read = max(left, key=lambda each: each.seconds)
            tries = left.pop(read)
            if not tries:
                return read
            again = self.read(read.owner, read.record, read.stored)
            left[min(read, again, key=lambda each: each.seconds)] = tries - 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def _read_one(http: httpx2.Client, owner: Owner, record: tuple[str, str], stored: int) -> Read:
    began = time.perf_counter()
    answer = http.get(f"/records/{quote(record[0], safe='')}/{quote(record[1], safe='')}/timeline")
    took = time.perf_counter() - began
    if answer.status_code == httpx2.codes.NOT_FOUND:
        return Read(owner, record, record[1], stored, None, took)
    timeline = answer.raise_for_status().json()
    return Read(
        owner, record, timeline["record"]["name"] or record[1], stored, len(timeline["suggestions"]), took
    )


def _expect_shown(reads: Sequence[Read]) -> list[Read]:
    """The timelines that their owners may read; NotHappened where one of them does not show what is stored."""
    readable = [read for read in reads if read.shown is not None]
    if empty := [read for read in readable if not read.shown]:
        raise NotHappened(
            f"{len(empty)} of {len(readable)} timelines do not show what is stored, such as {empty[0]}"
        )
    return readable


def _report(readers: Readers, reads: Sequence[Read]) -> None:
    """How quickly timelines are read; NotHappened where what is stored is not shown."""
    readable = _expect_shown(reads)
    if len(readable) < len(reads):
        say(
            f"{len(reads) - len(readable):,} of {len(reads):,} timelines may not be read by the mailbox's owner: `readers` of the records does not name her"
        )
    if not readable:
        raise NotHappened("no timeline with suggestions may be read by a mailbox's owner")
    milliseconds = sorted(read.seconds * 1000 for read in readable)
    p50, p95 = statistics.median(milliseconds), milliseconds[math.ceil(0.95 * len(milliseconds)) - 1]
    say(
        f"slowest of {len(readable):,} timeline reads: {readers.slowest(readable)} (best of {TRIES}; of all: p50 {p50:.0f} ms, p95 {p95:.0f} ms)"
    )


def sign_in_as(owners: Sequence[Owner], page: str) -> list[str]:
    """Whom to sign in as, those with the most suggestions first, each with the address of her fullest timeline."""
    lines = []
    for owner in owners[:NAMED]:
        at = f"   {page}/#/{'/'.join(quote(part, safe='') for part in owner.best)}" if owner.best else ""
        lines.append(f"{owner.name} ({owner.items:,} suggested){at}")
    if len(owners) > NAMED:
        lines.append(f"or one of {len(owners) - NAMED:,} more")
    return lines


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
