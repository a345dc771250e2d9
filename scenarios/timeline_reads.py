"""Reads of the owners' timelines by the API: all stored suggestions are visible, and how fast a read is."""

import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx2

from deploy.local.system import System
from simulator.control.client import TenantControl

from .errors import StepFailedError
from .terminal import print_line

MAX_READS = 500
"""Timelines that are read at the end, those with the most suggestions; takes seconds for a dense archive."""
READ_ATTEMPTS = 3
"""Reads of a timeline before it is reported as the slowest."""
PROGRESS_INTERVAL = 5.0
"""Seconds between two lines of progress."""

StoredSuggestions = Counter[tuple[str, str, str]]
"""(mailbox, record type, record id) -> number of suggestions."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a mailbox of the archive.

    Attributes:
        items: the number of items with at least one suggestion.
        top_record: type and id of the record with the most suggestions; None without suggestions.
    """

    oid: str
    name: str
    upn: str
    items: int
    top_record: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class TimelineRead:
    """One read of a timeline by the API.

    Attributes:
        stored: the number of stored suggestions for the owner on this record.
        visible: the number of suggestions in the response; None if the owner may not read the record.
    """

    owner: Owner
    record: tuple[str, str]
    name: str
    stored: int
    visible: int | None
    seconds: float

    def __str__(self) -> str:
        milliseconds = f"{self.seconds * 1000:.0f} ms"
        suggestions = f"{self.visible or 0:,} of {self.stored:,} suggestions"
        return f"{milliseconds}, {self.record[0]} {self.name!r} for {self.owner.name}, {suggestions}"


class TimelineReader:
    """Reads timelines as their owners, each with an own token; use it as a context manager."""

    def __init__(self, system: System, tenant: TenantControl) -> None:
        self._url = f"{system['tracking'].url}/api/v1"
        self._tenant = tenant
        self._resources = ExitStack()
        self._clients: dict[str, httpx2.Client] = {}

    def read(self, owner: Owner, record: tuple[str, str], stored: int) -> TimelineRead:
        """Read one timeline."""
        http = self._clients.get(owner.oid) or self._sign_in(owner)
        started = time.perf_counter()
        path = f"/records/{quote(record[0], safe='')}/{quote(record[1], safe='')}/timeline"
        response = http.get(path)
        seconds = time.perf_counter() - started
        if response.status_code == httpx2.codes.NOT_FOUND:
            return TimelineRead(owner, record, record[1], stored, None, seconds)
        timeline = response.raise_for_status().json()
        name = timeline["record"]["name"] or record[1]
        return TimelineRead(owner, record, name, stored, len(timeline["suggestions"]), seconds)

    def _sign_in(self, owner: Owner) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self._tenant.sign_in(owner.upn)}"}
        http = self._resources.enter_context(
            httpx2.Client(base_url=self._url, headers=headers, timeout=60, trust_env=False, verify=False)
        )
        http.get("/me").raise_for_status()  # opens the connection, and loads the authority's keys
        self._clients[owner.oid] = http
        return http

    def read_largest(
        self, owners: Sequence[Owner], stored: StoredSuggestions, count: int | None
    ) -> list[TimelineRead]:
        """Read the `count` timelines with the most suggestions; None reads all."""
        by_oid = {owner.oid: owner for owner in owners}
        chosen = stored.most_common(count)
        reads: list[TimelineRead] = []
        printed = time.monotonic()
        for (oid, kind, id_), suggestions in chosen:
            reads.append(self.read(by_oid[oid], (kind, id_), suggestions))
            if time.monotonic() - printed > PROGRESS_INTERVAL:
                printed = time.monotonic()
                print_line(f"  {len(reads):,} of {len(chosen):,} timelines read")
        return reads

    def slowest(self, reads: Sequence[TimelineRead]) -> TimelineRead:
        """Find the slowest timeline.

        It repeats the slowest reads and counts the best of them, so that a slow moment of the machine is
        not reported as a slow timeline.
        """
        remaining_attempts = dict.fromkeys(reads, READ_ATTEMPTS - 1)
        while True:
            read = max(remaining_attempts, key=lambda each: each.seconds)
            attempts = remaining_attempts.pop(read)
            if not attempts:
                return read
            again = self.read(read.owner, read.record, read.stored)
            faster = min(read, again, key=lambda each: each.seconds)
            remaining_attempts[faster] = attempts - 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()


def require_visible(reads: Sequence[TimelineRead]) -> list[TimelineRead]:
    """The reads of timelines that their owners may read.

    Raises:
        StepFailedError: a readable timeline shows none of its stored suggestions.
    """
    readable = [read for read in reads if read.visible is not None]
    if empty := [read for read in readable if not read.visible]:
        raise StepFailedError(
            f"{len(empty)} of {len(readable)} timelines do not show their stored suggestions, "
            f"such as {empty[0]}"
        )
    return readable


def report_reads(reader: TimelineReader, reads: Sequence[TimelineRead]) -> None:
    """Print how fast the timelines are read.

    Raises:
        StepFailedError: stored suggestions are not visible.
    """
    readable = require_visible(reads)
    if len(readable) < len(reads):
        print_line(
            f"{len(reads) - len(readable):,} of {len(reads):,} timelines may not be read by the owner of "
            "the mailbox: `readers` of the record does not contain the owner"
        )
    if not readable:
        raise StepFailedError("no owner of a mailbox may read a timeline with suggestions")
    milliseconds = sorted(read.seconds * 1000 for read in readable)
    p50, p95 = statistics.median(milliseconds), milliseconds[math.ceil(0.95 * len(milliseconds)) - 1]
    print_line(
        f"slowest of {len(readable):,} timeline reads: {reader.slowest(readable)} "
        f"(best of {READ_ATTEMPTS}; of all: p50 {p50:.0f} ms, p95 {p95:.0f} ms)"
    )
