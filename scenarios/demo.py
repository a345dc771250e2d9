"""The demo: the whole system with a small company, and a story with its steps on the terminal.

`make demo` plays the story and keeps the system running; with `ONCE=1` it ends after the story, with 0 only
if every step succeeded. `MAIL=` and `RECORDS=` show your own archive instead (docs/own-archive.md); `ONCE=1`
then ends when the archive is on the page.
"""

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

import httpx2

from deploy.local.processes import LocalError, local_dir
from deploy.local.programs import TENANT
from deploy.local.stack import LocalStack
from deploy.local.system import System
from simulator import sample_company
from simulator.control.client import ControlError, Simulator, TenantControl

from . import own_archive, story
from .archive_source import ArchiveSource, load_source
from .errors import StepFailedError, UnusableArchiveError
from .records.csv_files import RecordFileError
from .terminal import bold, print_addresses, print_line, seconds_since_start
from .timeline_reads import MAX_READS


def run(
    system: System, tenant: TenantControl, source: ArchiveSource | None, args: argparse.Namespace
) -> None:
    """Play the story or show the archive; then print the addresses, and wait for Ctrl-C."""
    page = system["tracking"].url
    if source:
        owners = own_archive.show(system, tenant, source, args.reads or None)
        print_addresses(system, own_archive.sign_in_suggestions(owners, page))
    else:
        asyncio.run(story.play(system, tenant, watched=sys.stdin.isatty() and not args.once))
        print_line(f"\n  {bold('the page')}      {bold(page)}")
    print_line(f"  timeline API  {page}/api/v1")
    print_line(f"  simulator     {system.simulator}   (CA: {system.ca})")
    print_line(f"  logs          {system.folder / 'logs'}")
    print_line(f"\nDone {seconds_since_start():.0f} s after the start.")
    if not args.once:
        print_line("The system stays up. Ctrl-C stops everything.")
        signal.pause()


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mail", type=Path, help="a folder of mbox, eml and ics files (MAIL=)")
    parser.add_argument(
        "--records", type=Path, help="a folder of JSON lines and CSV files, or one such file (RECORDS=)"
    )
    parser.add_argument(
        "--reads",
        type=int,
        default=MAX_READS,
        help="number of the archive's timelines that are read at the end, 0: all (%(default)s)",
    )
    parser.add_argument(
        "--once", action="store_true", help="end after the story, or when the archive is on the page (ONCE=1)"
    )
    return parser.parse_args()


def main() -> None:
    """Start the system, and run the demo."""
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = local_dir() / "demo"
    stack = LocalStack(folder, tied=True)
    try:
        source = load_source(args.mail, args.records, TENANT) if args.mail or args.records else None
        stack.erase()
        with stack, System(stack, folder, usual_ports=True, prefix=f"demo-{int(time.time())}-") as system:
            system.start()
            simulator = Simulator(system.simulator, system.ca)
            run(system, simulator.tenant(TENANT, domain=sample_company.DOMAIN), source, args)
    except (UnusableArchiveError, RecordFileError) as error:
        sys.exit(str(error))
    except (LocalError, StepFailedError, ControlError, httpx2.HTTPError) as error:
        sys.exit(f"FAILED: {error}")
    except KeyboardInterrupt:
        print_line("stopped")
        sys.exit(0 if not args.once else 130)


if __name__ == "__main__":
    main()
