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


async def _run_command(settings: "TrackingSettings", name: str) -> None:
    from shared.telemetry import log_as_json

    from .store import Store

    log_as_json(settings.log_level)
    store = Store(settings)
    try:
        await COMMANDS[name](store)
    finally:
        await store.close()


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
    chosen = parser.parse_args().command
    settings = load_settings(TrackingSettings)
    if chosen is None:
        _serve(settings)
        return
    try:
        asyncio.run(_run_command(settings, chosen))
    except RetryableError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
