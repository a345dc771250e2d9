"""The commands of administrators: `mailboxes …`, `stuck-items …`, `resend`. They return lines to print."""

import getpass
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.domain.status_changes import ENROL, StatusChange
from services.mail_ingest.graph.errors import MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.keys import MailboxKey
from shared.settings import load_settings

from .mailboxes import MailboxAdministration, MailboxNotEnrolledError, describe


class CommandError(Exception):
    """A command cannot be carried out; the text is the reason, for the administrator."""


async def list_mailboxes(tenant: str | None) -> list[str]:
    """The mailboxes of a tenant, or all, as JSON lines."""
    async with _administration() as administration:
        return [json.dumps(mailbox) for mailbox in await administration.list_mailboxes(tenant)]


async def change_mailbox(action: str, key: MailboxKey) -> list[str]:
    """Enrols a mailbox or changes its status; returns it as a JSON line."""
    async with _administration() as administration:
        if action == ENROL:
            mailbox = await administration.enrol(key.tenant, key.mailbox)
        else:
            mailbox = await administration.change_status(StatusChange(action), key)
        return [json.dumps(describe(mailbox))]


async def list_stuck_items(tenant: str | None) -> list[str]:
    """The stuck items of a tenant, or all, as JSON lines."""
    async with _administration() as administration:
        return [json.dumps(stuck) for stuck in await administration.list_stuck_items(tenant)]


async def retry_stuck_items(key: MailboxKey, item: str | None) -> list[str]:
    """Has stuck items of a mailbox fetched again now; returns a sentence with their number."""
    async with _administration() as administration:
        return [f"{await administration.retry_stuck_items(key, item)} items will be fetched again now"]


async def drop_stuck_items(key: MailboxKey, item: str | None) -> list[str]:
    """Ends the retries of stuck items of a mailbox; returns a sentence with their number."""
    async with _administration() as administration:
        return [f"{await administration.drop_stuck_items(key, item)} items will not be fetched again"]


async def resend(tenant: str | None, mailbox: str | None) -> list[str]:
    """Has live items published again; returns a sentence with their number."""
    async with _administration() as administration:
        return [f"{await administration.resend(tenant, mailbox)} items will be published again"]


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
