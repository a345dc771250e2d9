"""`python -m services.matcher` runs the service; with a command it answers a question about records."""

import argparse
import asyncio
import sys
from pathlib import Path

from shared.clock import system_clock
from shared.errors import Transient
from shared.service import Service, run
from shared.settings import load, refuse
from shared.telemetry import log_as_json

from . import commands
from .app import create_app
from .domain.directory import Ref
from .settings import BadRules, MatcherSettings, load_rules


def _ref(text: str) -> Ref:
    type_, slash, id_ = text.partition("/")
    if not (type_ and slash and id_) or "/" in id_:
        raise argparse.ArgumentTypeError("a record is written type/id")
    return type_, id_


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.matcher", description=__doc__)
    command = parser.add_subparsers(dest="command")
    explain = command.add_parser(
        "explain", help="why an address relates to records, or not to one; exit 1 if it does not"
    )
    explain.add_argument("--tenant", required=True)
    explain.add_argument("--address", required=True)
    explain.add_argument("--record", type=_ref, metavar="type/id")
    check = command.add_parser(
        "check", help="would the records in a file of JSON lines be taken; exit 1 if one would not"
    )
    check.add_argument("file", type=Path)
    addresses = command.add_parser("addresses", help="every record's addresses, as JSON lines")
    addresses.add_argument("--tenant")
    return parser.parse_args()


def main() -> None:
    """The command line."""
    arguments = _arguments()
    if arguments.command == "check":
        sys.exit(_check(arguments.file))
    settings = load(MatcherSettings)
    log_as_json(settings.log_level if arguments.command is None else "ERROR")
    try:
        load_rules(settings.rules_file)
    except BadRules as bad:
        refuse("RULES_FILE", str(bad))
    if arguments.command is None:
        run(lambda: _build(settings))
        return
    try:
        sys.exit(
            asyncio.run(
                _explain(settings, arguments)
                if arguments.command == "explain"
                else _addresses(settings, arguments)
            )
        )
    except Transient as away:
        sys.exit(str(away))


async def _build(settings: MatcherSettings) -> Service:
    return create_app(settings, system_clock)


async def _explain(settings: MatcherSettings, arguments: argparse.Namespace) -> int:
    related, lines = await commands.explanation(
        settings, system_clock, arguments.tenant, arguments.address, arguments.record
    )
    print("\n".join(lines))
    return 0 if related else 1


async def _addresses(settings: MatcherSettings, arguments: argparse.Namespace) -> int:
    async for line in commands.addresses(settings, system_clock, arguments.tenant):
        print(line)
    return 0


def _check(file: Path) -> int:
    refused = 0
    try:
        for taken, line in commands.check(file):
            refused += not taken
            print(line)
    except OSError as bad:
        sys.exit(f"cannot read {file}: {bad.strerror}")
    return 1 if refused else 0


if __name__ == "__main__":
    main()
