"""`python -m services.matcher` runs the service; its commands explain and check records."""

# What needs Kafka is imported after the settings are checked: a bad setting stops the start at once.

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shared.clock import system_clock
from shared.errors import RetryableError

from .domain.directory_entry import RecordRef

if TYPE_CHECKING:
    from .settings import MatcherSettings


def _parse_ref(text: str) -> RecordRef:
    record_type, slash, id_ = text.partition("/")
    if not (record_type and slash and id_) or "/" in id_:
        raise argparse.ArgumentTypeError("a record is written type/id")
    return RecordRef(record_type, id_)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.matcher", description=__doc__)
    command = parser.add_subparsers(dest="command")
    explain = command.add_parser(
        "explain", help="why an address relates to records, or not to one; exit 1 if it does not"
    )
    explain.add_argument("--tenant", required=True)
    explain.add_argument("--address", required=True)
    explain.add_argument("--record", type=_parse_ref, metavar="type/id")
    check = command.add_parser(
        "check", help="whether the records in a file of JSON lines are valid; exit 1 if one is not"
    )
    check.add_argument("file", type=Path)
    addresses = command.add_parser("addresses", help="the addresses of every record, as JSON lines")
    addresses.add_argument("--tenant")
    return parser.parse_args()


def main() -> None:
    """Runs the service or a command."""
    arguments = _parse_arguments()
    if arguments.command == "check":
        sys.exit(_check(arguments.file))
    settings = _load_settings()
    if arguments.command is None:
        _serve(settings)
        return
    try:
        sys.exit(asyncio.run(_read_records(settings, arguments)))
    except RetryableError as error:
        sys.exit(str(error))


def _load_settings() -> "MatcherSettings":
    """The settings; exits when one is bad, or the rules file that one names."""
    from shared.settings import exit_for_bad_setting, load_settings, variable_name

    from .rules_file import RulesFileError, load_rules
    from .settings import MatcherSettings

    settings = load_settings(MatcherSettings)
    try:
        load_rules(settings.rules_file)
    except RulesFileError as error:
        exit_for_bad_setting(variable_name(MatcherSettings, "rules_file"), str(error))
    return settings


def _serve(settings: "MatcherSettings") -> None:
    from shared.service import Service, run
    from shared.telemetry import log_as_json

    from .app import create_app

    async def build() -> Service:
        return create_app(settings, system_clock)

    log_as_json(settings.log_level)
    run(build)


async def _read_records(settings: "MatcherSettings", arguments: argparse.Namespace) -> int:
    from shared.telemetry import log_as_json

    from . import commands

    log_as_json("ERROR")
    if arguments.command == "explain":
        relates, lines = await commands.explain(
            settings, system_clock, arguments.tenant, arguments.address, arguments.record
        )
        print("\n".join(lines))
        return 0 if relates else 1
    async for line in commands.list_addresses(settings, system_clock, arguments.tenant):
        print(line)
    return 0


def _check(file: Path) -> int:
    from . import commands

    all_valid = True
    try:
        for valid, line in commands.check(file):
            all_valid &= valid
            print(line)
    except OSError as error:
        sys.exit(f"cannot read {file}: {error.strerror}")
    return 0 if all_valid else 1


if __name__ == "__main__":
    main()
