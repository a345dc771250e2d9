"""`python -m services.tracking restored …`: cases of what a lost or restored database cannot bring back."""

import json
import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Coroutine
from typing import Any

from services.tracking.store import Store
from shared.keys import TrackedActivityKey

log = logging.getLogger(__name__)


async def list_cases(store: Store, arguments: Namespace) -> None:
    """Prints the cases, a JSON line each: ids only."""
    async for case in store.restore_cases.find(closed=arguments.all):
        sys.stdout.write(json.dumps(_to_line(case), default=str) + "\n")


async def close_cases(store: Store, arguments: Namespace) -> None:
    """Closes cases; a lost activity that was not tracked again leaves the topic by its tombstone."""
    cases = [case["_id"] async for case in store.restore_cases.find()] if arguments.all else arguments.case
    missing = [case for case in cases if not await _close(store, case)]
    if missing:
        sys.exit(f"no open case: {', '.join(missing)}")


async def _close(store: Store, case: str) -> bool:
    found = await store.restore_cases.find_one(case)
    if found is None or found["closed_at"]:
        return False
    published = False
    if found["kind"] == "activity":
        published = await store.topic_states.close_lost(
            TrackedActivityKey(found["tenant"], found["activity"])
        )
    closed = await store.restore_cases.close(case)
    log.warning("restore case closed", extra={"case": case, "tombstone": published})
    return closed


def _to_line(case: dict[str, Any]) -> dict[str, Any]:
    line = {"case": case["_id"], "kind": case["kind"], "since": case["since"], "found_at": case["found_at"]}
    if case["kind"] == "activity":
        entries = [
            {"record": entry["record"], "by": entry["by"], "at": entry["at"]} for entry in case["entries"]
        ]
        line |= {"tenant": case["tenant"], "activity": case["activity"], "entries": entries}
    return line | {"closed_at": case["closed_at"]}


RESTORED_COMMANDS: dict[str, Callable[[Store, Namespace], Coroutine[Any, Any, None]]] = {
    "list": list_cases,
    "close": close_cases,
}
