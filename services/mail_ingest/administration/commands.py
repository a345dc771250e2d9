"""The commands of administrators: `mailboxes …`, `stuck-items …`, `resend`. They yield lines to print."""

import getpass
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.domain.status_changes import StatusChange
from services.mail_ingest.graph.errors import MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.keys import ItemKey, MailboxKey, join_key, split_key
from shared.settings import load_settings

from .enrolment import MAX_NAMES
from .mailboxes import MailboxAdministration, MailboxNotEnrolledError, describe


class CommandError(Exception):
    """A command cannot be carried out; the text is the reason, for the administrator."""


async def list_mailboxes(tenant: str | None) -> AsyncIterator[str]:
    """The mailboxes of a tenant, or all, as JSON lines."""
    async with _administration() as administration:
        after: MailboxKey | None = None
        while page := await administration.list_mailboxes(tenant, after):
            for mailbox in page:
                yield json.dumps(mailbox)
            after = MailboxKey(str(page[-1]["tenant"]), str(page[-1]["mailbox"]))


async def list_blocked_tenants() -> AsyncIterator[str]:
    """The tenants that are refused as a whole, as JSON lines."""
    async with _administration() as administration:
        after: str | None = None
        while page := await administration.list_blocked_tenants(after):
            for tenant in page:
                yield json.dumps(tenant)
            after = str(page[-1]["tenant"])


async def enrol(tenant: str, mailboxes: Sequence[str], file: str | None) -> AsyncIterator[str]:
    """Enrols mailboxes; a JSON line for each as soon as it is enrolled.

    Args:
        tenant: of all of them.
        mailboxes: object ids or user principal names of their owners.
        file: has more of them.

    Raises:
        CommandError: some are not enrolled; its lines have them with the reasons.
    """
    names = list(dict.fromkeys([*mailboxes, *(_read_names(file) if file else [])]))
    if not names:
        raise CommandError("name a mailbox, or a file with names")
    failed = dict[str, str]()
    async with _administration() as administration:
        for first in range(0, len(names), MAX_NAMES):
            batch = await administration.enrolment.enrol_many(tenant, names[first : first + MAX_NAMES])
            failed |= batch.failed
            for mailbox in batch.enrolled.values():
                yield json.dumps(describe(mailbox))
    if failed:
        lines = [f"{name}: not enrolled: {reason}" for name, reason in failed.items()]
        raise CommandError("\n".join([*lines, f"{len(failed)} of {len(names)} mailboxes are not enrolled"]))


async def change_status(change: StatusChange, key: MailboxKey) -> AsyncIterator[str]:
    """Changes the status of a mailbox; returns it as a JSON line."""
    async with _administration() as administration:
        yield json.dumps(describe(await administration.change_status(change, key)))


async def list_stuck_items(tenant: str | None) -> AsyncIterator[str]:
    """The stuck items of a tenant, or all, as JSON lines."""
    async with _administration() as administration:
        after: ItemKey | None = None
        while page := await administration.list_stuck_items(tenant, after):
            for stuck in page:
                yield json.dumps(stuck)
            after = ItemKey(*(str(page[-1][part]) for part in ItemKey._fields))


async def retry_stuck_items(key: MailboxKey, item: str | None) -> AsyncIterator[str]:
    """Has stuck items of a mailbox fetched again now; returns a sentence with their number."""
    async with _administration() as administration:
        yield f"{await administration.retry_stuck_items(key, item)} items will be fetched again now"


async def drop_stuck_items(key: MailboxKey, item: str | None) -> AsyncIterator[str]:
    """Ends the retries of stuck items of a mailbox; returns a sentence with their number."""
    async with _administration() as administration:
        yield f"{await administration.drop_stuck_items(key, item)} items will not be fetched again"


async def resend(tenant: str | None, mailbox: str | None, after: str | None) -> AsyncIterator[str]:
    """Has live items published again; returns a sentence with their number.

    After each page of mailboxes the progress is on stderr, with what `after` has to be if it ends there.
    """
    count = 0
    async with _administration() as administration:
        async for last, items in administration.resend(tenant, mailbox, _parse_key(after)):
            count += items
            sys.stderr.write(f"{count} items until mailbox {join_key(last)}\n")
        yield f"{count} items will be published again"


def _read_names(path: str) -> list[str]:
    """The names of mailboxes in a file, or on stdin with `-`: one a line, without comments (`#`)."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: cannot be read: {error}") from None
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _parse_key(text: str | None) -> MailboxKey | None:
    try:
        return None if text is None else split_key(MailboxKey, text)
    except ValueError:
        raise CommandError("--after is not TENANT/MAILBOX") from None


@asynccontextmanager
async def _administration() -> AsyncIterator[MailboxAdministration]:
    """The actions on mailboxes; their errors become a CommandError."""
    settings = load_settings(IngestSettings)
    store, graph = Store(settings), Graph(settings, KINDS)
    try:
        await store.create_indexes()
        yield MailboxAdministration(store, graph, system_clock, f"command line: {getpass.getuser()}")
    except MailboxNotEnrolledError:
        raise CommandError("this mailbox is not enrolled") from None
    except MailboxBlockedError as error:
        raise CommandError(f"Graph refuses this mailbox: {error.reason}") from None
    except RetryableError as error:
        raise CommandError(f"not possible now: {error}") from error
    finally:
        await graph.close()
        await store.close()
