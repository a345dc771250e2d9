"""`python -m services.tracking`: runs the service, exports what is stored, or has it published again."""

# What needs Kafka or MongoDB is imported after the settings are checked: a bad one stops the start at once.

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from shared.errors import RetryableError
from shared.keys import ItemKey, split_key

if TYPE_CHECKING:
    from .settings import TrackingSettings
    from .store import Document, Store


async def export(store: "Store") -> None:
    """Prints the live suggestions' matches in the order of their mailboxes, a JSON line each: ids only."""
    async for document in store.suggestions.export_live():
        print(json.dumps(to_export_line(document), separators=(",", ":"), ensure_ascii=False))


def to_export_line(document: "Document") -> dict[str, Any]:
    """One line of the export."""
    key = split_key(ItemKey, document["_id"])
    activity = document["activity"]
    return {
        "tenant": key.tenant,
        "mailbox": key.mailbox,
        "item": key.item,
        "kind": activity["kind"],
        "internet_message_id": activity.get("internet_message_id"),
        "ical_uid": activity.get("ical_uid"),
        "matches": sorted(record.split("/") for record in document["records"]),
    }


async def resend(store: "Store") -> None:
    """Records every tracked activity for publication; a running service publishes them again."""
    from shared.clock import system_clock

    from .publishing.republication import request_republication

    tenants = await store.tracked_activities.find_tenants()
    await request_republication(store, dict.fromkeys(tenants, False), system_clock())
    print(f"the tracked activities of {len(tenants)} tenants will be published again", file=sys.stderr)


COMMANDS: dict[str, Callable[["Store"], Coroutine[Any, Any, None]]] = {"export": export, "resend": resend}


def _serve(settings: "TrackingSettings") -> None:
    from shared.clock import system_clock
    from shared.service import run
    from shared.telemetry import log_as_json

    from .app import create_app

    log_as_json(settings.log_level)
    run(lambda: create_app(settings, system_clock))


async def _run_command(settings: "TrackingSettings", chosen: argparse.Namespace) -> None:
    from shared.telemetry import log_as_json

    from .recovery.commands import RESTORED_COMMANDS
    from .store import Store

    log_as_json(settings.log_level)
    store = Store(settings)
    try:
        if chosen.command == "restored":
            await RESTORED_COMMANDS[chosen.action](store, chosen)
        else:
            await COMMANDS[chosen.command](store)
    finally:
        await store.close()


def _add_restored(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "What a lost or restored database cannot bring back."
    actions = commands.add_parser("restored", help=about).add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="Prints the open cases, a JSON line each: ids only.")
    listing.add_argument("--all", action="store_true", help="closed ones, too")
    closing = actions.add_parser("close", help="Closes cases: lost activities leave tracked-activities.")
    which = closing.add_mutually_exclusive_group(required=True)
    which.add_argument("case", nargs="*", default=[], help="as `restored list` prints it")
    which.add_argument("--all", action="store_true", help="every open case")


def main() -> None:
    """The command line."""
    from shared.settings import load_settings

    from .settings import TrackingSettings

    parser = argparse.ArgumentParser(
        prog="python -m services.tracking", description="Without a command: runs the service."
    )
    commands = parser.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=(command.__doc__ or "").strip())
    _add_restored(commands)
    chosen = parser.parse_args()
    settings = load_settings(TrackingSettings)
    if chosen.command is None:
        _serve(settings)
        return
    try:
        asyncio.run(_run_command(settings, chosen))
    except RetryableError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
