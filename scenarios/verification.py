"""The steps of a verification: publish, enrol, release, wait until idle, write the results, report."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from deploy.local.processes import LocalError, Usage
from deploy.local.system import System
from simulator.control.client import TenantControl

from .administration import Administration
from .backlog import (
    BACKLOG_KEYS,
    PENDING_NOTIFICATIONS,
    check_keys,
    flatten_status,
    is_backlog_key,
)
from .records.files import load_changes
from .topic_table import read_topic_table
from .upstream import Upstream
from .verification_results import write_results

MAX_UNCAPTURED_ITEMS = 100
"""Released and not yet captured items of one mailbox; beyond 200, mail-ingest reads the window instead."""
POLL_INTERVAL = 0.5
"""Seconds between two reads of the unfinished work."""
PROGRESS_TIMEOUT = 300.0
"""Seconds without any progress before the verification fails."""
PROGRESS_INTERVAL = 10.0
"""Seconds between two lines of progress."""

WINDOW_READS = ("messages.window", "events.window", "calendar_view")
"""Graph requests that could return an item without a notification of it."""


@dataclass(slots=True)
class Verification:
    """One run of the verification."""

    system: System
    tenant: TenantControl
    out: Path
    names: dict[str, str] = field(default_factory=dict)
    """Object id of a mailbox -> its name in the archive."""
    usage: dict[str, Usage] = field(default_factory=dict)
    """Process -> its last known CPU seconds and memory."""
    sent_matches: dict[str, int] = field(default_factory=dict)
    """Matcher -> number of matches that it sent."""
    written_activities: int = 0
    """Messages ever written to the topic of activities, by its offsets."""
    started: float = field(default_factory=time.monotonic)

    def print_progress(self, text: str) -> None:
        """Print a line of progress with the time since the start."""
        elapsed = time.monotonic() - self.started
        print(f"{elapsed // 60:3.0f}:{elapsed % 60:02.0f}  {text}", flush=True)

    # input

    async def publish(self, records: Iterable[dict[str, Any]]) -> int:
        """Publish records; return their number."""
        async with self._upstream() as upstream:
            return await upstream.publish(records)

    async def publish_changes(self, file: Path) -> int:
        """Publish the changes and deletions of a file, in their order; return their number."""
        count = 0
        async with self._upstream() as upstream:
            for operation, record in load_changes(file, self.tenant.id):
                await (upstream.publish if operation == "upsert" else upstream.delete)([record])
                count += 1
        return count

    def _upstream(self) -> Upstream:
        return Upstream(self.system.kafka_bootstrap, f"{self.system.prefix}records")

    def _administration(self) -> Administration:
        return Administration(self.system, self.tenant.id)

    def enrol_mailboxes(self) -> None:
        """Enrol every mailbox of the archive, and wait until Graph has both subscriptions of each."""
        administration = self._administration()
        for oid in self.names:
            administration.enrol(oid)
        deadline = time.monotonic() + PROGRESS_TIMEOUT
        while len(self.tenant.simulator.subscriptions()) < 2 * len(self.names):
            if time.monotonic() > deadline:
                raise LocalError("the mailboxes did not get their subscriptions")
            time.sleep(POLL_INTERVAL)

    def release_mail(self, replicas: int) -> None:
        """Release the archive, mailbox by mailbox, as fast as mail-ingest captures it."""
        administration = self._administration()
        mailboxes = {mailbox["oid"]: mailbox for mailbox in self.tenant.archive()}
        total = sum(mailbox["remaining"] for mailbox in mailboxes.values())
        released = dict.fromkeys(mailboxes, 0)
        disruptions = self._replica_disruptions(replicas)
        progressed, printed, last = time.monotonic(), 0.0, -1
        while True:
            captured = {state["mailbox"]: state["items"] for state in administration.mailboxes()}
            for oid, mailbox in mailboxes.items():
                capacity = MAX_UNCAPTURED_ITEMS - (released[oid] - captured.get(oid, 0))
                if capacity > 0 and mailbox["remaining"]:
                    count = self.tenant.release(mailbox["name"], capacity)["released"]
                    released[oid] += count
                    mailbox["remaining"] -= count
            arrived = sum(captured.get(oid, 0) for oid in mailboxes)
            now = time.monotonic()
            if arrived != last:
                progressed, last = now, arrived
            if now - printed > PROGRESS_INTERVAL or arrived >= total:
                printed = now
                self._update_usage()
                self.print_progress(f"{arrived:>6} of {total} items captured")
            if arrived >= total:
                return
            if now - progressed > PROGRESS_TIMEOUT:
                raise LocalError(
                    f"no item was captured for {PROGRESS_TIMEOUT:.0f} s; {total - arrived} items are missing"
                )
            for share, disrupt in list(disruptions):
                if arrived >= share * total:
                    disruptions.remove((share, disrupt))
                    disrupt()
            time.sleep(POLL_INTERVAL / 2)

    def _replica_disruptions(self, replicas: int) -> list[tuple[float, Any]]:
        """With several matchers: one joins after a third of the mail, one is killed after two thirds."""
        if replicas < 2:
            return []

        def join() -> None:
            self.print_progress(f"one more matcher joins: {self.system.add('matcher').name}")

        def kill() -> None:
            victim = self.system.replicas("matcher")[1]
            self._record_sent_matches(victim.name, victim.get("/metrics").text)
            self.print_progress(f"{victim.name} is killed")
            victim.kill()

        return [(1 / 3, join), (2 / 3, kill)]

    def _record_sent_matches(self, name: str, metrics: str) -> None:
        found = re.search(r"^matches_published_total(?:\{[^}]*\})? ([0-9.e+]+)$", metrics, re.MULTILINE)
        self.sent_matches[name] = int(float(found[1])) if found else 0

    # idle

    def wait_until_idle(self) -> None:
        """Wait until two successive reads have equal counts and no unfinished work."""
        before: dict[str, Any] = {}
        progressed = time.monotonic()
        while True:
            try:
                counts = self._read_counts()
            except httpx2.HTTPStatusError as error:
                if error.response.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                    raise
                counts = {"unavailable": time.monotonic()}  # unknown now: never equal to the last counts
            unfinished = {name: count for name, count in counts.items() if count and is_backlog_key(name)}
            if counts != before:
                progressed = progressed if "unavailable" in counts else time.monotonic()
            elif not unfinished:
                return
            if time.monotonic() - progressed > PROGRESS_TIMEOUT:
                raise LocalError(
                    f"unfinished work after {PROGRESS_TIMEOUT:.0f} s without progress: {unfinished}"
                )
            before = counts
            time.sleep(POLL_INTERVAL)

    def _read_counts(self) -> dict[str, Any]:
        """All counts of `/status`, of the processes in the order of the data flow."""
        notifications = self.tenant.simulator.counters()["notifications"]
        counts: dict[str, Any] = {PENDING_NOTIFICATIONS: notifications.get("pending", 0)}
        for name in BACKLOG_KEYS:
            for process in self.system.replicas(name):
                if process.running:
                    status = flatten_status(process.status())
                    counts |= {f"{process.name}.{key}": value for key, value in status}
        check_keys(counts)
        return counts

    # results

    async def write_results(self, out: Path) -> None:
        """Write the stored suggestions, the live activities, and the addresses of records to a folder."""
        table, self.written_activities = await read_topic_table(
            self.system.kafka_bootstrap, f"{self.system.prefix}activities"
        )
        activities = {key: json.loads(value) for key, (value, _) in table.items()}
        write_results(out, self.system, self.tenant.id, self.names, activities)

    def compare(self, out: Path, expected: Path, mail: Path, meetings: Path | None) -> bool:
        """Compare the results with the expectations in a process of its own; True if identical."""
        command: list[str | Path] = [sys.executable, "-m", "scenarios.compare"]
        command += ["--out", out, "--expected", expected, "--mail", mail]
        if meetings:
            command += ["--meetings", meetings]
        return subprocess.run([str(part) for part in command], check=False).returncode == 0

    def _update_usage(self) -> None:
        for process in self.system:
            if usage := process.usage():
                self.usage[process.name] = usage

    def report(self) -> bool:
        """Print the figures; False if an item arrived by a window read, or a matcher sent no match."""
        self._update_usage()
        counters = self.tenant.simulator.counters()
        matchers = [process for process in self.system.replicas("matcher") if process.running]
        metrics = {process.name: process.get("/metrics").text for process in matchers}
        for name, text in metrics.items():
            self._record_sent_matches(name, text)
        truncated = sum(
            float(value)
            for text in metrics.values()
            for value in re.findall(r"^matches_truncated_total ([0-9.e+]+)$", text, re.MULTILINE)
        )
        reads = {kind: counters["requests"].get(kind, 0) for kind in WINDOW_READS}
        print(f"webhooks answered 202: {counters['notifications'].get('answered_202', 0)}")
        print(f"Graph requests:        {json.dumps(counters['requests'])}")
        print(f"activities by offset:  {self.written_activities}")
        print(f"truncated:             {truncated:.0f}")
        print(f"matches emitted:       {json.dumps(self.sent_matches)}")
        for name, usage in self.usage.items():
            print(f"{name:<22} {usage.cpu_seconds:8.1f} CPU s {usage.memory / 2**20:8.0f} MB")
        print(f"minutes:               {(time.monotonic() - self.started) / 60:.1f}")
        if window_reads := {kind: count for kind, count in reads.items() if count}:
            print(f"FAILED: items may have come by window reads: {window_reads}")
        if silent := [name for name, count in self.sent_matches.items() if count == 0]:
            print(f"FAILED: emitted no matches: {', '.join(silent)}")
        return not window_reads and not silent
