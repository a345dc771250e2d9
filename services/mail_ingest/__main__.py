"""The commands of mail-ingest; without one it runs the service.

python -m services.mail_ingest                                      runs until SIGTERM
python -m services.mail_ingest mailboxes list [--tenant T]
python -m services.mail_ingest mailboxes enrol|pause|resume|remove TENANT MAILBOX
python -m services.mail_ingest resend [--tenant T] [--mailbox M]    says every live item again
python -m services.mail_ingest normalise FILE…                      what these Graph payloads become
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
from shared.errors import Transient
from shared.service import run
from shared.settings import load
from shared.telemetry import log_as_json

from .domain.capture import Owner
from .domain.payloads import judged
from .errors import Blocked
from .mailboxes import CHANGES, ENROL, Mailboxes, NoSuchMailbox, described
from .settings import IngestSettings


def main() -> None:
    """Does what the command line says."""
    asked = _parser().parse_args()
    match asked.command:
        case None:
            _serve()
        case "normalise":
            sys.exit(_normalise(asked.files, asked.address, asked.now))
        case "resend":
            sys.exit(asyncio.run(_resend(asked.tenant, asked.mailbox)))
        case _:
            sys.exit(asyncio.run(_mailboxes(asked)))


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
    every = mailboxes.add_parser("list", help="all, one JSON line each")
    every.add_argument("--tenant")
    for action in (ENROL, *CHANGES):
        one = mailboxes.add_parser(action)
        one.add_argument("tenant", help="the tenant's id")
        one.add_argument(
            "mailbox", help="the owner's object id" + (", or user principal name" if action == ENROL else "")
        )
    resend = commands.add_parser("resend", help="note every live item as unsent, so that it is said again")
    resend.add_argument("--tenant")
    resend.add_argument("--mailbox")
    normal = commands.add_parser(
        "normalise", help="what Graph payloads become, one JSON line each; works offline"
    )
    normal.add_argument("files", nargs="+", metavar="FILE")
    normal.add_argument(
        "--address",
        action="append",
        default=[],
        help="an address of the mailbox's owner; what is from it is outgoing",
    )
    normal.add_argument(
        "--now", type=datetime.fromisoformat, help="judge also whether it is in its time, as of this moment"
    )
    return parser


def _serve() -> None:
    from .app import create_app

    settings = load(IngestSettings)
    log_as_json(settings.log_level)
    run(lambda: create_app(settings, system_clock))


def _normalise(files: list[str], addresses: list[str], now: datetime | None) -> int:
    owner = Owner("-", "-", frozenset(normalise(address) for address in addresses))
    status = 0
    for file in files:
        try:
            payload = json.loads(Path(file).read_bytes())
        except (OSError, ValueError) as error:
            print(f"{file}: cannot be read: {error}", file=sys.stderr)
            status = 1
            continue
        for what in judged(payload, owner, now.astimezone() if now else None):
            line = (
                {"file": file, "refused": what}
                if isinstance(what, str)
                else {"file": file, "activity": what.model_dump(mode="json")}
            )
            print(json.dumps(line, ensure_ascii=False))
    return status


@asynccontextmanager
async def _opened() -> AsyncIterator[Mailboxes]:
    from .graph import Graph
    from .store import Store

    settings = load(IngestSettings)
    store, graph = Store(settings), Graph(settings)
    try:
        await store.prepare()
        yield Mailboxes(store, graph, system_clock, f"command line: {getpass.getuser()}")
    finally:
        await graph.close()
        store.close()


async def _mailboxes(asked: argparse.Namespace) -> int:
    try:
        async with _opened() as mailboxes:
            if asked.action == "list":
                told = await mailboxes.every(asked.tenant)
            elif asked.action == ENROL:
                told = [described(await mailboxes.enrol(asked.tenant, asked.mailbox))]
            else:
                told = [described(await mailboxes.change(asked.action, asked.tenant, asked.mailbox))]
    except NoSuchMailbox:
        return _failed("this mailbox is not enrolled")
    except Blocked as blocked:
        return _failed(f"Graph refuses this mailbox: {blocked.reason}")
    except Transient as away:
        return _failed(f"cannot do it now: {away}")
    for line in told:
        print(json.dumps(line))
    return 0


async def _resend(tenant: str | None, mailbox: str | None) -> int:
    try:
        async with _opened() as mailboxes:
            print(f"{await mailboxes.resend(tenant, mailbox)} items will be said again")
    except Transient as away:
        return _failed(f"cannot do it now: {away}")
    return 0


def _failed(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
