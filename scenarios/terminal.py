"""Output of the scenarios on the terminal: lines, addresses, timelines in boxes; and the Enter key."""

import asyncio
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import psutil

from deploy.local.system import System

COLUMN_WIDTH = 62
"""Characters of one timeline; two are side by side."""
STATE_LABELS = {
    "untracked": "only you",
    "pending": "Tracking pending",
    "failed": "failed",
    "tracked": "Tracked",
}
KIND_SYMBOLS = {"email": "✉", "meeting": "▦"}

Timeline = dict[str, Any]
"""The JSON of a timeline; empty where the user may not read the record."""


def print_line(text: str = "") -> None:
    """Print a line immediately, also to a file or a pipe."""
    print(text, flush=True)


def bold(text: str) -> str:
    """The text in bold on a terminal, unchanged elsewhere."""
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def seconds_since_start() -> float:
    """Seconds since the start of this process."""
    return time.time() - psutil.Process().create_time()


async def wait_for_enter(timeout: timedelta) -> None:  # noqa: ASYNC109
    """Wait until the user presses Enter, at most for `timeout`."""
    loop, pressed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, pressed.set)
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            await pressed.wait()
            sys.stdin.readline()
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(sys.stdin)


def print_addresses(system: System, users: Sequence[str]) -> None:
    """Print the address of the page, the users to sign in as, and the address of the control page."""
    print_line(f"\n  {bold('the page')}      {bold(system['tracking'].url)}")
    for n, line in enumerate(users):
        print_line(f"  {'' if n else 'sign in as':<12}  {line}")
    print_line(
        f"  play          {system.for_browsers}"
        "   send a mail, book a meeting, close a mailbox, and watch the page"
    )


def render_timelines(title: str, timelines: Sequence[tuple[str, Timeline]]) -> Iterator[str]:
    """Lines with the timelines of several users side by side, or one below another on a narrow terminal."""
    columns = [list(_box(f"{name}'s timeline · {title}", timeline)) for name, timeline in timelines]
    both_columns = 2 * COLUMN_WIDTH + 6
    if shutil.get_terminal_size((both_columns, 24)).columns < both_columns:
        for column in columns:
            yield from (f"  {line}" for line in column)
        return
    for n in range(max(map(len, columns))):
        yield "  " + "  ".join(column[n] if n < len(column) else " " * COLUMN_WIDTH for column in columns)


def _box(title: str, timeline: Timeline) -> Iterator[str]:
    width = COLUMN_WIDTH - 4
    yield f"┌─ {title} ".ljust(COLUMN_WIDTH - 1, "─") + "┐"
    for line in _tiles(timeline, width) if timeline else ["(no such record)"]:
        yield f"│ {line[:width].ljust(width)} │"
    yield "└" + "─" * (COLUMN_WIDTH - 2) + "┘"


def _tiles(timeline: Timeline, width: int) -> Iterator[str]:
    """The tiles, newest first; tracked and untracked activities are mixed by time."""
    tiles = [(tile, tile["activity"], tile["state"]) for tile in timeline["suggestions"]]
    tiles += [(tile, tile["activity"], "tracked") for tile in timeline["tracked"]]
    if not tiles:
        empty = timeline["empty"] or {}
        yield f"nothing here: {str(empty.get('why', '')).replace('_', ' ')}"
    for tile, activity, state in sorted(tiles, key=lambda each: each[1]["at"], reverse=True):
        at = datetime.fromisoformat(activity["at"]).astimezone()
        label = f"[{STATE_LABELS[state]}]"
        subject = activity["subject"][: width - len(label) - 14]
        line = f"{KIND_SYMBOLS[activity['kind']]} {at:%a %H:%M}  {subject}"
        yield line.ljust(width - len(label)) + label
        if state == "tracked":
            yield f"    by {tile['regarding'][0]['by_name']}, for the whole team"
        for why in tile.get("why", [])[:1]:
            yield from textwrap.wrap(why, width - 4, initial_indent="    ", subsequent_indent="    ")
