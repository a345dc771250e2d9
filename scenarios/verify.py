"""Archives through the whole system, compared with the expectations of an oracle.

`python -m scenarios.verify --mail DIR --records DIR --expected DIR …` starts a system of its own without
reconciliation, publishes the records, delivers the mail by webhooks, waits until no process has unfinished
work, writes the results, and compares them with `scenarios.compare` in a process of its own, the only one
that reads the expectations. It exits with 0 only if all results are identical.
"""

import argparse
import asyncio
import signal
import sys
import uuid
from pathlib import Path

import httpx2

from deploy.local.processes import LocalError, local_dir
from deploy.local.stack import LocalStack
from deploy.local.system import System
from simulator.control.client import Simulator

from .records.files import CHANGES_FILE, load_records
from .verification import Verification


async def verify(run: Verification, args: argparse.Namespace) -> bool:
    """Run all steps; return whether all results are identical."""
    run.print_progress("loading the archives …")
    mailboxes = run.tenant.load_archive(args.mail, args.meetings)
    run.names = {mailbox["oid"]: mailbox["name"] for mailbox in mailboxes}
    messages, meetings = (sum(each[kind] for each in mailboxes) for kind in ("messages", "meetings"))
    run.print_progress(f"{messages} messages and {meetings} meetings in {len(mailboxes)} mailboxes")
    records = await run.publish(load_records(args.records, run.tenant.id))
    run.print_progress(f"{records} records published")
    run.enrol_mailboxes()
    run.print_progress("mailboxes enrolled, subscriptions created; sending the mail")
    run.release_mail(args.replicas)
    run.wait_until_idle()
    run.print_progress("no process has unfinished work")
    await run.write_results(run.out)
    identical = run.compare(run.out, args.expected, args.mail, args.meetings)
    if args.changes:
        changes = await run.publish_changes(args.changes)
        run.print_progress(f"{changes} changes published")
        run.wait_until_idle()
        run.print_progress("no process has unfinished work")
        after = run.out / "after"
        await run.write_results(after)
        identical = run.compare(after, args.expected_after, args.mail, args.meetings) and identical
    return run.report() and identical


def parse_arguments() -> argparse.Namespace:
    """The options of the command line; all paths exist."""
    parser = argparse.ArgumentParser(
        prog="make verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("mail", "records", "expected"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"a folder ({name.upper()}=)")
    parser.add_argument("--meetings", type=Path, help="a folder of calendars (MEETINGS=)")
    parser.add_argument("--changes", type=Path, help=f"a file such as {CHANGES_FILE} (CHANGES=)")
    parser.add_argument(
        "--expected-after", type=Path, help="the expectations after the changes (EXPECTED_AFTER=)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/verify"), help="the folder of the results (OUT=)"
    )
    parser.add_argument("--replicas", type=int, default=1, help="the number of matchers (REPLICAS=)")
    args = parser.parse_args()
    if (args.changes is None) != (args.expected_after is None):
        parser.error("CHANGES and EXPECTED_AFTER go together")
    for path in filter(
        None, (args.mail, args.records, args.expected, args.meetings, args.changes, args.expected_after)
    ):
        if not path.exists():
            parser.error(f"there is no {path}")
    return args


def main() -> None:
    """Start a system, and run the verification."""
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = local_dir() / "verify"
    tenant = str(uuid.uuid4())
    stack = LocalStack(folder, tied=True)
    try:
        stack.erase()
        with (
            stack,
            System(
                stack,
                folder,
                prefix=f"verify-{tenant[:8]}-",
                tenant=tenant,
                env_of={"mail-ingest": {"MAIL_INGEST_RECONCILE": "false"}},
            ) as system,
        ):
            system.start()
            for _ in range(args.replicas - 1):
                system.add("matcher")
            run = Verification(system, Simulator(system.simulator, system.ca).tenant(tenant), args.out)
            identical = asyncio.run(verify(run, args))
    except (LocalError, httpx2.HTTPError) as error:
        sys.exit(f"FAILED: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print("identical" if identical else "FAILED")
    sys.exit(0 if identical else 1)


if __name__ == "__main__":
    main()
