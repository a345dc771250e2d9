"""The seeded run under faults: `make chaos [ONLY=section SEED=n CHANGES=n KILLS=n]`.

Exits with 0 only if everything that was published, and nothing else, is right.
"""

import argparse
import asyncio
import logging
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import httpx2

from deploy.local.cluster import Cluster
from deploy.local.processes import LocalError, local_dir, print_progress
from deploy.local.stack import LocalStack
from simulator.control.client import ControlError

from . import capture
from .cluster import run as cluster
from .whole import run as whole


class Report(Protocol):
    """What a section found."""

    @property
    def is_right(self) -> bool: ...

    def lines(self) -> Iterator[str]: ...


@contextmanager
def empty_stack(folder: Path) -> Iterator[LocalStack]:
    """A Kafka and a MongoDB without any data."""
    stack = LocalStack(folder, tied=True)
    stack.erase()
    with stack:
        yield stack


@dataclass(frozen=True, slots=True)
class Section:
    """What can be run.

    Attributes:
        run: gets the servers, the folder of the logs, the seed and the size.
        sizes: one of each run, a dataclass; options of the command line replace its fields.
        servers: start Kafka and MongoDB, in a folder.
    """

    run: Callable[[Any, Path, int, Any], Coroutine[Any, Any, Report]]
    sizes: Sequence[Any]
    servers: Callable[[Path], AbstractContextManager[Any]] = empty_stack


SECTIONS: Mapping[str, Section] = {
    "whole": Section(whole.run_whole, [whole.Size()]),
    "capture": Section(capture.run_capture, [capture.Size()]),
    "cluster": Section(cluster.run_cluster, cluster.SIZES, Cluster),
}
"""By their names in ONLY=; the first one is run without it."""
SIZES = {"changes": 1, "kills": 0, "mailboxes": 1}
"""Field of a size that an option replaces -> its least value."""


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="make chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", choices=SECTIONS, default=next(iter(SECTIONS)), help="another section (ONLY=)"
    )
    parser.add_argument("--seed", type=int, help="makes the same choices again (SEED=); default: a new one")
    for name, least in SIZES.items():
        text = f"their number ({name.upper()}=); default: the section's"
        parser.add_argument(f"--{name}", type=_at_least(least), help=text)
    return parser.parse_args()


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number


def main() -> None:
    """Run a section, and print what it has found."""
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a fault closes the run's own connections, too
    seed = secrets.randbelow(100_000) if args.seed is None else args.seed
    section = SECTIONS[args.only]
    given = {name: value for name in SIZES if (value := getattr(args, name)) is not None}
    if unknown := [name for name in given if not hasattr(section.sizes[0], name)]:
        sys.exit(f"FAILED: the section {args.only} has no {' and no '.join(unknown)}")
    try:
        reports = [run(section, seed, replace(size, **given)) for size in section.sizes]
    except (LocalError, ControlError, httpx2.HTTPError) as error:
        sys.exit(f"FAILED: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    is_right = all(report.is_right for report in reports)
    print_progress("everything is right" if is_right else f"FAILED; the same choices again: SEED={seed}")
    sys.exit(0 if is_right else 1)


def run(section: Section, seed: int, size: Any) -> Report:
    """One run on servers of its own."""
    folder = local_dir() / "chaos"
    with section.servers(folder) as servers:
        report = asyncio.run(section.run(servers, folder, seed, size))
    for line in report.lines():
        print_progress(line)
    return report


if __name__ == "__main__":
    main()
