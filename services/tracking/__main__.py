"""`python -m services.tracking`: runs the service, exports what is stored, or has it published again."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from shared.clock import system_clock
from shared.errors import RetryableError
from shared.keys import ItemKey, split_key
from shared.service import run
from shared.settings import load_settings
from shared.telemetry import log_as_json

from .app import create_app
from .settings import TrackingSettings
from .store import Document, Store


async def export(store: Store) -> None:
    """Prints the live suggestions' matches in the order of their mailboxes, a JSON line each: ids only."""
    async for document in store.suggestions.export_live():
        print(json.dumps(to_export_line(document), separators=(",", ":"), ensure_ascii=False))


def to_export_line(document: Document) -> dict[str, Any]:
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


async def resend(store: Store) -> None:
    """Records every tracked activity for publication; a running service publishes them again."""
    count = await store.tracked_activities.record_resend()
    print(f"{count} tracked activities will be published again", file=sys.stderr)


COMMANDS: dict[str, Callable[[Store], Coroutine[Any, Any, None]]] = {"export": export, "resend": resend}


async def _run_command(settings: TrackingSettings, name: str) -> None:
    store = Store(settings)
    try:
        await COMMANDS[name](store)
    finally:
        await store.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m services.tracking", description="Without a command: runs the service."
    )
    commands = parser.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=(command.__doc__ or "").strip())
    chosen = parser.parse_args().command
    settings = load_settings(TrackingSettings)
    log_as_json(settings.log_level)
    if chosen is None:
        run(lambda: create_app(settings, system_clock))
        return
    try:
        asyncio.run(_run_command(settings, chosen))
    except RetryableError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
