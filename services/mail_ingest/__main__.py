"""The commands of mail-ingest; without a command the service runs.

python -m services.mail_ingest                                      runs until SIGTERM
python -m services.mail_ingest mailboxes list [--tenant T]
python -m services.mail_ingest mailboxes enrol TENANT MAILBOX… [--file F]
python -m services.mail_ingest mailboxes pause|resume|remove TENANT MAILBOX
python -m services.mail_ingest tenants blocked                      tenants that are refused as a whole
python -m services.mail_ingest stuck-items list [--tenant T]        items that Graph does not return
python -m services.mail_ingest stuck-items retry|drop TENANT MAILBOX [ITEM]
python -m services.mail_ingest resend [--tenant T] [--mailbox M] [--after TENANT/MAILBOX]
                                                                    publishes every live item again
python -m services.mail_ingest normalise FILE…                      shows what these Graph payloads become
"""

# Each command imports what it needs: `normalise` works without Kafka, MongoDB and Graph, and starts quickly.

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

from shared.keys import MailboxKey

from .domain.status_changes import ENROL, StatusChange


def main() -> None:
    """Runs the command of the command line."""
    arguments = _parser().parse_args()
    match arguments.command:
        case None:
            _serve()
        case "normalise":
            sys.exit(_normalise(arguments.files, arguments.address, arguments.now))
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
    enrol = mailboxes.add_parser(ENROL, help="enrol mailboxes, one JSON line each")
    enrol.add_argument("tenant", help="the tenant's id")
    enrol.add_argument(
        "mailboxes", nargs="*", metavar="MAILBOX", help="the owner's object id or user principal name"
    )
    enrol.add_argument("--file", help="a file with more of them, one a line; - is stdin")
    for change in StatusChange:
        command = mailboxes.add_parser(change)
        command.add_argument("tenant", help="the tenant's id")
        command.add_argument("mailbox", help="the owner's object id")
    tenants = commands.add_parser("tenants", help="tenants that are refused as a whole")
    tenants.add_subparsers(dest="action", required=True).add_parser("blocked", help="one JSON line each")
    stuck_items = commands.add_parser(
        "stuck-items", help="items that Graph does not return while it answers for their mailbox"
    ).add_subparsers(dest="action", required=True)
    list_stuck = stuck_items.add_parser("list", help="all stuck items, one JSON line each")
    list_stuck.add_argument("--tenant")
    for action, effect in (("retry", "fetch stuck items now"), ("drop", "fetch stuck items no more")):
        command = stuck_items.add_parser(action, help=effect)
        command.add_argument("tenant", help="the tenant's id")
        command.add_argument("mailbox", help="the owner's object id")
        command.add_argument("item", nargs="?", help="the only item; without it all of the mailbox")
    resend = commands.add_parser("resend", help="publish every live item again")
    resend.add_argument("--tenant")
    resend.add_argument("--mailbox", help="the owner's object id")
    resend.add_argument(
        "--after", metavar="TENANT/MAILBOX", help="go on after this mailbox, where an earlier run ended"
    )
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
    from shared.settings import load_settings

    from .settings import IngestSettings

    settings = load_settings(IngestSettings)  # a bad one stops the start before the long imports

    from shared.clock import system_clock
    from shared.service import run
    from shared.telemetry import log_as_json

    from .app import create_app

    log_as_json(settings.log_level)
    run(lambda: create_app(settings, system_clock))


async def _administer(arguments: argparse.Namespace) -> int:
    from .administration.commands import CommandError

    try:
        async for line in _lines(arguments):
            print(line)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _lines(arguments: argparse.Namespace) -> AsyncIterator[str]:
    """The lines that a command of an administrator prints."""
    from .administration import commands

    match arguments.command, getattr(arguments, "action", ""):
        case "resend", _:
            lines = commands.resend(arguments.tenant, arguments.mailbox, arguments.after)
        case "tenants", _:
            lines = commands.list_blocked_tenants()
        case "stuck-items", "list":
            lines = commands.list_stuck_items(arguments.tenant)
        case "stuck-items", action:
            change = commands.retry_stuck_items if action == "retry" else commands.drop_stuck_items
            lines = change(MailboxKey(arguments.tenant, arguments.mailbox), arguments.item)
        case _, "list":
            lines = commands.list_mailboxes(arguments.tenant)
        case _, "enrol":
            lines = commands.enrol(arguments.tenant, arguments.mailboxes, arguments.file)
        case _:
            key = MailboxKey(arguments.tenant, arguments.mailbox)
            lines = commands.change_status(StatusChange(arguments.action), key)
    return lines


def _normalise(files: list[str], addresses: list[str], now: datetime | None) -> int:
    from shared.addresses import normalise

    from .domain.activities import MailboxOwner
    from .domain.kinds import KINDS
    from .domain.payloads import explain_payload

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


if __name__ == "__main__":
    main()
