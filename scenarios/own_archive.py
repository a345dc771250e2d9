"""An own archive in the demo: from the folders of mail and records to the page."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx2

from deploy.local.system import System
from shared.addresses import normalise
from simulator.control.client import TenantControl

from .administration import Administration
from .archive_source import REFERENCE, ArchiveSource
from .backlog import BACKLOG_KEYS, check_keys, flatten_status
from .errors import StepFailedError, UnusableArchiveError
from .terminal import print_line, seconds_since_start
from .timeline_reads import (
    MAX_READS,
    PROGRESS_INTERVAL,
    Owner,
    StoredSuggestions,
    TimelineReader,
    report_reads,
    require_visible,
)
from .topic_table import read_topic_table
from .upstream import Upstream

POLL_INTERVAL = 0.25
"""Seconds between two reads of the progress."""
PROGRESS_TIMEOUT = 120.0
"""Seconds without any progress before the demo fails; the simulator loads a large folder in one long step."""
LISTED_OWNERS = 5
"""Owners that the demo lists at the end."""


def show(
    system: System, tenant: TenantControl, source: ArchiveSource, reads: int | None = MAX_READS
) -> list[Owner]:
    """Load the archive, wait until all of it has arrived, and read `reads` timelines (None: all).

    Returns:
        The owners of the mailboxes, those with the most suggestions first.

    Raises:
        StepFailedError: an item did not arrive, or a stored suggestion is not visible.
        UnusableArchiveError: the folder of mail holds no message and no meeting.
    """
    print_line(f"publishing {_counted(len(source.records), 'record')} …")
    asyncio.run(_publish(system, source))
    print_line("loading the mail …")
    mailboxes = tenant.load_archive(source.mail, source.meetings)
    messages, meetings = (sum(each[kind] for each in mailboxes) for kind in ("messages", "meetings"))
    if not messages + meetings:
        raise UnusableArchiveError(
            f"MAIL: in {source.mail} there is no message and no meeting ({REFERENCE})."
        )
    tenant.release()
    items = f"{_counted(messages, 'e-mail')} and {_counted(meetings, 'meeting')}"
    print_line(
        f"{items} are in {_counted(len(mailboxes), 'mailbox', 'mailboxes')} "
        f"{seconds_since_start():.0f} s after the start; the capture starts …"
    )
    administration = Administration(system, tenant.id)
    for mailbox in mailboxes:
        administration.enrol(mailbox["oid"])
    _wait_for_capture(system, administration, mailboxes)
    print_line(f"all have arrived, {seconds_since_start():.0f} s after the start")
    stored, suggested_items = _read_stored_suggestions(system)
    owners = [
        Owner(
            each["oid"],
            each["name"],
            each["upn"],
            suggested_items[each["oid"]],
            _top_record(stored, each["oid"]),
        )
        for each in mailboxes
    ]
    owners.sort(key=lambda owner: (-owner.items, owner.name))
    if not stored:
        _check_no_common_address(system)
        return owners
    records = _counted(len({key[1:] for key in stored}), "record")
    print_line(f"{suggested_items.total():,} of them are suggested, {stored.total():,} times, on {records}")
    with TimelineReader(system, tenant) as reader:
        if require_visible(reader.read_largest(owners, stored, 1)):
            print_line(f"the page shows suggestions {seconds_since_start():.0f} s after the start")
        report_reads(reader, reader.read_largest(owners, stored, reads))
    return owners


async def _publish(system: System, source: ArchiveSource) -> None:
    async with Upstream(system.kafka_bootstrap, f"{system.prefix}records") as upstream:
        await upstream.publish(map(dict, source.records))


def _wait_for_capture(
    system: System, administration: Administration, mailboxes: Sequence[Mapping[str, Any]]
) -> None:
    """Wait until every item is captured and no process has unfinished work."""
    total = sum(each["messages"] + each["meetings"] for each in mailboxes)
    before: dict[str, Any] = {}
    progressed = printed = time.monotonic()
    while True:
        states = administration.mailboxes()
        if blocked := [state for state in states if state["status"] == "blocked"]:
            raise StepFailedError(f"{len(blocked)} mailboxes cannot be read: {blocked[0]['reason']}")
        captured = sum(state["items"] for state in states)
        unread = sum(state["window_due"] or not state["complete_as_of"] for state in states)
        counts = {"captured": captured, "unread": unread} | ({} if unread else _read_backlog(system))
        now = time.monotonic()
        if counts == before and not any(counts[name] for name in counts.keys() - {"captured"}):
            break
        progressed = now if counts != before else progressed
        if now - progressed > PROGRESS_TIMEOUT:
            raise StepFailedError(
                f"only {captured:,} of {total:,} items arrived, and there was no progress for "
                f"{PROGRESS_TIMEOUT:.0f} s"
            )
        if now - printed > PROGRESS_INTERVAL:
            printed = now
            print_line(f"  {captured:,} of {total:,}")
        before = counts
        time.sleep(POLL_INTERVAL)
    items_by_mailbox = {state["mailbox"]: state["items"] for state in states}
    for mailbox in mailboxes:
        arrived, expected = items_by_mailbox[mailbox["oid"]], mailbox["messages"] + mailbox["meetings"]
        if arrived < expected:
            raise StepFailedError(f"{mailbox['name']}: only {arrived:,} of {expected:,} items arrived")


def _read_backlog(system: System) -> dict[str, Any]:
    """The unfinished work of all programs; read in parallel, because each Kafka query takes a second."""
    with ThreadPoolExecutor(len(BACKLOG_KEYS)) as pool:
        backlogs = pool.map(lambda name: _read_program_backlog(system, name), BACKLOG_KEYS)
        return {
            f"{name}.{key}": count
            for name, counts in zip(BACKLOG_KEYS, backlogs, strict=True)
            for key, count in counts.items()
        }


def _read_program_backlog(system: System, name: str) -> dict[str, Any]:
    keys = BACKLOG_KEYS[name]
    try:
        status = dict(flatten_status(system[name].status()))
    except httpx2.HTTPStatusError as error:
        if error.response.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
            raise
        return dict.fromkeys(keys, -time.monotonic())  # unknown now: never 0, and never equal to the last
    check_keys({f"{name}.{key}": count for key, count in status.items()}, {name: keys})
    return {key: status[key] for key in keys}


def _read_stored_suggestions(system: System) -> tuple[StoredSuggestions, Counter[str]]:
    """The suggestions in tracking, and for each mailbox the number of items with a suggestion."""
    stored: StoredSuggestions = Counter()
    items: Counter[str] = Counter()
    for line in system.run_command("services.tracking", "export").splitlines():
        row = json.loads(line)
        items[row["mailbox"]] += 1
        stored.update((row["mailbox"], kind, id_) for kind, id_ in row["matches"])
    return stored, items


def _top_record(stored: StoredSuggestions, oid: str) -> tuple[str, str] | None:
    own = [(count, kind, id_) for (owner, kind, id_), count in stored.items() if owner == oid]
    return max(own)[1:] if own else None


def _check_no_common_address(system: System) -> None:
    """Print why there are no suggestions.

    Raises:
        StepFailedError: the mail has an address of a record, so that there should be suggestions.
    """
    rows = map(json.loads, system.run_command("services.matcher", "addresses").splitlines())
    record_addresses = {normalise(address) for row in rows for address in row["addresses"]}
    table, _ = asyncio.run(read_topic_table(system.kafka_bootstrap, f"{system.prefix}activities"))
    mail_addresses = {
        normalise(person["address"])
        for value, _ in table.values()
        for person in json.loads(value)["participants"]
    }
    if common := mail_addresses & record_addresses:
        raise StepFailedError(
            f"{len(common)} addresses of the mail are addresses of records, and there is no suggestion"
        )
    print_line(
        f"no address of this mail ({len(mail_addresses):,} addresses) is an address of a record "
        f"({len(record_addresses):,}), so there are no suggestions"
    )


def sign_in_suggestions(owners: Sequence[Owner], page: str) -> list[str]:
    """The owners to sign in as, those with the most suggestions first, each with the largest timeline."""
    lines = []
    for owner in owners[:LISTED_OWNERS]:
        line = f"{owner.name} ({owner.items:,} suggested)"
        if owner.top_record:
            line += f"   {page}/#/{'/'.join(quote(part, safe='') for part in owner.top_record)}"
        lines.append(line)
    if len(owners) > LISTED_OWNERS:
        lines.append(f"or one of {len(owners) - LISTED_OWNERS:,} more")
    return lines


def _counted(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
