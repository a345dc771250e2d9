"""Archives through the whole system, and the verdict of an oracle on what MongoDB then holds.

`python -m simulator.verify --mail DIR --records DIR --expected DIR …` starts a system of its own with
the reconciler off, publishes the records, lets the mail arrive by webhooks, waits until nothing is
waiting anywhere, writes what is stored, and has it compared (`simulator/compare.py`, in a process of
its own, the only one that opens what is expected). Exit 0 only if all is identical.
"""

import argparse
import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from deploy.local.processes import LocalError, Usage
from deploy.local.stack import LocalStack, local_dir
from deploy.local.system import System
from scenarios.records.files import CHANGES, load_changes, load_records
from simulator.control.client import Simulator, TenantControl

from .upstream import Upstream, read_all

HINTS_AT_ONCE = 100
"""A mailbox gets mail only while fewer of its hints wait; more than 200 would be a window read."""
ROUND = 0.5
"""Seconds between two looks at what waits."""
PATIENCE = 300.0
"""Seconds without any progress after which we give up."""

WAITING = {
    "mail-ingest": (
        "graph-notifications lag",
        "content-requests lag",
        "waiting.mailboxes with work",
        "waiting.hints waiting",
        "waiting.unsent items",
    ),
    "matcher": ("records waiting", "activities lag", "takeovers", "unsaid"),
    "tracking": (
        "records lag",
        "mailboxes lag",
        "matches lag",
        "content lag",
        "open claims",
        "unsent claims",
        "unsent tracked",
    ),
}
"""The counts of `/status` that must be 0, in the order of the flow."""

WINDOW_READS = ("messages.window", "events.window", "calendar_view")
"""Graph requests by which something could have come that no webhook had named."""

BUILT_IN = {"account", "contact", "lead", "opportunity"}
ITEM_NAMES = {"email": "message_id", "meeting": "uid"}


@dataclass(slots=True)
class Verification:
    """One run."""

    system: System
    tenant: TenantControl
    out: Path
    names: dict[str, str] = field(default_factory=dict)
    """Mailbox (object id) -> its name in the archive."""
    spent: dict[str, Usage] = field(default_factory=dict)
    """Process -> the most that was seen of its CPU seconds and memory."""
    emissions: dict[str, int] = field(default_factory=dict)
    """Matcher -> how many matches it emitted."""
    activities_written: int = 0
    """By the topic's offsets."""
    began: float = field(default_factory=time.monotonic)

    def tell(self, text: str) -> None:
        """A line of progress."""
        passed = time.monotonic() - self.began
        print(f"{passed // 60:3.0f}:{passed % 60:02.0f}  {text}", flush=True)

    # what comes in

    async def publish(self, upserts: Iterable[dict[str, Any]]) -> int:
        async with Upstream(self.system.stack.kafka_bootstrap, self.topic("records")) as upstream:
            return await upstream.publish(upserts)

    async def publish_changes(self, file: Path) -> int:
        """Changes in their order, deletions among them."""
        count = 0
        async with Upstream(self.system.stack.kafka_bootstrap, self.topic("records")) as upstream:
            for op, record in load_changes(file, self.tenant.id):
                await (upstream.publish if op == "upsert" else upstream.delete)([record])
                count += 1
        return count

    def topic(self, name: str) -> str:
        return self.system.prefix + name

    def ingest(self) -> httpx2.Client:
        """mail-ingest's internal port."""
        return httpx2.Client(
            base_url=self.system["mail-ingest"].url,
            headers={"Authorization": f"Bearer {self.system.service_token}"},
            timeout=60,
            trust_env=False,
        )

    def enrol(self) -> None:
        """Every mailbox of the archive, until Graph has both subscriptions of each."""
        with self.ingest() as ingest:
            for oid in self.names:
                ingest.post("/mailboxes", json={"tenant": self.tenant.id, "mailbox": oid}).raise_for_status()
        deadline = time.monotonic() + PATIENCE
        while len(self.tenant.simulator.subscriptions()) < 2 * len(self.names):
            if time.monotonic() > deadline:
                raise LocalError("the mailboxes did not get their subscriptions")
            time.sleep(ROUND)

    def send_mail(self, replicas: int) -> None:
        """Releases the archive, mailbox by mailbox, as fast as the hints are worked off."""
        boxes = {box["oid"]: box for box in self.tenant.archive()}
        total = sum(box["remaining"] for box in boxes.values())
        released = dict.fromkeys(boxes, 0)
        events = self._replica_events(replicas)
        moved, told, last = time.monotonic(), 0.0, -1
        with self.ingest() as ingest:
            while True:
                captured = {
                    box["mailbox"]: box["items"]
                    for box in ingest.get("/mailboxes", params={"tenant": self.tenant.id})
                    .raise_for_status()
                    .json()
                }
                for oid, box in boxes.items():
                    room = HINTS_AT_ONCE - (released[oid] - captured.get(oid, 0))
                    if room > 0 and box["remaining"]:
                        done = self.tenant.release(box["name"], room)
                        released[oid] += done["released"]
                        box["remaining"] -= done["released"]
                arrived = sum(captured.get(oid, 0) for oid in boxes)
                now = time.monotonic()
                if arrived != last:
                    moved, last = now, arrived
                if now - told > 10 or arrived >= total:
                    told = now
                    self.note_usage()
                    self.tell(f"{arrived:>6} of {total} items captured")
                if arrived >= total:
                    return
                if now - moved > PATIENCE:
                    raise LocalError(
                        f"nothing was captured for {PATIENCE:.0f} s; {total - arrived} items are missing"
                    )
                for share, event in list(events):
                    if arrived >= share * total:
                        events.remove((share, event))
                        event()
                time.sleep(ROUND / 2)

    def _replica_events(self, replicas: int) -> list[tuple[float, Any]]:
        """With replicas: one more joins, and one is killed, each while the mail flows."""
        if replicas < 2:
            return []

        def join() -> None:
            self.tell(f"one more matcher joins: {self.system.add('matcher').name}")

        def kill() -> None:
            victim = self.system.replicas("matcher")[1]
            self.emitted(victim.name, victim.get("/metrics").text)
            self.tell(f"{victim.name} is killed")
            victim.kill()

        return [(1 / 3, join), (2 / 3, kill)]

    def emitted(self, name: str, metrics: str) -> None:
        """Notes how many matches a matcher has emitted."""
        found = re.search(r"^matches_sent_total(?:\{[^}]*\})? ([0-9.e+]+)$", metrics, re.MULTILINE)
        self.emissions[name] = int(float(found[1])) if found else 0

    # when it is done

    def settle(self) -> None:
        """Until two rounds show the same counts and nothing waiting anywhere."""
        before: dict[str, Any] = {}
        changed = time.monotonic()
        while True:
            try:
                now = self._counts()
            except httpx2.HTTPStatusError as busy:
                if busy.response.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                    raise
                now = {"busy": time.monotonic()}  # it cannot say now, so it is not at rest
            waiting = {name: count for name, count in now.items() if count and self._waits(name)}
            if now != before:
                changed = changed if "busy" in now else time.monotonic()
            elif not waiting:
                return
            if time.monotonic() - changed > PATIENCE:
                raise LocalError(f"still waiting after {PATIENCE:.0f} s without progress: {waiting}")
            before = now
            time.sleep(ROUND)

    def _counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = {}
        notifications = self.tenant.simulator.counters()["notifications"]
        counts["simulator.pending"] = notifications.get("pending", 0)
        for name in WAITING:
            for process in self.system.replicas(name):
                if process.running:
                    counts |= {f"{process.name}.{key}": value for key, value in flat(process.status())}
        missing = [
            f"{name}.{key}" for name, keys in WAITING.items() for key in keys if f"{name}.{key}" not in counts
        ]
        if missing:
            raise LocalError(f"/status does not say {missing}")
        return counts

    @staticmethod
    def _waits(name: str) -> bool:
        process, _, key = name.partition(".")
        return name == "simulator.pending" or any(
            process.startswith(program) and key in keys for program, keys in WAITING.items()
        )

    # what came out

    async def activities(self) -> dict[bytes, dict[str, Any]]:
        """What is live on the topic: key -> activity."""
        table, self.activities_written = await read_all(
            self.system.stack.kafka_bootstrap, self.topic("activities")
        )
        return {key: json.loads(value) for key, (value, _) in table.items()}

    def write(self, out: Path, activities: dict[bytes, dict[str, Any]]) -> None:
        """What MongoDB holds, what is live on the topic, and the directory's forward reading."""
        out.mkdir(parents=True, exist_ok=True)
        stored: dict[tuple[str, str], list[list[str]]] = {}
        union: defaultdict[str, defaultdict[str, set[tuple[str, str]]]] = defaultdict(
            lambda: defaultdict(set)
        )
        for line in self.system.run_command("services.tracking", "export").splitlines():
            row = json.loads(line)
            if row["tenant"] != self.tenant.id:
                raise LocalError("the export holds another tenant's suggestions")
            pairs = [[written(kind), id_] for kind, id_ in row["matches"]]
            stored[row["mailbox"], row["item"]] = pairs
            union[row["kind"]][
                row["internet_message_id"] if row["kind"] == "email" else row["ical_uid"]
            ].update((kind, id_) for kind, id_ in pairs)
        for kind, file, name in (
            ("email", "message-matches", "message_id"),
            ("meeting", "meeting-matches", "uid"),
        ):
            write_lines(
                out / f"{file}.jsonl",
                (
                    {name: item, "matches": sorted(map(list, pairs))}
                    for item, pairs in sorted(union[kind].items())
                ),
            )

        def deliveries() -> Iterator[dict[str, Any]]:
            for key, activity in sorted(activities.items()):
                _, mailbox, item = key.decode().split("/", 2)
                identifier = (
                    activity["internet_message_id"] if activity["kind"] == "email" else activity["ical_uid"]
                )
                yield {
                    "mailbox": self.names[mailbox],
                    ITEM_NAMES[activity["kind"]]: identifier,
                    "matches": stored.pop((mailbox, item), []),
                }

        write_lines(out / "deliveries.jsonl", deliveries())
        if stored:
            raise LocalError(f"{len(stored)} stored suggestions have no live activity")
        rows = map(json.loads, self.system.run_command("services.matcher", "addresses").splitlines())
        write_lines(
            out / "record-addresses.jsonl",
            ({"type": written(row["type"]), "id": row["id"], "addresses": row["addresses"]} for row in rows),
        )

    def compare(self, out: Path, expected: Path, mail: Path, meetings: Path | None) -> bool:
        """The verdict, by a process of its own."""
        command = [
            sys.executable,
            "-m",
            "scenarios.compare",
            "--out",
            out,
            "--expected",
            expected,
            "--mail",
            mail,
        ]
        if meetings:
            command += ["--meetings", meetings]
        return subprocess.run([str(part) for part in command], check=False).returncode == 0

    def note_usage(self) -> None:
        """What each process has used so far."""
        for process in self.system:
            if usage := process.usage():
                self.spent[process.name] = usage

    def report(self) -> bool:
        """The figures; False where an item came in another way than by its own id."""
        self.note_usage()
        counters = self.tenant.simulator.counters()
        matchers = [process for process in self.system.replicas("matcher") if process.running]
        metrics = {process.name: process.get("/metrics").text for process in matchers}
        for name, text in metrics.items():
            self.emitted(name, text)
        truncated = sum(
            float(found)
            for text in metrics.values()
            for found in re.findall(r"^matches_truncated_total ([0-9.e+]+)$", text, re.MULTILINE)
        )
        reads = {kind: counters["requests"].get(kind, 0) for kind in WINDOW_READS}
        print(f"webhooks answered 202: {counters['notifications'].get('answered_202', 0)}")
        print(f"Graph requests:        {json.dumps(counters['requests'])}")
        print(f"activities by offset:  {self.activities_written}")
        print(f"truncated:             {truncated:.0f}")
        print(f"matches emitted:       {json.dumps(self.emissions)}")
        for name, usage in self.spent.items():
            print(f"{name:<22} {usage.cpu_seconds:8.1f} CPU s {usage.memory / 2**20:8.0f} MB")
        print(f"minutes:               {(time.monotonic() - self.began) / 60:.1f}")
        if other := {kind: count for kind, count in reads.items() if count}:
            print(f"FAILED: items may have come by window reads: {other}")
        if silent := [name for name, count in self.emissions.items() if count == 0]:
            print(f"FAILED: emitted no matches: {', '.join(silent)}")
        return not other and not silent


def flat(status: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Counts, those of a group with the group's name before theirs."""
    for name, value in status.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", count) for inner, count in flat(value))
        else:
            yield name, value


def written(kind: str) -> str:
    """Custom types are compared as `custom`."""
    return kind if kind in BUILT_IN else "custom"


def write_lines(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A file of JSON lines."""
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


async def verify(run: Verification, args: argparse.Namespace) -> bool:
    """The whole of it; answers whether all is identical."""
    run.tell("loading the archives …")
    boxes = run.tenant.load_archive(args.mail, args.meetings)
    run.names = {box["oid"]: box["name"] for box in boxes}
    run.tell(
        f"{sum(b['messages'] for b in boxes)} messages and {sum(b['meetings'] for b in boxes)} meetings in {len(boxes)} mailboxes"
    )
    run.tell(f"{await run.publish(load_records(args.records, run.tenant.id))} records published")
    run.enrol()
    run.tell("mailboxes enrolled, subscriptions made; the mail is sent")
    run.send_mail(args.replicas)
    run.settle()
    run.tell("nothing is waiting anywhere")
    run.write(run.out, await run.activities())
    identical = run.compare(run.out, args.expected, args.mail, args.meetings)
    if args.changes:
        run.tell(f"{await run.publish_changes(args.changes)} changes published")
        run.settle()
        run.tell("nothing is waiting anywhere")
        run.write(run.out / "after", await run.activities())
        identical = (
            run.compare(run.out / "after", args.expected_after, args.mail, args.meetings) and identical
        )
    return run.report() and identical


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="make verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("mail", "records", "expected"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"a folder ({name.upper()}=)")
    parser.add_argument("--meetings", type=Path, help="a folder of calendars (MEETINGS=)")
    parser.add_argument("--changes", type=Path, help=f"a file such as {CHANGES} (CHANGES=)")
    parser.add_argument(
        "--expected-after", type=Path, help="what is expected after the changes (EXPECTED_AFTER=)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/verify"), help="where what was found is written (OUT=)"
    )
    parser.add_argument("--replicas", type=int, default=1, help="how many matchers (REPLICAS=)")
    args = parser.parse_args()
    if (args.changes is None) != (args.expected_after is None):
        parser.error("CHANGES and EXPECTED_AFTER go together")
    for path in filter(
        None, (args.mail, args.records, args.expected, args.meetings, args.changes, args.expected_after)
    ):
        if not path.exists():
            parser.error(f"there is no {path}")

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
                env_of={"mail-ingest": {"RECONCILE": "false"}},
            ) as system,
        ):
            system.start()
            for _ in range(args.replicas - 1):
                system.add("matcher")
            run = Verification(system, Simulator(system.simulator, system.ca).tenant(tenant), args.out)
            good = asyncio.run(verify(run, args))
    except (LocalError, httpx2.HTTPError) as failed:
        sys.exit(f"FAILED: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
    print("identical" if good else "FAILED")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
