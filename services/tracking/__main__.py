"""`python -m services.tracking`: runs the service, exports what is stored, or notes it for saying again."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from shared.clock import system_clock
from shared.errors import Transient
from shared.service import run
from shared.settings import load
from shared.telemetry import log_as_json

from .app import create_app
from .settings import TrackingSettings
from .store import Document, Store


async def export(store: Store) -> None:
    """The live suggestions' matches in the order of their mailboxes, a JSON line each: ids only."""
    async for document in store.suggestions.export():
        print(json.dumps(exported(document), separators=(",", ":"), ensure_ascii=False))


def exported(document: Document) -> dict[str, Any]:
    """One line of the export."""
    tenant, mailbox, item = document["_id"].split("/", 2)
    activity = document["activity"]
    return {
        "tenant": tenant,
        "mailbox": mailbox,
        "item": item,
        "kind": activity["kind"],
        "internet_message_id": activity.get("internet_message_id"),
        "ical_uid": activity.get("ical_uid"),
        "matches": sorted(record.split("/") for record in document["records"]),
    }


async def resend(store: Store) -> None:
    """Notes every tracked activity as unsent; a running service says them."""
    print(f"{await store.tracked.resend()} tracked activities will be said again", file=sys.stderr)


COMMANDS: dict[str, Callable[[Store], Coroutine[Any, Any, None]]] = {"export": export, "resend": resend}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m services.tracking", description="Without a command: runs the service."
    )
    commands = parser.add_subparsers(dest="command")
    for name, does in COMMANDS.items():
        commands.add_parser(name, help=(does.__doc__ or "").strip())
    command = parser.parse_args().command
    settings = load(TrackingSettings)
    log_as_json(settings.log_level)
    if command is None:
        run(lambda: create_app(settings, system_clock))
        return

    async def do() -> None:
        store = Store(settings)
        try:
            await COMMANDS[command](store)
        finally:
            store.close()

    try:
        asyncio.run(do())
    except Transient as away:
        sys.exit(str(away))


if __name__ == "__main__":
    main()
