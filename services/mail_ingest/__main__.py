"""The commands of mail-ingest; without a command the service runs.

python -m services.mail_ingest                                      runs until SIGTERM
python -m services.mail_ingest mailboxes list [--tenant T]
python -m services.mail_ingest mailboxes enrol|pause|resume|remove TENANT MAILBOX
python -m services.mail_ingest stuck-items list [--tenant T]        items that Graph does not return
python -m services.mail_ingest stuck-items retry|drop TENANT MAILBOX [ITEM]
python -m services.mail_ingest resend [--tenant T] [--mailbox M]    publishes every live item again
python -m services.mail_ingest normalise FILE…                      shows what these Graph payloads become
"""

# Each command imports what it needs: `normalise` works without Kafka, MongoDB and Graph, and starts quickly.

import argparse
import asyncio
import json
import sys
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
    for action in (ENROL, *StatusChange):
        command = mailboxes.add_parser(action)
        command.add_argument("tenant", help="the tenant's id")
        names = "the owner's object id" + (", or user principal name" if action == ENROL else "")
        command.add_argument("mailbox", help=names)
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
    from .administration import commands

    try:
        match arguments.command, getattr(arguments, "action", None):
            case "resend", _:
                lines = await commands.resend(arguments.tenant, arguments.mailbox)
            case "stuck-items", "list":
                lines = await commands.list_stuck_items(arguments.tenant)
            case "stuck-items", action:
                change = commands.retry_stuck_items if action == "retry" else commands.drop_stuck_items
                lines = await change(MailboxKey(arguments.tenant, arguments.mailbox), arguments.item)
            case _, "list":
                lines = await commands.list_mailboxes(arguments.tenant)
            case _:
                key = MailboxKey(arguments.tenant, arguments.mailbox)
                lines = await commands.change_mailbox(arguments.action, key)
    except commands.CommandError as error:
        print(error, file=sys.stderr)
        return 1
    for line in lines:
        print(line)
    return 0


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
