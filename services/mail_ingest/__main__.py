"""The commands of mail-ingest; without a command the service runs.

python -m services.mail_ingest                                      runs until SIGTERM
python -m services.mail_ingest mailboxes list [--tenant T]
python -m services.mail_ingest mailboxes enrol|pause|resume|remove TENANT MAILBOX
python -m services.mail_ingest resend [--tenant T] [--mailbox M]    publishes every live item again
python -m services.mail_ingest normalise FILE…                      shows what these Graph payloads become
"""

import argparse
import asyncio
import getpass
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from shared.addresses import normalise
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.keys import MailboxKey
from shared.service import run
from shared.settings import load_settings
from shared.telemetry import log_as_json

from .administration.mailboxes import (
    ENROL,
    MailboxAdministration,
    MailboxNotEnrolledError,
    StatusChange,
    describe,
)
from .domain.activities import MailboxOwner
from .domain.kinds import KINDS
from .domain.payloads import explain_payload
from .graph.errors import MailboxBlockedError
from .settings import IngestSettings


def main() -> None:
    """Runs the command of the command line."""
    arguments = _parser().parse_args()
    match arguments.command:
        case None:
            _serve()
        case "normalise":
            sys.exit(_normalise(arguments.files, arguments.address, arguments.now))
        case "resend":
            sys.exit(asyncio.run(_resend(arguments.tenant, arguments.mailbox)))
        case _:
            sys.exit(asyncio.run(_administer(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.mail_ingest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command")
    mailboxes = commands.add_parser("mailboxes", help="administer mailboxes").add_subparsers(
        dest="action", required=True
    )
    list_all = mailboxes.add_parser("list", help="all mailboxes, one JSON line each")
    list_all.add_argument("--tenant")
    for action in (ENROL, *StatusChange):
        command = mailboxes.add_parser(action)
        command.add_argument("tenant", help="the tenant's id")
        names = "the owner's object id" + (", or user principal name" if action == ENROL else "")
        command.add_argument("mailbox", help=names)
    resend = commands.add_parser("resend", help="publish every live item again")
    resend.add_argument("--tenant")
    resend.add_argument("--mailbox")
    normalise_files = commands.add_parser(
        "normalise", help="show what Graph payloads become, one JSON line each; works offline"
    )
    normalise_files.add_argument("files", nargs="+", metavar="FILE")
    normalise_files.add_argument(
        "--address",
        action="append",
        default=[],
        help="an address of the mailbox's owner; an e-mail from it is outgoing",
    )
    normalise_files.add_argument(
        "--now", type=datetime.fromisoformat, help="also check the capture window, at this time"
    )
    return parser


def _serve() -> None:
    from .app import create_app

    settings = load_settings(IngestSettings)
    log_as_json(settings.log_level)
    run(lambda: create_app(settings, system_clock))


def _normalise(files: list[str], addresses: list[str], now: datetime | None) -> int:
    owner = MailboxOwner("-", "-", frozenset(normalise(address) for address in addresses))
    status = 0
    for file in files:
        try:
            payload = json.loads(Path(file).read_bytes())
        except (OSError, ValueError) as error:
            print(f"{file}: cannot be read: {error}", file=sys.stderr)
            status = 1
            continue
        for result in explain_payload(payload, owner, now.astimezone() if now else None, KINDS):
            line = (
                {"file": file, "refused": result}
                if isinstance(result, str)
                else {"file": file, "activity": result.model_dump(mode="json")}
            )
            print(json.dumps(line, ensure_ascii=False))
    return status


@asynccontextmanager
async def _administration() -> AsyncIterator[MailboxAdministration]:
    from .graph.graph import Graph
    from .store.database import Store

    settings = load_settings(IngestSettings)
    store, graph = Store(settings), Graph(settings, KINDS)
    try:
        await store.create_indexes()
        yield MailboxAdministration(store, graph, system_clock, f"command line: {getpass.getuser()}")
    finally:
        await graph.close()
        await store.close()


async def _administer(arguments: argparse.Namespace) -> int:
    try:
        async with _administration() as administration:
            if arguments.action == "list":
                lines = await administration.list_mailboxes(arguments.tenant)
            elif arguments.action == ENROL:
                lines = [describe(await administration.enrol(arguments.tenant, arguments.mailbox))]
            else:
                change = StatusChange(arguments.action)
                key = MailboxKey(arguments.tenant, arguments.mailbox)
                lines = [describe(await administration.change_status(change, key))]
    except MailboxNotEnrolledError:
        return _fail("this mailbox is not enrolled")
    except MailboxBlockedError as error:
        return _fail(f"Graph refuses this mailbox: {error.reason}")
    except RetryableError as error:
        return _fail(f"not possible now: {error}")
    for line in lines:
        print(json.dumps(line))
    return 0


async def _resend(tenant: str | None, mailbox: str | None) -> int:
    try:
        async with _administration() as administration:
            print(f"{await administration.resend(tenant, mailbox)} items will be published again")
    except RetryableError as error:
        return _fail(f"not possible now: {error}")
    return 0


def _fail(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
