"""The seeded run under faults: `make chaos [ONLY=section SEED=n CHANGES=n KILLS=n]`.

Exits with 0 only if everything that was published, and nothing else, is right.
"""

import argparse
import asyncio
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import httpx2

from deploy.local.processes import LocalError, local_dir, print_progress
from deploy.local.stack import LocalStack
from simulator.control.client import ControlError

from .capture import Size, run_capture
from .report import Report

Section: TypeAlias = Callable[[LocalStack, Path, int, Size], Coroutine[Any, Any, Report]]

SECTIONS: Mapping[str, Section] = {"capture": run_capture}
"""What can be run, in this order."""


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    size = Size()
    parser = argparse.ArgumentParser(
        prog="make chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SECTIONS, help="one section instead of all (ONLY=)")
    parser.add_argument("--seed", type=int, help="makes the same choices again (SEED=); default: a new one")
    for name, default, least in (
        ("changes", size.changes, 1),
        ("kills", size.kills, 0),
        ("mailboxes", size.mailboxes, 1),
    ):
        text = f"their number ({name.upper()}=); default: {default}"
        parser.add_argument(f"--{name}", type=_at_least(least), default=default, help=text)
    return parser.parse_args()


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number


def main() -> None:
    """Run the sections, and print what each has found."""
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = secrets.randbelow(100_000) if args.seed is None else args.seed
    size = replace(Size(), changes=args.changes, kills=args.kills, mailboxes=args.mailboxes)
    is_right = True
    try:
        for name in [args.only] if args.only else SECTIONS:
            folder = local_dir() / "chaos"
            stack = LocalStack(folder, tied=True)
            stack.erase()
            with stack:
                report = asyncio.run(SECTIONS[name](stack, folder, seed, size))
            for line in report.lines():
                print_progress(line)
            is_right = report.is_right and is_right
    except (LocalError, ControlError, httpx2.HTTPError) as error:
        sys.exit(f"FAILED: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print_progress("everything is right" if is_right else f"FAILED; the same choices again: SEED={seed}")
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
